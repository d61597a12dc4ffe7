/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partial_choose.c: the part of partial.h that looks at RAM. The rest needs no
 * machine, so that mayflyctl can link it.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/num.h"
#include "snapshot/memory.h"
#include "snapshot/partial.h"
#include "vmm/dirty.h"
#include "vmm/gmem.h"

#define PAGE_BYTES DIRTY_PAGE_BYTES

/* Pages looked at for one of the sample: RAM may be large and full of zeros. */
#define TRIES 64

/* Where there may be something: the next page from `at` on, or `end`. */
static size_t next_page(int base, size_t at, size_t end)
{
	off_t data = base < 0
			     ? (off_t)(at * PAGE_BYTES)
			     : lseek(base, (off_t)(at * PAGE_BYTES), SEEK_DATA);

	return data < 0 ? end : MIN((size_t)data / PAGE_BYTES, end);
}

/* Reading what is not there would bring it there, from wherever that is. */
static bool is_there(const uint8_t *page)
{
	unsigned char in;

	return mincore((void *)(uintptr_t)page, PAGE_BYTES, &in) == 0 &&
	       (in & 1);
}

static void choose_one(struct partial *p, const struct gmem *m,
		       const uint64_t *map, int base, size_t at, size_t end)
{
	for (int i = 0; i < TRIES && at < end; i++, at++) {
		const uint8_t *page;

		at = next_page(base, at, end);
		if (at >= end)
			return;
		page = m->region[0].hva + at * PAGE_BYTES;
		if (dirty_has(map, at) || (base < 0 && !is_there(page)) ||
		    memory_is_zero(page))
			continue;
		p->of[p->n].page = at;
		p->of[p->n++].crc = crc32c(0, page, PAGE_BYTES);
		return;
	}
}

void partial_choose(struct partial *p, const struct gmem *m,
		    const uint64_t *map, int base)
{
	size_t pages = dirty_pages(m);
	size_t part = (pages + PARTIAL_PAGES - 1) / PARTIAL_PAGES;

	*p = (struct partial){0};
	for (size_t at = 0; at < pages; at += part)
		choose_one(p, m, map, base, at, MIN(at + part, pages));
}
