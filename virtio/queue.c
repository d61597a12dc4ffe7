/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/queue.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "vmm/gmem.h"

/* Descriptor flags (virtio 1.2, section 2.7.5). */
#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

/* Suppression flags of the available and the used ring (2.7.6, 2.7.8). */
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

struct desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

_Static_assert(sizeof(struct desc) == 16, "virtio 1.2, 2.7.5");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as the rings are");

/* Both rings: u16 flags, u16 idx, size entries, u16 event. */
#define RING_IDX	     2
#define RING_ENTRIES	     4
#define AVAIL_ENTRY_BYTES    ((size_t)2)
#define USED_ENTRY_BYTES     ((size_t)8)
#define RING_BYTES(n, entry) (RING_ENTRIES + (n) * (entry) + 2)

static uint8_t *avail_entry(const struct virtq *q, uint32_t i)
{
	return q->avail + RING_ENTRIES + i * AVAIL_ENTRY_BYTES;
}

static uint8_t *used_entry(const struct virtq *q, uint32_t i)
{
	return q->used + RING_ENTRIES + i * USED_ENTRY_BYTES;
}

/* The driver's used_event and our avail_event follow the last entries. */
static uint8_t *used_event(const struct virtq *q)
{
	return avail_entry(q, q->cfg.size);
}

static uint8_t *avail_event(const struct virtq *q)
{
	return used_entry(q, q->cfg.size);
}

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
/* It does not model fences; ring fields are atomics, so none is missed. */
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* Orders our store to a ring before our next load from the other one. */
static void full_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int virtq_start(struct virtq *q, const struct gmem *m, bool event_idx,
		bool indirect)
{
	const struct virtq_config *c = &q->cfg;

	if (!c->ready)
		return 0;
	if (c->size == 0 || c->size > VIRTQ_MAX_SIZE ||
	    (c->size & (c->size - 1)) != 0)
		return -EINVAL;
	if (!IS_ALIGNED(c->desc_gpa, 16) || !IS_ALIGNED(c->avail_gpa, 2) ||
	    !IS_ALIGNED(c->used_gpa, 4))
		return -EINVAL;

	uint8_t *desc = gmem_ptr(m, c->desc_gpa, c->size * sizeof(struct desc));
	uint8_t *avail = gmem_ptr(m, c->avail_gpa,
				  RING_BYTES(c->size, AVAIL_ENTRY_BYTES));
	uint8_t *used =
		gmem_ptr(m, c->used_gpa, RING_BYTES(c->size, USED_ENTRY_BYTES));

	if (!desc || !avail || !used)
		return -EINVAL;
	q->desc = desc;
	q->mem = m;
	q->avail = avail;
	q->used = used;
	q->mask = (uint16_t)(c->size - 1);
	q->event_idx = event_idx;
	q->indirect = indirect;
	return 0;
}

void virtq_reset(struct virtq *q)
{
	/* vCPUs read `ready`, so it is not part of the wholesale clearing. */
	__atomic_store_n(&q->cfg.ready, false, __ATOMIC_RELEASE);
	q->cfg.size = 0;
	q->cfg.desc_gpa = 0;
	q->cfg.avail_gpa = 0;
	q->cfg.used_gpa = 0;
	memset(&q->desc, 0, sizeof(*q) - offsetof(struct virtq, desc));
}

/* The ring is aligned: two loads, so that no field is seen twice. */
static struct desc load_desc(const struct virtq *q, uint32_t i)
{
	const uint8_t *p = q->desc + i * sizeof(struct desc);
	uint64_t rest = gmem_load64(p + 8);

