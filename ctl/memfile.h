/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memfile.h: memory files of snapshots as files: checked, and laid over one
 * another. Holes are neither read nor written.
 */
#ifndef CTL_MEMFILE_H
#define CTL_MEMFILE_H

#include <stdbool.h>
#include <stdint.h>

struct err;

/* A line on standard error that says how far it is; on a terminal alone. */
struct progress {
	const char *what;
	uint64_t done, total; /* bytes */
	uint64_t next_ns;     /* when to say it again */
	bool on;
};

struct progress progress_begin(const char *what, uint64_t total);
void progress_end(const struct progress *p);

/* How many digests memfile_digests() makes. */
uint32_t memfile_chunks(uint64_t bytes);

/*
 * The CRC32C of each chunk (snapshot/memory.h) of the first `bytes` of a file
 * that has as many.
 */
int memfile_digests(int fd, uint64_t bytes, uint32_t *crc, struct progress *p,
		    struct err *e);

/*
 * Write into a file of that length what another has in its first `bytes` and is
 * not a hole: by the kernel where it can.
 */
int memfile_lay_over(int from, int to, uint64_t bytes, struct progress *p,
		     struct err *e);

#endif
