/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live_diff.c: what makes a live snapshot a Diff: which pages are in it, as
 * image.h has it, and digests of RAM that the file holds only a part of.
 *
 * A page that is in the file is read there again. One that was never written
 * to is zero, or as in the file that RAM is mapped from. The others, written to
 * before the last snapshot, are nowhere but in RAM, on its way already: the
 * CRC of each is taken while it is as it was in the pause.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "snapshot/image.h"
#include "snapshot/live_ways.h"
#include "snapshot/memory.h"
#include "snapshot/target.h"
#include "vmm/vm.h"

#define PAGE_BYTES  DIRTY_PAGE_BYTES
#define CHUNK_PAGES (MEMORY_CHUNK_BYTES / PAGE_BYTES)
#define BUF_PAGES   64 /* live_diff_put() gets no more */

static int no_memory(struct err *e)
{
	return err_code(e, -ENOMEM, "Maps of RAM");
}

int live_diff_init(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	struct live_diff *d = &l->diff;

	d->on = true;
	d->pages = dirty_map(m);
	d->kept = dirty_map(m);
	d->buf = malloc((size_t)BUF_PAGES * PAGE_BYTES);
	d->page_crc = calloc(dirty_pages(m), sizeof(*d->page_crc));
	if (!d->pages || !d->kept || !d->buf || !d->page_crc)
		return no_memory(e);
	/* As image.c: no page brought by a server to be digested alone. */
	if (l->vm->cfg.pager) {
		free(l->crc);
		l->crc = NULL;
	}
	return 0;
}

void live_diff_exit(struct live_memory *l)
{
	free(l->diff.pages);
	free(l->diff.kept);
	free(l->diff.buf);
	free(l->diff.page_crc);
	l->diff = (struct live_diff){0};
}

int live_diff_lay(struct live_memory *l, struct target *t, struct err *e)
{
	uint64_t bytes = l->vm->mem.bytes, at = 0;
	cleanup_fd int fd = -1;
	int ret = image_old(t, &l->vm->mem, &fd, e);

	if (ret < 0 || fd < 0)
		return ret;
	ret = target_share(t, fd, bytes);
	if (ret == -ENOTSUP) {
		while ((ret = target_copy_next(t, fd, &at, bytes, true)) > 0)
			live_turn(l);
	}
	return ret < 0 ? err_code(e, ret, "Cannot copy the memory backing file")
		       : 0;
}

/* ---- which pages ---- */

/* Whether the digest of chunk i is another than vm->dirty.digest has. */
static bool digest_is_new(const struct live_memory *l, uint32_t i)
{
	const struct vm *vm = l->vm;
	const uint64_t *changed =
		vm->cfg.track_dirty ? vm->dirty.stale : l->diff.pages;

	return !vm->dirty.digest || memory_has_any(changed, &vm->mem, i);
}

/* What a log that is on for the user knows of, and *pages has not. */
static void keep(struct live_memory *l, const uint64_t *pages, bool new_only)
{
	const struct vm *vm = l->vm;

	if (!l->crc || !vm->cfg.track_dirty)
		return;
	for (size_t w = 0; w < dirty_words(&vm->mem); w++) {
		if (!new_only ||
		    digest_is_new(l, (uint32_t)(w * 64 / CHUNK_PAGES)))
			l->diff.kept[w] = vm->dirty.told[w] & ~pages[w];
	}
}

static void choose_sample(struct live_memory *l, const uint64_t *pages)
{
	partial_choose(&l->diff.sample, &l->vm->mem, pages,
		       l->vm->has_base ? FD_BASE : -1);
}

static void take_crc(struct live_memory *l, size_t page)
{
	const uint8_t *ram = l->vm->mem.region[0].hva;

	l->diff.page_crc[page] = crc32c(0, ram + page * PAGE_BYTES, PAGE_BYTES);
}

static int add_differing(struct live_memory *l, uint64_t *map, struct err *e)
{
	struct vm *vm = l->vm;
	int ret = memory_differs(&vm->mem, FD_BASE, map, e);

	if (ret < 0)
		return ret;
	if (dirty_note(vm, map) < 0)
		return no_memory(e);
	dirty_merge(map, vm->dirty.told, &vm->mem);
	return 0;
}

/* What is written to from here on is in a later fetch, so none is wrong. */
int live_diff_begin(struct live_memory *l, struct err *e)
{
	struct vm *vm = l->vm;
	const struct gmem *m = &vm->mem;
	size_t at = 0, n;
	int ret = 0;

	if (vm->cfg.track_dirty)
		ret = live_fetch(l, l->rest, e);
	else if (vm->has_base)
		ret = add_differing(l, l->rest, e);
	else
		memory_resident(m, l->rest);
	if (ret < 0)
		return ret;
	choose_sample(l, l->rest);
	keep(l, l->rest, false);
	while ((n = dirty_run(l->diff.kept, m, at, &at)) > 0) {
		for (size_t end = at + n; at < end; at++) {
			take_crc(l, at);
			live_turn(l);
		}
	}
	return 0;
}

