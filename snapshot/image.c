/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fds.h"
#include "snapshot/memory.h"
#include "snapshot/partial.h"
#include "snapshot/sections.h"
#include "snapshot/target.h"
#include "vmm/dirty.h"
#include "vmm/vm.h"

static int no_memory(struct err *e)
{
	return err_code(e, -ENOMEM, "Maps of RAM");
}

static uint64_t *copy_map(const struct vm *vm, const uint64_t *from)
{
	uint64_t *map = dirty_map(&vm->mem);

	if (map)
		dirty_merge(map, from, &vm->mem);
	return map;
}

/* ---- which pages ---- */

static int by_log(struct image *im, struct err *e)
{
	struct vm *vm = im->vm;
	const struct dirty *d = &vm->dirty;
	int ret;

	im->fetched = dirty_map(&vm->mem);
	if (!im->fetched)
		return no_memory(e);
	ret = dirty_fetch(vm, im->fetched, e);
	if (ret < 0)
		return ret;
	if (im->diff || vm->has_base)
		im->pages = copy_map(vm, im->diff ? im->fetched : d->told);
	im->changed = copy_map(vm, d->stale);
	return (im->pages || !(im->diff || vm->has_base)) && im->changed
		       ? 0
		       : no_memory(e);
}

/*
 * A page that is again as it was at the start may be otherwise in a snapshot
 * made meanwhile, and this Diff may be merged over that.
 */
static int by_comparing(struct image *im, struct err *e)
{
	struct vm *vm = im->vm;
	int ret;

	im->changed = dirty_map(&vm->mem);
	if (!im->changed)
		return no_memory(e);
	ret = memory_differs(&vm->mem, FD_BASE, im->changed, e);
	if (ret < 0)
		return ret;
	if (dirty_note(vm, im->changed) < 0)
		return no_memory(e);
	im->pages = copy_map(vm, im->diff ? vm->dirty.told : im->changed);
	return im->pages ? 0 : no_memory(e);
}

static int by_residence(struct image *im, struct err *e)
{
	if (!im->diff)
		return 0;
	im->pages = dirty_map(&im->vm->mem);
	if (!im->pages)
		return no_memory(e);
	memory_resident(&im->vm->mem, im->pages);
	return 0;
}

static int find_pages(struct image *im, struct err *e)
{
	struct vm *vm = im->vm;

	if (vm->cfg.track_dirty)
		return by_log(im, e);
	return vm->has_base ? by_comparing(im, e) : by_residence(im, e);
}

/* ---- into the file ---- */

/* The pages go over what another file holds. */
static int lay(const struct image *im, struct target *t, int fd, struct err *e)
{
	int ret = target_copy(t, fd, im->vm->mem.bytes, im->diff);

	return ret < 0 ? err_code(e, ret, "Cannot copy the memory backing file")
		       : 0;
}

int image_old(const struct target *t, const struct gmem *m, int *old,
	      struct err *e)
{
	cleanup_fd int fd = target_old(t);
	struct stat st;

	*old = -1;
	if (fd < 0 && fd != -ENOENT)
		return err_code(e, fd,
				"Cannot perform open on the memory "
				"backing file");
	/* Not as if there were none: its pages would be lost. */
	if (fd >= 0 && fstat(fd, &st) < 0)
		return err_sys(e, "Cannot perform open on the memory "
				  "backing file");
	if (fd >= 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == m->bytes)
		*old = fd_steal(&fd);
	return 0;
}

static int lay_old(struct image *im, struct target *t, struct err *e)
{
	cleanup_fd int fd = -1;
	int ret = image_old(t, &im->vm->mem, &fd, e);

	if (ret < 0)
		return ret;
	return fd < 0 ? memory_size(&im->vm->mem, t->fd, e) : lay(im, t, fd, e);
}

