/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty.h: which pages of RAM were written since somebody last looked.
 *
 * Two logs, read as one: KVM's, of what vCPUs and KVM itself wrote, and marks
 * of what the monitor wrote (gmem_mark(), once a write has completed). So a
 * page that is being written by a device while it is read is told by the next
 * fetch: passes over a running guest lose nothing.
 *
 * A map has a bit a page of 4 KiB in the order of the memory file (regions
 * follow one another): page n is bit n % 64 of word n / 64; bits behind the
 * last page are 0.
 *
 * On: dirty_arm() on the loop thread, which all writes of devices complete on,
 * then dirty_start() on the helper, which may wait for milliseconds. Off: the
 * other way round. With cfg.track_dirty it is on from vm_build() to the end.
 * Fetch and keep: helper thread, the guest runs or not.
 */
#ifndef VMM_DIRTY_H
#define VMM_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct gmem;
struct vm;

#define DIRTY_PAGE_BYTES 4096

/* Part of a vm: zeroed is off. */
struct dirty {
	bool logging;	 /* KVM logs */
	uint64_t *marks; /* mapped at the first dirty_arm() */
	size_t marks_bytes;
	void *aside; /* addresses that live snapshots use, see live_passes.c */
	size_t aside_bytes;
	/* Sums of dirty_note(); NULL: nothing yet. */
	uint64_t *told;	  /* since the guest was built */
	uint64_t *stale;  /* since `digest` was right */
	uint32_t *digest; /* of RAM, as snapshot/ counts it; NULL: unknown */
};

/* Mark our own writes from now on. Loop thread, or before the vCPUs run. */
int dirty_arm(struct vm *vm, struct err *e);
void dirty_disarm(struct vm *vm);

/*
 * Let KVM log writes from now on, or no more. What vCPUs wrote before is in no
 * fetch. Helper thread; armed.
 */
int dirty_start(struct vm *vm, struct err *e);
int dirty_stop(struct vm *vm, struct err *e);

/* Whether writes are logged: fetches tell everything since the last one. */
bool dirty_on(const struct vm *vm);

/* Pages of RAM, and words of a map of them. */
size_t dirty_pages(const struct gmem *m);
size_t dirty_words(const struct gmem *m);

/* A map without pages; free() it. NULL: no memory. */
uint64_t *dirty_map(const struct gmem *m);

/*
 * Add the pages that were written since the last fetch to *map, and forget
 * them. After an error what was fetched is in *map too: dirty_keep() it.
 */
int dirty_fetch(struct vm *vm, uint64_t *map, struct err *e);

/* The pages of *map were fetched in vain: the next fetch tells them again. */
void dirty_keep(struct vm *vm, const uint64_t *map);

/*
 * Remember that the pages of *map (NULL: any) may be in a snapshot other than
 * in the file that the guest was restored from, whatever they hold now. Fetches
 * do so by themselves. Helper thread; -ENOMEM, and then nothing is remembered.
 */
int dirty_note(struct vm *vm, const uint64_t *map);

/* Whether page n is in the map, and put it there. */
static inline bool dirty_has(const uint64_t *map, size_t n)
{
	return (map[n / 64] >> (n % 64)) & 1;
}

static inline void dirty_add(uint64_t *map, size_t n)
{
	map[n / 64] |= (uint64_t)1 << (n % 64);
}

/* *into |= *map */
void dirty_merge(uint64_t *into, const uint64_t *map, const struct gmem *m);

/* How many pages are in the map. */
size_t dirty_count(const uint64_t *map, const struct gmem *m);

/*
 * The next run of pages in the map, from page `from` on: its first page in
 * *start and how many they are, 0 if there are no more.
 *
 *	for (size_t at = 0; (n = dirty_run(map, mem, at, &at)) > 0; at += n)
 */
size_t dirty_run(const uint64_t *map, const struct gmem *m, size_t from,
		 size_t *start);

void dirty_exit(struct vm *vm); /* accepts zeroed */

#endif
