/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live_ways.h: the two ways of live.h, and what a Diff adds to either; for
 * live.c and tests. Helper thread.
 */
#ifndef SNAPSHOT_LIVE_WAYS_H
#define SNAPSHOT_LIVE_WAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/partial.h"
#include "vmm/protect.h"

struct err;
struct state_file;
struct target;
struct vm;
struct worker;

#define LIVE_PASSES 8
#define LIVE_FEW    256	 /* pages: no further pass is worth it */
#define LIVE_ASIDE  2048 /* pages that a pause has time for */

/* Of a Diff; zeroed: it is a Full one. */
struct live_diff {
	bool on;
	bool compares;	    /* pages are found while they are protected */
	uint64_t *pages;    /* in the file, at the end */
	uint64_t *kept;	    /* not in it, but with a CRC of their own */
	uint32_t *page_crc; /* theirs */
	uint8_t *buf;
	struct partial sample; /* and some that it does not have */
};

/* The memory file being written. */
struct live_memory {
	struct vm *vm;
	struct worker *worker; /* NULL: nobody else has jobs */
	int fd;		       /* borrowed */
	uint32_t *crc;	       /* one a chunk, as memory.h says; NULL: none */
	uint64_t turn_ns;      /* when others had their last turn */
	uint64_t *fetched;     /* from the user's log; in vain if this fails */
	uint64_t *reread;      /* of chunks whose digests are not right yet */
	bool made;	       /* the snapshot is there */
	struct live_diff diff;

	/* By protection. */
	uint64_t *todo; /* pages that are not in the file yet */
	size_t n_waited;
	struct protect protect;

	/* By passes. */
	uint64_t *rest; /* pages that have changed since they were written */
	uint8_t *aside; /* what these hold in the pause; vm->dirty.aside */
	unsigned int n_passes;
	size_t n_rest;
	bool logs; /* the log was switched on for this */
};

/* fd: an empty file. live_memory_exit() in every case. */
int live_memory_init(struct live_memory *l, struct vm *vm, int fd,
		     struct err *e);

/* Read that much of a file of the snapshot's. */
int live_read(int fd, uint8_t *buf, size_t len, uint64_t at, struct err *e);

/* Let others have their turn, if they had none for some milliseconds. */
void live_turn(struct live_memory *l);

/*
 * Fetch from the log, if it is on: into l->fetched, and *map unless NULL.
 */
int live_fetch(struct live_memory *l, uint64_t *map, struct err *e);

/* ---- by protection; -ENOTSUP of open, with the reason: not here ---- */

int live_protect_open(struct live_memory *l, struct err *e);
int live_protect_freeze(struct live_memory *l, struct err *e);
int live_protect_write(struct live_memory *l, struct err *e);

/* ---- by passes ---- */

int live_passes_open(struct live_memory *l, struct err *e);
int live_passes_freeze(struct live_memory *l, struct err *e);
int live_passes_write(struct live_memory *l, struct err *e);
void live_passes_exit(struct live_memory *l);

/* ---- a Diff: live_diff.c ---- */

/* Behind live_memory_init(); and what the file holds before: see image.h. */
int live_diff_init(struct live_memory *l, struct err *e);
int live_diff_lay(struct live_memory *l, struct target *t, struct err *e);
void live_diff_exit(struct live_memory *l); /* accepts zeroed */

/* By passes: into l->rest the pages to begin with; the log is on. */
int live_diff_begin(struct live_memory *l, struct err *e);

/*
 * By protection: into l->todo the pages to protect; then of a run of at most 64
 * of them what is to be done while they are.
 */
int live_diff_freeze(struct live_memory *l, struct err *e);
int live_diff_put(struct live_memory *l, size_t page, size_t n, struct err *e);

/* Behind the write: the digests; and what the state says of it. */
int live_diff_end(struct live_memory *l, struct err *e);
void live_diff_add(struct live_memory *l, struct state_file *f);

/* Of either, behind their write: the digests that are missing. */
int live_digest(struct live_memory *l, struct err *e);

/* Nothing is held up or logged any more, everything freed. */
void live_memory_exit(struct live_memory *l);

#endif
