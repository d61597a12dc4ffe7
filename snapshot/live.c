/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "base/worker.h"
#include "snapshot/draft.h"
#include "snapshot/image.h"
#include "snapshot/live_ways.h"
#include "snapshot/memory.h"
#include "snapshot/snapshot.h"
#include "vmm/vm.h"

#define TURN_NS	   (2 * NS_PER_MS)
#define READ_BYTES ((size_t)(128 * KIB))

struct live {
	struct draft draft;
	struct live_memory memory;
	bool by_protection;
	struct err why_not; /* not by protection */
};

/* ---- what both ways need ---- */

void live_turn(struct live_memory *l)
{
	if (!l->worker || clock_now_ns() - l->turn_ns < TURN_NS)
		return;
	worker_turn(l->worker);
	l->turn_ns = clock_now_ns();
}

int live_fetch(struct live_memory *l, uint64_t *map, struct err *e)
{
	struct vm *vm = l->vm;
	cleanup_free uint64_t *got = NULL;
	int ret;

	if (!dirty_on(vm))
		return 0;
	got = dirty_map(&vm->mem);
	if (!l->logs && !l->fetched)
		l->fetched = dirty_map(&vm->mem);
	if (!got || (!l->logs && !l->fetched))
		return err_code(e, -ENOMEM, "Maps of RAM");
	ret = dirty_fetch(vm, got, e);
	if (l->fetched)
		dirty_merge(l->fetched, got, &vm->mem);
	if (map)
		dirty_merge(map, got, &vm->mem);
	return ret;
}

int live_memory_init(struct live_memory *l, struct vm *vm, int fd,
		     struct err *e)
{
	*l = (struct live_memory){.vm = vm, .fd = fd, .protect.fd = -1};
	l->crc = calloc(memory_chunks(&vm->mem), sizeof(*l->crc));
	if (!l->crc)
		return err_code(e, -ENOMEM, "Digests of the memory file");
	return memory_size(&vm->mem, fd, e);
}

void live_memory_exit(struct live_memory *l)
{
	if (l->fetched && !l->made)
		dirty_keep(l->vm, l->fetched);
	protect_close(&l->protect);
	live_passes_exit(l);
	live_diff_exit(l);
	free(l->crc);
	free(l->fetched);
	free(l->reread);
	free(l->todo);
	free(l->rest);
	*l = (struct live_memory){.fd = -1, .protect.fd = -1};
}

/* ---- digests: of the file, since RAM is on its way already ---- */

int live_read(int fd, uint8_t *buf, size_t len, uint64_t at, struct err *e)
{
	while (len > 0) {
		struct iovec v = {.iov_base = buf, .iov_len = len};
		ssize_t n = preadv(fd, &v, 1, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_code(e, n < 0 ? -errno : -EIO,
					"Cannot read memory file");
		buf += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int digest_chunk(struct live_memory *l, uint32_t i, uint8_t *buf,
			struct err *e)
{
	uint64_t at = (uint64_t)i * MEMORY_CHUNK_BYTES;
	uint64_t end = MIN(at + MEMORY_CHUNK_BYTES, l->vm->mem.bytes);
	int ret = 0;

	for (l->crc[i] = 0; ret == 0 && at < end;) {
		size_t n = MIN(end - at, READ_BYTES);

		ret = live_read(l->fd, buf, n, at, e);
		l->crc[i] = crc32c(l->crc[i], buf, n);
		at += n;
	}
	return ret;
}

int live_digest(struct live_memory *l, struct err *e)
{
	const struct gmem *m = &l->vm->mem;
	cleanup_free uint8_t *buf = malloc(READ_BYTES);
	size_t at = 0, per = MEMORY_CHUNK_BYTES / DIRTY_PAGE_BYTES;
	int ret = buf ? 0 : err_code(e, -ENOMEM, "Cannot read memory file");

	while (ret == 0 && dirty_run(l->reread, m, at, &at) > 0) {
		ret = digest_chunk(l, (uint32_t)(at / per), buf, e);
		at = (at / per + 1) * per;
		live_turn(l);
	}
	return ret;
}

/* ---- the snapshot ---- */

static int choose(struct live *l, bool may_protect, struct err *e)
{
	int ret = -ENOTSUP;

	if (may_protect)
		ret = live_protect_open(&l->memory, &l->why_not);
	else
		(void)err_set(&l->why_not, ret, "drives need the helper");
	l->by_protection = ret == 0;
	if (ret == -ENOTSUP)
		return live_passes_open(&l->memory, e);
	if (ret < 0)
		*e = l->why_not;
	return ret;
}

static int open_files(struct live *l, const struct live_order *o, struct err *e)
{
	int ret = draft_open(&l->draft, o->vm, &o->files, e);

	if (ret < 0)
		return ret;
	ret = live_memory_init(&l->memory, o->vm, l->draft.mem.fd, e);
	l->memory.worker = o->worker;
	if (ret == 0 && o->files.diff)
		ret = live_diff_init(&l->memory, e);
	if (ret == 0 && o->files.diff)
		ret = live_diff_lay(&l->memory, &l->draft.mem, e);
	return ret;
}

int live_open(struct live **out, const struct live_order *o, struct err *e)
{
	struct live *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return err_code(e, -ENOMEM, "Live snapshot");
	*out = l;
	ret = open_files(l, o, e);
	return ret == 0 ? choose(l, o->may_protect, e) : ret;
}

int live_freeze(struct live *l, struct err *e)
{
	int ret = l->by_protection ? live_protect_freeze(&l->memory, e)
				   : live_passes_freeze(&l->memory, e);

	return ret == 0 ? draft_add_machine(&l->draft, l->memory.vm, e) : ret;
}

int live_write(struct live *l, struct err *e)
{
	int ret = l->by_protection ? live_protect_write(&l->memory, e)
				   : live_passes_write(&l->memory, e);

	if (ret < 0)
		return ret;
	return l->memory.diff.on ? live_diff_end(&l->memory, e)
				 : live_digest(&l->memory, e);
}

int live_commit(struct live *l, struct err *e)
{
	struct live_memory *m = &l->memory;
	int ret;

	if (m->diff.on)
		live_diff_add(m, &l->draft.file);
	if (m->crc)
		image_add_digests(&l->draft.file, m->crc,
				  memory_chunks(&m->vm->mem));
	ret = draft_commit(&l->draft, e);
	if (ret < 0)
		return ret;
	m->made = true;
	if (m->fetched)
		image_keep_digests(m->vm, &m->crc);
	return 0;
}

void live_free(struct live *l)
{
	if (!l)
		return;
	if (l->memory.vm)
		live_memory_exit(&l->memory);
	draft_exit(&l->draft);
	free(l);
}

void live_report(const struct live *l, char *line, size_t bytes)
{
	const struct live_memory *m = &l->memory;

	if (l->by_protection)
		(void)snprintf(line, bytes,
			       "by write protection, %zu pages waited for",
			       m->n_waited);
	else
		(void)snprintf(line, bytes,
			       "by %u passes, %zu pages in the pause (no write "
			       "protection: %s)",
			       m->n_passes, m->n_rest, l->why_not.text);
}