int live_diff_freeze(struct live_memory *l, struct err *e)
{
	struct vm *vm = l->vm;
	const struct gmem *m = &vm->mem;
	struct live_diff *d = &l->diff;

	if (vm->cfg.track_dirty) {
		int ret = live_fetch(l, d->pages, e);

		if (ret < 0)
			return ret;
		keep(l, d->pages, true);
		dirty_merge(l->todo, d->kept, m);
	} else {
		memory_resident(m, l->todo);
		d->compares = vm->has_base;
		if (!d->compares)
			dirty_merge(d->pages, l->todo, m);
		else if (vm->dirty.told)
			dirty_merge(d->pages, vm->dirty.told, m);
	}
	dirty_merge(l->todo, d->pages, m);
	choose_sample(l, d->pages);
	return 0;
}

int live_diff_put(struct live_memory *l, size_t page, size_t n, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	const struct live_diff *d = &l->diff;
	size_t end = page + n;
	int ret = 0;

	if (d->compares)
		ret = memory_compare(m, FD_BASE, d->buf, page, n, d->pages, e);
	while (ret == 0 && page < end) {
		size_t from = page;

		while (page < end && dirty_has(d->pages, page))
			page++;
		ret = memory_put(l->fd, m->region[0].hva + from * PAGE_BYTES,
				 (page - from) * PAGE_BYTES, from * PAGE_BYTES,
				 e);
		for (; page < end && !dirty_has(d->pages, page); page++) {
			if (dirty_has(d->kept, page))
				take_crc(l, page);
		}
	}
	return ret;
}

/* ---- digests ---- */

static uint32_t append_zeros(uint32_t crc)
{
	static const uint8_t zero[PAGE_BYTES];

	return crc32c(crc, zero, sizeof(zero));
}

/*
 * The CRC of what crc is of and, behind it, the page that page_crc is of: what
 * stands before a page changes the CRC as much as before zeros.
 */
static uint32_t append(uint32_t crc, uint32_t page_crc)
{
	return append_zeros(crc) ^ append_zeros(0) ^ page_crc;
}

/* The file that has the page, or -1. */
static int where(const struct live_memory *l, size_t page)
{
	if (dirty_has(l->diff.pages, page))
		return l->fd;
	return l->vm->has_base && !dirty_has(l->diff.kept, page) ? FD_BASE : -1;
}

static int digest_chunk(struct live_memory *l, uint32_t i, struct err *e)
{
	const struct live_diff *d = &l->diff;
	size_t page = (size_t)i * CHUNK_PAGES;
	size_t end = MIN(page + CHUNK_PAGES, dirty_pages(&l->vm->mem));
	uint32_t *crc = &l->crc[i];
	int ret = 0;

	for (*crc = 0; ret == 0 && page < end;) {
		int fd = where(l, page);
		size_t n = 1;

		if (fd < 0) {
			*crc = dirty_has(d->kept, page)
				       ? append(*crc, d->page_crc[page])
				       : append_zeros(*crc);
		} else {
			while (n < MIN(end - page, (size_t)BUF_PAGES) &&
			       where(l, page + n) == fd)
				n++;
			ret = live_read(fd, d->buf, n * PAGE_BYTES,
					page * PAGE_BYTES, e);
			*crc = crc32c(*crc, d->buf, n * PAGE_BYTES);
		}
		page += n;
	}
	return ret;
}

/* Nothing but zeros, and all of a chunk. */
static bool is_hole(const struct live_memory *l, uint32_t i)
{
	const struct gmem *m = &l->vm->mem;

	return !l->vm->has_base && !memory_has_any(l->diff.pages, m, i) &&
	       !memory_has_any(l->diff.kept, m, i) &&
	       (size_t)(i + 1) * CHUNK_PAGES <= dirty_pages(m);
}

static uint32_t hole_crc(void)
{
	uint32_t crc = 0;

	for (size_t i = 0; i < CHUNK_PAGES; i++)
		crc = append_zeros(crc);
	return crc;
}

int live_diff_end(struct live_memory *l, struct err *e)
{
	struct vm *vm = l->vm;
	uint32_t n = l->crc ? memory_chunks(&vm->mem) : 0;
	uint32_t hole = hole_crc();
	int ret = 0;

	if (l->diff.compares && dirty_note(vm, l->diff.pages) < 0)
		return no_memory(e);
	for (uint32_t i = 0; ret == 0 && i < n; i++) {
		if (!digest_is_new(l, i))
			l->crc[i] = vm->dirty.digest[i];
		else if (is_hole(l, i))
			l->crc[i] = hole;
		else
			ret = digest_chunk(l, i, e);
		live_turn(l);
	}
	return ret;
}

void live_diff_add(struct live_memory *l, struct state_file *f)
{
	struct partial all = l->diff.sample, *p = &l->diff.sample;

	/* What was written to behind the choice is in the file by now. */
	p->n = 0;
	for (uint64_t i = 0; i < all.n; i++) {
		if (!dirty_has(l->diff.pages, all.of[i].page))
			p->of[p->n++] = all.of[i];
	}
	if (!partial_has_all(p, l->fd))
		partial_add(p, f);
}
