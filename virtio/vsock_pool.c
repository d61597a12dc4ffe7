/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/num.h"

/* A stream whose reader lags empties and fills it all the time. */
#define BUSY_STOCK 1024
#define IDLE_STOCK 64

/* Anonymous memory without a page in it. */
static void *map(void *at, size_t bytes)
{
	return mmap(at, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			    (at ? MAP_FIXED : 0),
		    -1, 0);
}

static size_t links_bytes(const struct vsock_pool *p)
{
	return ((size_t)p->n + 1) * sizeof(*p->next);
}

int vsock_pool_init(struct vsock_pool *p, uint64_t bytes)
{
	void *mem;

	p->n = (uint32_t)MIN(bytes / VSOCK_CHUNK_BYTES, (uint64_t)INT32_MAX);
	if (p->n == 0)
		return -EINVAL;
	mem = map(NULL, (size_t)p->n * VSOCK_CHUNK_BYTES);
	if (mem == MAP_FAILED)
		return -errno;
	p->mem = mem;
	mem = map(NULL, links_bytes(p));
	if (mem == MAP_FAILED)
		return -errno;
	p->next = mem;
	return 0;
}

void vsock_pool_exit(struct vsock_pool *p)
{
	if (p->mem)
		(void)munmap(p->mem, (size_t)p->n * VSOCK_CHUNK_BYTES);
	if (p->next)
		(void)munmap(p->next, links_bytes(p));
	*p = (struct vsock_pool){0};
}

static uint8_t *chunk(const struct vsock_pool *p, uint32_t i)
{
	return p->mem + (size_t)(i - 1) * VSOCK_CHUNK_BYTES;
}

static uint32_t get(struct vsock_pool *p)
{
	uint32_t i = p->idle;

	if (i)
		p->idle = p->next[i];
	else if (p->n_fresh < p->n)
		i = ++p->n_fresh;
	else
		return 0;
	p->next[i] = 0;
	p->n_busy++;
	return i;
}

/* Mapping anew empties it; the loop's filter allows this call anyway. */
static void trim(struct vsock_pool *p, uint32_t stock)
{
	if (p->n_busy > 0 || p->n_fresh <= stock)
		return;
	(void)map(p->mem, (size_t)p->n_fresh * VSOCK_CHUNK_BYTES);
	p->n_fresh = 0;
	p->idle = 0;
}

void vsock_pool_trim(struct vsock_pool *p)
{
	trim(p, IDLE_STOCK);
}

static void put(struct vsock_pool *p, uint32_t i)
{
	p->next[i] = p->idle;
	p->idle = i;
	p->n_busy--;
	trim(p, BUSY_STOCK);
}

/* Room behind the last byte, in a new chunk if need be; NULL: none left. */
static uint8_t *room(struct vsock_pool *p, struct vsock_buf *b, uint32_t *bytes)
{
	uint32_t end = (b->start + b->bytes) % VSOCK_CHUNK_BYTES;

	if (!b->first || end == 0) {
		uint32_t i = get(p);

		if (!i)
			return NULL;
		if (b->first)
			p->next[b->last] = i;
		else
			b->first = i;
		b->last = i;
	}
	*bytes = VSOCK_CHUNK_BYTES - end;
	return chunk(p, b->last) + end;
}

bool vsock_buf_add(struct vsock_pool *p, struct vsock_buf *b,
		   const struct iovec *iov, uint32_t n_iov)
{
	for (const struct iovec *v = iov; v < iov + n_iov; v++) {
		const uint8_t *from = v->iov_base;
		size_t left = v->iov_len;

		while (left > 0) {
			uint32_t n;
			uint8_t *to = room(p, b, &n);

			if (!to)
				return false;
			n = (uint32_t)MIN(left, (size_t)n);
			memcpy(to, from, n);
			b->bytes += n;
			from += n;
			left -= n;
		}
	}
	return true;
}

uint32_t vsock_buf_peek(const struct vsock_pool *p, const struct vsock_buf *b,
			struct iovec *iov, uint32_t max)
{
	uint32_t left = b->bytes;
	uint32_t at = b->start;
	uint32_t n = 0;

	for (uint32_t i = b->first; left > 0 && n < max; i = p->next[i]) {
		uint32_t part = MIN(left, VSOCK_CHUNK_BYTES - at);

		iov[n++] = (struct iovec){chunk(p, i) + at, part};
		left -= part;
		at = 0;
	}
	return n;
}

void vsock_buf_drop(struct vsock_pool *p, struct vsock_buf *b, uint32_t n)
{
	b->bytes -= n;
	b->start += n;
	while (b->first && (b->bytes == 0 || b->start >= VSOCK_CHUNK_BYTES)) {
		uint32_t i = b->first;

		b->first = p->next[i];
		b->start -= MIN(b->start, VSOCK_CHUNK_BYTES);
		put(p, i);
	}
	if (!b->first)
		*b = (struct vsock_buf){0};
}
