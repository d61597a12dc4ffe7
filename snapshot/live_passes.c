/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "snapshot/live_ways.h"
#include "snapshot/memory.h"
#include "snapshot/target.h"
#include "vmm/vm.h"

#define PAGE_BYTES  DIRTY_PAGE_BYTES
#define ASIDE_BYTES ((size_t)LIVE_ASIDE * PAGE_BYTES)

static int no_memory(struct err *e)
{
	return err_code(e, -ENOMEM, "Maps of RAM");
}

static int too_quick(size_t pages, struct err *e)
{
	return err_set(e, -EBUSY,
		       "The guest writes to memory faster than it can be saved "
		       "while it runs: %zu pages changed during pass %d; at "
		       "most %d can be saved in the pause. Pause it first.",
		       pages, LIVE_PASSES, LIVE_ASIDE);
}

/*
 * Room for what is put aside: memory before the pause, none behind it, and the
 * same addresses again the next time. Not of the heap, which does not shrink
 * while anything above is in use; and munmap(2) is a call that the thread does
 * not need otherwise.
 */
static int map_room(struct vm *vm, int prot, int flags, struct err *e)
{
	uint8_t *old = vm->dirty.aside;
	void *p = mmap(old, ASIDE_BYTES, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags |
			       (old ? MAP_FIXED : 0),
		       -1, 0);

	if (p == MAP_FAILED)
		return err_sys(e, "Room for pages of RAM");
	vm->dirty.aside = p;
	vm->dirty.aside_bytes = ASIDE_BYTES;
	return 0;
}

void live_passes_exit(struct live_memory *l)
{
	struct err ignored;

	if (l->logs)
		(void)dirty_stop(l->vm, &ignored);
	if (l->aside)
		(void)map_room(l->vm, PROT_NONE, MAP_NORESERVE, &ignored);
	l->aside = NULL;
	l->logs = false;
}

static int get_room(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	int ret;

	if (!l->reread) /* protection has come as far as that */
		l->reread = dirty_map(m);
	l->rest = dirty_map(m);
	if (!l->rest || !l->reread)
		return no_memory(e);
	ret = map_room(l->vm, PROT_READ | PROT_WRITE, MAP_POPULATE, e);
	if (ret == 0)
		l->aside = l->vm->dirty.aside;
	return ret;
}

/* What is written to meanwhile is in the next fetch of the log. */
static int write_all(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	uint32_t empty = 0;
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < memory_chunks(m); i++) {
		ret = memory_write_chunk(m, i, l->fd, &l->crc[i], &empty, e);
		live_turn(l);
	}
	return ret;
}

/* The file that the guest was restored from, and what differs from it. */
static int write_changed(struct live_memory *l, struct err *e)
{
	struct vm *vm = l->vm;
	cleanup_free uint64_t *map = dirty_map(&vm->mem);
	int ret;

	if (!map)
		return no_memory(e);
	ret = memory_differs(&vm->mem, FD_BASE, map, e);
	if (ret == 0 && dirty_note(vm, map) < 0)
		ret = no_memory(e);
	if (ret == 0)
		ret = memory_write_pages(&vm->mem, l->fd, map, true, e);
	if (ret < 0)
		return ret;
	/* Without the user's log they are those of the file that was loaded. */
	if (vm->dirty.digest && !vm->cfg.track_dirty) {
		memcpy(l->crc, vm->dirty.digest,
		       memory_chunks(&vm->mem) * sizeof(*l->crc));
		memory_digest(&vm->mem, map, l->crc);
	} else {
		memory_digest(&vm->mem, NULL, l->crc);
	}
	return 0;
}

