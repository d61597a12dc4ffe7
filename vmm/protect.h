/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protect.h: guest RAM kept as it was at one instant, while the guest runs on:
 * by userfaultfd, whoever is about to change a page (a vCPU, the loop, a worker
 * of the kernel's) waits until the page has been let go.
 *
 * What was not there at that instant is not protected, nor is it in the way:
 * ask with mincore(2), while nobody writes, which pages those are.
 *
 * One thread opens, starts, serves and closes: the helper. It must not wait for
 * anybody who may wait for a page, and not write to RAM. Closing lets
 * everything go and everybody on, whatever went before.
 */
#ifndef VMM_PROTECT_H
#define VMM_PROTECT_H

#include <stdint.h>

struct err;
struct gmem;

struct protect {
	const struct gmem *mem;
	int fd; /* a userfaultfd, -1: not open */
};

/*
 * Prepare, so that starting is quick; the guest may run. -ENOTSUP, with the
 * reason: not here (no /dev/userfaultfd), or not this memory (a private mapping
 * of a regular file, or one that another userfaultfd holds).
 */
int protect_open(struct protect *p, const struct gmem *m, struct err *e);

/*
 * That part, whole pages, from now on; while nobody writes. Half a millisecond
 * for each 256 MiB.
 */
int protect_start(struct protect *p, uint64_t offset, uint64_t bytes,
		  struct err *e);

/*
 * Whether somebody waits: 1 and the page's place in the order of addresses
 * (bytes, as in the memory file), 0, or an error. Does not block.
 */
int protect_waiting(struct protect *p, uint64_t *offset, struct err *e);

/* Let that part go: whole pages. */
int protect_release(struct protect *p, uint64_t offset, uint64_t bytes,
		    struct err *e);

/* Let everything go; also when it is not open. */
void protect_close(struct protect *p);

#endif
