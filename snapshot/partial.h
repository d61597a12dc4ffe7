/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partial.h: a memory file that holds only what changed since an earlier
 * snapshot, and how to tell it from one that was merged with that.
 *
 * A file says nothing of itself, and it may be merged by another's tool, which
 * leaves the state file as it is. So the state of a Diff (section TAG_DIFF)
 * names a few pages that are not in it and are not zero, with their CRC32C:
 *
 *	u64	number of pages, at most PARTIAL_PAGES
 *	u64 u32	page and CRC32C, each
 *
 * All of them are right in a merged file, and zero in one that is not. There is
 * no such section where no such page was found: a first Diff of a guest that
 * was booted is whole. It is a sample: it catches what people do, not what an
 * attacker does.
 */
#ifndef SNAPSHOT_PARTIAL_H
#define SNAPSHOT_PARTIAL_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct gmem;
struct state_file;

#define PARTIAL_PAGES 16

struct partial {
	uint64_t n;
	struct {
		uint64_t page;
		uint32_t crc;
	} of[PARTIAL_PAGES];
};

/*
 * Choose pages of RAM that are not in the map, the machine being paused. base
 * is the file that RAM is mapped from, -1: none.
 */
void partial_choose(struct partial *p, const struct gmem *m,
		    const uint64_t *map, int base);

/* Whether the file has them all. */
bool partial_has_all(const struct partial *p, int fd);

void partial_add(struct partial *p, struct state_file *f);

/* -ENODATA: the memory file in fd is a Diff that was not merged. */
int partial_check(const struct state_file *f, int fd, struct err *e);

#endif
