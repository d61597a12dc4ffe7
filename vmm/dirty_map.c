/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty_map.c: the maps of dirty.h. Nothing here needs a machine.
 */
#include <stdlib.h>

#include "base/num.h"
#include "vmm/dirty.h"
#include "vmm/gmem.h"

size_t dirty_pages(const struct gmem *m)
{
	return m->bytes / DIRTY_PAGE_BYTES;
}

size_t dirty_words(const struct gmem *m)
{
	return (dirty_pages(m) + 63) / 64;
}

uint64_t *dirty_map(const struct gmem *m)
{
	return calloc(dirty_words(m), sizeof(uint64_t));
}

void dirty_merge(uint64_t *into, const uint64_t *map, const struct gmem *m)
{
	for (size_t i = 0; i < dirty_words(m); i++)
		into[i] |= map[i];
}

size_t dirty_count(const uint64_t *map, const struct gmem *m)
{
	size_t n = 0;

	for (size_t i = 0; i < dirty_words(m); i++)
		n += (size_t)__builtin_popcountll(map[i]);
	return n;
}

/* The first page from `from` on that is in the map, or is not. */
static size_t find(const uint64_t *map, size_t pages, size_t from, bool in)
{
	while (from < pages) {
		uint64_t word = in ? map[from / 64] : ~map[from / 64];

		word >>= from % 64;
		if (word)
			return MIN(pages, from + (size_t)__builtin_ctzll(word));
		from = (from / 64 + 1) * 64;
	}
	return pages;
}

size_t dirty_run(const uint64_t *map, const struct gmem *m, size_t from,
		 size_t *start)
{
	size_t pages = dirty_pages(m);

	*start = find(map, pages, from, true);
	return find(map, pages, *start, false) - *start;
}