/* What has changed; by then it is told anew of what changes meanwhile. */
static int write_rest(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	const uint8_t *ram = m->region[0].hva;
	size_t at = 0, n;
	int ret = 0;

	while (ret == 0 && (n = dirty_run(l->rest, m, at, &at)) > 0) {
		n = MIN(n, (size_t)64);
		ret = memory_put(l->fd, ram + at * PAGE_BYTES, n * PAGE_BYTES,
				 at * PAGE_BYTES, e);
		at += n;
		live_turn(l);
	}
	dirty_merge(l->reread, l->rest, m);
	memset(l->rest, 0, dirty_words(m) * sizeof(*l->rest));
	return ret;
}

static int write_diff(struct live_memory *l, struct err *e)
{
	int ret = live_diff_begin(l, e);

	return ret == 0 ? write_rest(l, e) : ret;
}

static int write_first(struct live_memory *l, struct err *e)
{
	struct target t = {.fd = l->fd};
	struct vm *vm = l->vm;
	int ret;

	if (l->diff.on)
		return write_diff(l, e);
	if (!vm->has_base)
		return write_all(l, e);
	ret = target_share(&t, FD_BASE, vm->mem.bytes);
	if (ret == 0)
		return write_changed(l, e);
	/* It may not be empty any more, and zeros are not written below. */
	if (ret != -ENOTSUP)
		return err_code(e, ret, "Cannot copy the memory backing file");
	/* As image.c does: all is written, nobody has looked what differs. */
	if (!vm->cfg.track_dirty && dirty_note(vm, NULL) < 0)
		return no_memory(e);
	return write_all(l, e);
}

/* One more fetch of what has changed, and how many pages that makes. */
static int look(struct live_memory *l, struct err *e)
{
	int ret = live_fetch(l, l->rest, e);

	l->n_rest = dirty_count(l->rest, &l->vm->mem);
	return ret;
}

static int pass(struct live_memory *l, struct err *e)
{
	int ret = write_rest(l, e);

	return ret == 0 ? look(l, e) : ret;
}

int live_passes_open(struct live_memory *l, struct err *e)
{
	int ret = get_room(l, e);

	if (ret == 0 && !dirty_on(l->vm)) {
		ret = dirty_start(l->vm, e);
		l->logs = ret == 0;
	} else if (ret == 0 && !l->diff.on) {
		/* What the user's log says by now is in the image anyway. */
		ret = live_fetch(l, NULL, e);
	}
	if (ret == 0)
		ret = write_first(l, e);
	if (ret == 0)
		ret = look(l, e);
	for (l->n_passes = 1;
	     ret == 0 && l->n_rest > LIVE_FEW && l->n_passes < LIVE_PASSES;
	     l->n_passes++)
		ret = pass(l, e);
	return ret == 0 && l->n_rest > LIVE_ASIDE ? too_quick(l->n_rest, e)
						  : ret;
}

int live_passes_freeze(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	const uint8_t *ram = m->region[0].hva;
	uint8_t *to = l->aside;
	size_t at = 0, n;
	int ret = look(l, e);

	if (ret == 0 && l->n_rest > LIVE_ASIDE)
		ret = too_quick(l->n_rest, e);
	while (ret == 0 && (n = dirty_run(l->rest, m, at, &at)) > 0) {
		memcpy(to, ram + at * PAGE_BYTES, n * PAGE_BYTES);
		to += n * PAGE_BYTES;
		at += n;
	}
	return ret;
}

int live_passes_write(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	const uint8_t *from = l->aside;
	size_t at = 0, n;
	int ret = 0;

	while (ret == 0 && (n = dirty_run(l->rest, m, at, &at)) > 0) {
		ret = memory_put(l->fd, from, n * PAGE_BYTES, at * PAGE_BYTES,
				 e);
		from += n * PAGE_BYTES;
		at += n;
	}
	dirty_merge(l->reread, l->rest, m);
	if (l->diff.on)
		dirty_merge(l->diff.pages, l->reread, m);
	if (ret == 0 && l->logs) {
		ret = dirty_stop(l->vm, e);
		l->logs = ret < 0;
	}
	return ret;
}
