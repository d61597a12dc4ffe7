/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h: which pages a snapshot writes into its memory file, and what it
 * puts them over.
 *
 * Full:  all of RAM. Of a guest that was restored from a file, what differs
 *	  from that, over what the file system shares or copies of it.
 * Diff:  with dirty tracking, what was written since the last snapshot (or
 *	  since the start). Without, what differs or differed in a snapshot from
 *	  the file that the guest was restored from, or what is resident. Over
 *	  what the file at the path holds, if it is as long as RAM; otherwise
 *	  over holes.
 *
 * Helper thread; the vCPUs are parked, the devices drained.
 */
#ifndef SNAPSHOT_IMAGE_H
#define SNAPSHOT_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct gmem;
struct state_file;
struct target;
struct vm;

struct image {
	struct vm *vm;
	bool diff;
	uint64_t *fetched; /* out of the log */
	uint64_t *pages;   /* to be written; NULL: all */
	uint64_t *changed; /* since vm->dirty.digest was right; NULL: unknown */
	uint32_t *crc;	   /* digests; NULL: none of this one */
};

/*
 * Write the memory file, and what belongs to it into the state file. Then
 * image_end() in every case.
 */
int image_write(struct image *im, struct vm *vm, bool diff, struct target *t,
		struct state_file *f, struct err *e);

/*
 * What the pages of a Diff are put over: the file that is at the path, if there
 * is one of RAM's size; or -1. The caller closes it.
 */
int image_old(const struct target *t, const struct gmem *m, int *old,
	      struct err *e);

/* The section with the digests of the memory file's chunks. */
void image_add_digests(struct state_file *f, uint32_t *crc, uint32_t n);

/*
 * Of a snapshot that is there and was taken by the log of writes: it is what
 * the log goes on from. Takes *crc.
 */
void image_keep_digests(struct vm *vm, uint32_t **crc);

/* The snapshot is there; or not, and then the next one has it all. */
void image_end(struct image *im, bool made);

/* The guest goes on from this state: the digests in it are those of RAM. */
void image_restored(struct vm *vm, const struct state_file *f);

#endif