	return (struct desc){
		.gpa = gmem_load64(p),
		.bytes = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

static int add_segment(struct virtq_chain *c, const struct gmem *m,
		       const struct desc *d)
{
	bool in = d->flags & DESC_WRITE;

	if (c->n_out + c->n_in == c->max_iov)
		return -EPROTO;
	if (!in && c->n_in > 0) /* readable after writable (2.7.4.2) */
		return -EPROTO;

	void *p = d->bytes ? gmem_ptr(m, d->gpa, d->bytes) : NULL;

	if (!p)
		return -EPROTO;
	c->iov[c->n_out + c->n_in] = (struct iovec){p, d->bytes};
	*(in ? &c->n_in : &c->n_out) += 1;
	*(in ? &c->in_bytes : &c->out_bytes) += d->bytes;
	return c->in_bytes + c->out_bytes > UINT32_MAX ? -EPROTO : 0;
}

/* A table of descriptors elsewhere in RAM ends the chain (2.7.5.3). */
static int walk_indirect(struct virtq_chain *c, const struct gmem *m,
			 const struct desc *table)
{
	uint32_t n = table->bytes / sizeof(struct desc);
	uint32_t i = 0;

	if (n == 0 || table->bytes % sizeof(struct desc) != 0 ||
	    !gmem_valid(m, table->gpa, table->bytes))
		return -EPROTO;
	for (uint32_t links = 0; links < n; links++) {
		struct desc d;

		if (gmem_read(m, table->gpa + i * sizeof(d), &d, sizeof(d)) < 0)
			return -EPROTO;
		if (d.flags & DESC_INDIRECT)
			return -EPROTO;
		if (add_segment(c, m, &d) < 0)
			return -EPROTO;
		if (!(d.flags & DESC_NEXT))
			return 0;
		if (d.next >= n)
			return -EPROTO;
		i = d.next;
	}
	return -EPROTO; /* more links than descriptors: a loop */
}

static int walk(const struct virtq *q, struct virtq_chain *c,
		const struct gmem *m)
{
	uint32_t i = c->head;

	for (uint32_t links = 0; links < q->cfg.size; links++) {
		struct desc d = load_desc(q, i);

		if (d.flags & DESC_INDIRECT) {
			if (!q->indirect || (d.flags & DESC_NEXT))
				return -EPROTO;
			return walk_indirect(c, m, &d);
		}
		if (add_segment(c, m, &d) < 0)
			return -EPROTO;
		if (!(d.flags & DESC_NEXT))
			return 0;
		if (d.next >= q->cfg.size)
			return -EPROTO;
		i = d.next;
	}
	return -EPROTO;
}

static bool inflight(const struct virtq *q, uint16_t head)
{
	return (q->inflight[head / 8] >> (head % 8)) & 1;
}

static int pop(struct virtq *q, const struct gmem *m, struct virtq_chain *c)
{
	/* Acquire: the entries and descriptors below idx are complete. */
	uint16_t idx = gmem_load16_acquire(q->avail + RING_IDX);
	uint16_t pending = (uint16_t)(idx - q->last_avail);

	if (pending == 0)
		return 0;
	if (pending > q->cfg.size)
		return -EPROTO;

	struct virtq_chain t = {
		.head = gmem_load16(avail_entry(q, q->last_avail & q->mask)),
		.iov = c->iov,
		.max_iov = c->max_iov,
		.mem = m,
	};

	if (t.head >= q->cfg.size || inflight(q, t.head))
		return -EPROTO;
	if (walk(q, &t, m) < 0)
		return -EPROTO;
	q->inflight[t.head / 8] |= (uint8_t)(1u << (t.head % 8));
	q->last_avail++;
	*c = t;
	return 1;
}

int virtq_pop(struct virtq *q, const struct gmem *m, struct virtq_chain *c)
{
	if (q->broken)
		return -EPROTO;
	if (!q->desc)
		return 0;

	int ret = pop(q, m, c);

	q->broken = ret < 0;
	return ret;
}

bool virtq_chain_take(struct virtq_chain *c, void *dst, size_t len)
{
	uint8_t *to = dst;

	if (len > c->out_bytes)
		return false;
	c->out_bytes -= len;
	while (len > 0) {
		struct iovec *v = c->iov;
		size_t part = MIN(len, v->iov_len);

		memcpy(to, v->iov_base, part);
		to += part;
		len -= part;
		v->iov_base = (uint8_t *)v->iov_base + part;
		v->iov_len -= part;
		if (v->iov_len == 0) {
			c->iov++;
			c->max_iov--;
			c->n_out--;
		}
	}
	return true;
}

bool virtq_chain_fill(const struct virtq_chain *c, const void *src, size_t len)
{
	const uint8_t *from = src;

	if (len > c->in_bytes)
		return false;
	for (const struct iovec *v = c->iov + c->n_out; len > 0; v++) {
		size_t part = MIN(len, v->iov_len);

		memcpy(v->iov_base, from, part);
		gmem_mark(c->mem, v->iov_base, part);
		from += part;
		len -= part;
	}
	return true;
}

void virtq_unpop(struct virtq *q, uint16_t head)
{
	if (!q->desc)
		return;
	q->inflight[head / 8] &= (uint8_t) ~(1u << (head % 8));
	q->last_avail--;
}

void virtq_fill(struct virtq *q, uint16_t head, uint32_t bytes)
{
	if (q->broken || !q->desc)
		return;

	uint8_t *e = used_entry(q, q->next_used & q->mask);

	gmem_store32(e, head);
	gmem_store32(e + 4, bytes);
	gmem_mark(q->mem, e, USED_ENTRY_BYTES);
	q->inflight[head / 8] &= (uint8_t) ~(1u << (head % 8));
	q->next_used++;
}

void virtq_publish(struct virtq *q)
{
	if (q->broken || !q->desc)
		return;
	gmem_store16_release(q->used + RING_IDX, q->next_used);
	gmem_mark(q->mem, q->used + RING_IDX, sizeof(q->next_used));
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t bytes)
{
	virtq_fill(q, head, bytes);
	virtq_publish(q);
}

bool virtq_needs_irq(struct virtq *q)
{
	uint16_t old = q->signalled;
	uint16_t pushed = (uint16_t)(q->next_used - old);

	/* One that was restored may differ without being started. */
	if (pushed == 0 || q->broken || !q->desc)
		return false;
	q->signalled = q->next_used;
	full_fence();
	if (!q->event_idx)
		return !(gmem_load16(q->avail) & AVAIL_NO_INTERRUPT);
	/* Has next_used passed the driver's mark? (2.7.10) */
	return (uint16_t)(q->next_used - gmem_load16(used_event(q)) - 1) <
	       pushed;
}

static void store_ring(const struct virtq *q, uint8_t *p, uint16_t v)
{
	gmem_store16(p, v);
	gmem_mark(q->mem, p, sizeof(v));
}

void virtq_disable_kick(struct virtq *q)
{
	/* With EVENT_IDX, the old mark stays behind and asks for nothing. */
	if (q->desc && !q->event_idx)
		store_ring(q, q->used, USED_NO_NOTIFY);
}

bool virtq_enable_kick(struct virtq *q)
{
	if (!q->desc || q->broken)
		return false;
	if (q->event_idx)
		store_ring(q, avail_event(q), q->last_avail);
	else
		store_ring(q, q->used, 0);
	full_fence();
	return gmem_load16_acquire(q->avail + RING_IDX) != q->last_avail;
}
