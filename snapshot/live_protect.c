/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/live_ways.h"
#include "snapshot/memory.h"
#include "vmm/protect.h"
#include "vmm/vm.h"

#define PAGE_BYTES  DIRTY_PAGE_BYTES
#define CHUNK_WORDS (MEMORY_CHUNK_BYTES / PAGE_BYTES / 64)

/* Of chunks that stay holes; the last one may be shorter. */
static void digest_holes(struct live_memory *l)
{
	static const uint8_t zero[PAGE_BYTES];
	const struct gmem *m = &l->vm->mem;
	uint32_t crc = 0;

	for (size_t i = 0; i < MEMORY_CHUNK_BYTES / PAGE_BYTES; i++)
		crc = crc32c(crc, zero, sizeof(zero));
	for (uint32_t i = 0; i < memory_chunks(m); i++)
		l->crc[i] = crc;
	dirty_add(l->reread, dirty_pages(m) - 1);
}

int live_protect_open(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;

	if (m->page_bytes > PAGE_BYTES)
		return err_set(e, -ENOTSUP, "huge pages");
	if (m->anonymous && !memory_no_swap())
		return err_set(e, -ENOTSUP, "swap");
	l->todo = dirty_map(m);
	l->reread = dirty_map(m);
	if (!l->todo || !l->reread)
		return err_code(e, -ENOMEM, "Maps of RAM");
	if (!l->diff.on)
		digest_holes(l);
	return protect_open(&l->protect, m, e);
}

/* What is not there is zero; of a file, everything is there. */
static int find_pages(struct live_memory *l, struct err *e)
{
	struct vm *vm = l->vm;
	const struct gmem *m = &vm->mem;
	int ret = live_fetch(l, NULL, e); /* the user's next one is behind it */

	/* All is written, and nobody looks what differs from the base. */
	if (ret == 0 && vm->has_base && !vm->cfg.track_dirty &&
	    dirty_note(vm, NULL) < 0)
		ret = err_code(e, -ENOMEM, "Maps of RAM");
	if (ret < 0)
		return ret;
	if (m->anonymous)
		memory_resident(m, l->todo);
	for (size_t i = 0; !m->anonymous && i < dirty_pages(m); i++)
		dirty_add(l->todo, i);
	dirty_merge(l->reread, l->todo, m);
	return 0;
}

/* Chunks that have one of the pages. */
static int protect_pages(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	uint32_t n = memory_chunks(m), i = 0;
	int ret = 0;

	while (ret == 0 && i < n) {
		uint64_t at = (uint64_t)i * MEMORY_CHUNK_BYTES, end;
		uint32_t from = i;

		while (i < n && memory_has_any(l->todo, m, i))
			i++;
		end = MIN((uint64_t)i * MEMORY_CHUNK_BYTES, m->bytes);
		if (i > from)
			ret = protect_start(&l->protect, at, end - at, e);
		else
			i++;
	}
	return ret;
}

int live_protect_freeze(struct live_memory *l, struct err *e)
{
	int ret = l->diff.on ? live_diff_freeze(l, e) : find_pages(l, e);

	if (ret == 0 && l->vm->mem.anonymous && !memory_no_swap())
		ret = err_set(e, -EBUSY, "Swap was added just now");
	return ret == 0 ? protect_pages(l, e) : ret;
}

/* A run of pages, of which zeros stay holes. */
static int put(struct live_memory *l, size_t page, unsigned int n,
	       struct err *e)
{
	uint64_t at = page * PAGE_BYTES, end = at + n * (uint64_t)PAGE_BYTES;
	const uint8_t *ram = l->vm->mem.region[0].hva;
	int ret = 0;

	while (ret == 0 && at < end) {
		uint64_t start = at;

		while (at < end && !memory_is_zero(ram + at))
			at += PAGE_BYTES;
		ret = memory_put(l->fd, ram + start, at - start, start, e);
		at += PAGE_BYTES;
	}
	return ret;
}

/* Pages of word w of the map *todo, which then are in the file. */
static int save(struct live_memory *l, size_t w, uint64_t pages, struct err *e)
{
	int ret = 0;

	pages &= l->todo[w];
	l->todo[w] &= ~pages;
	while (ret == 0 && pages) {
		unsigned int first = (unsigned int)__builtin_ctzll(pages);
		uint64_t rest = ~(pages >> first);
		unsigned int n =
			rest ? (unsigned int)__builtin_ctzll(rest) : 64;

		ret = l->diff.on ? live_diff_put(l, w * 64 + first, n, e)
				 : put(l, w * 64 + first, n, e);
		pages = n < 64 ? pages & ~((((uint64_t)1 << n) - 1) << first)
			       : 0;
	}
	return ret;
}

/* Whoever waits goes on. */
static int serve(struct live_memory *l, struct err *e)
{
	uint64_t offset;
	int ret;

	while ((ret = protect_waiting(&l->protect, &offset, e)) > 0) {
		size_t page = offset / PAGE_BYTES;

		ret = save(l, page / 64, (uint64_t)1 << (page % 64), e);
		if (ret == 0)
			ret = protect_release(&l->protect, offset, PAGE_BYTES,
					      e);
		if (ret < 0)
			break;
		l->n_waited++;
		live_turn(l);
	}
	return ret;
}

/* Released as a whole, so that a huge page stays one. */
static int save_chunk(struct live_memory *l, uint32_t i, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	uint64_t at = (uint64_t)i * MEMORY_CHUNK_BYTES;
	size_t from = (size_t)i * CHUNK_WORDS;
	size_t until = MIN(dirty_words(m), from + CHUNK_WORDS);
	int ret = 0;

	for (size_t w = from; ret == 0 && w < until; w++) {
		ret = serve(l, e);
		if (ret == 0)
			ret = save(l, w, l->todo[w], e);
	}
	if (ret < 0)
		return ret;
	return protect_release(&l->protect, at,
			       MIN((uint64_t)MEMORY_CHUNK_BYTES, m->bytes - at),
			       e);
}

int live_protect_write(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < memory_chunks(m); i++) {
		if (memory_has_any(l->todo, m, i))
			ret = save_chunk(l, i, e);
		if (ret == 0)
			ret = serve(l, e);
		live_turn(l);
	}
	protect_close(&l->protect);
	return ret;
}