/* What was not written since its digest was taken need not be read again. */
static void digest(struct image *im)
{
	const struct vm *vm = im->vm;
	size_t bytes = memory_chunks(&vm->mem) * sizeof(*im->crc);

	if (vm->dirty.digest && im->changed) {
		memcpy(im->crc, vm->dirty.digest, bytes);
		memory_digest(&vm->mem, im->changed, im->crc);
	} else {
		memory_digest(&vm->mem, NULL, im->crc);
	}
}

static int write_diff(struct image *im, struct target *t, struct state_file *f,
		      struct err *e)
{
	struct vm *vm = im->vm;
	struct partial p;
	int ret = lay_old(im, t, e);

	if (ret == 0)
		ret = memory_write_pages(&vm->mem, t->fd, im->pages, false, e);
	if (ret < 0)
		return ret;
	if (im->crc)
		digest(im);
	partial_choose(&p, &vm->mem, im->pages, vm->has_base ? FD_BASE : -1);
	if (!partial_has_all(&p, t->fd))
		partial_add(&p, f);
	return 0;
}

/*
 * Where the rest cannot be shared it is copied from the file: it need not be
 * mapped for that, page by page.
 */
static int write_full(struct image *im, struct target *t, struct err *e)
{
	struct vm *vm = im->vm;
	int ret;

	if (!im->pages)
		return memory_write(&vm->mem, t->fd, im->crc, e);
	ret = lay(im, t, FD_BASE, e);
	if (ret == 0)
		ret = memory_write_pages(&vm->mem, t->fd, im->pages, true, e);
	if (ret == 0)
		digest(im);
	return ret;
}

void image_add_digests(struct state_file *f, uint32_t *crc, uint32_t n)
{
	struct archive a = state_begin(f, TAG_DIGEST, 0, 0);

	for (uint32_t i = 0; i < n; i++)
		archive_u32(&a, &crc[i]);
	state_end(f, &a);
}

int image_write(struct image *im, struct vm *vm, bool diff, struct target *t,
		struct state_file *f, struct err *e)
{
	uint32_t n = memory_chunks(&vm->mem);
	int ret;

	*im = (struct image){.vm = vm, .diff = diff};
	/* A Diff has no page brought by a page server to be digested alone. */
	if (!diff || !vm->cfg.pager) {
		im->crc = calloc(n, sizeof(*im->crc));
		if (!im->crc)
			return err_code(e, -ENOMEM,
					"Digests of the memory file");
	}
	ret = find_pages(im, e);
	if (ret == 0)
		ret = diff ? write_diff(im, t, f, e) : write_full(im, t, e);
	if (ret < 0)
		return ret;
	if (im->crc)
		image_add_digests(f, im->crc, n);
	return 0;
}

/*
 * By the log, the digests are those of the last snapshot from now on; compared,
 * those of the file that it is compared with.
 */
void image_keep_digests(struct vm *vm, uint32_t **crc)
{
	struct dirty *d = &vm->dirty;

	free(d->digest);
	d->digest = *crc;
	*crc = NULL;
	memset(d->stale, 0, dirty_words(&vm->mem) * sizeof(*d->stale));
}

void image_end(struct image *im, bool made)
{
	if (made && im->fetched)
		image_keep_digests(im->vm, &im->crc);
	else if (im->fetched)
		dirty_keep(im->vm, im->fetched);
	free(im->fetched);
	free(im->pages);
	free(im->changed);
	free(im->crc);
	*im = (struct image){0};
}

void image_restored(struct vm *vm, const struct state_file *f)
{
	struct archive a = state_find(f, TAG_DIGEST, 0);
	uint32_t n = memory_chunks(&vm->mem);
	uint32_t *crc = calloc(n, sizeof(*crc));

	/* Not there, or no memory: they are made anew when they are needed. */
	for (uint32_t i = 0; crc && i < n; i++)
		archive_u32(&a, &crc[i]);
	if (crc && archive_ok(&a))
		vm->dirty.digest = crc;
	else
		free(crc);
}
