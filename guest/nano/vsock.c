/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/vsock.h"

#define RX_BYTES 65536
/* Apart, so that no two descriptors are one piece of memory. */
#define SPLIT_OFFSET 64

_Static_assert(sizeof(struct vsock_header) == VSOCK_HEADER, "layout");

static uint64_t rx_stride(const struct vsock *v)
{
	return SPLIT_OFFSET + v->setup.rx_bytes;
}

static uint32_t data_offset(const struct vsock *v)
{
	return v->setup.split ? SPLIT_OFFSET : VSOCK_HEADER;
}

static void post(struct vsock *v)
{
	uint16_t need = v->setup.split ? 2 : 1;
	while (v->rx.n_free >= need) {
		uint8_t *p = v->rx_mem + v->rx.free_head * rx_stride(v);
		struct vq_buf b[] = {
			{p, VSOCK_HEADER, true},
			{p + SPLIT_OFFSET, v->setup.rx_bytes, true},
		};
		if (!v->setup.split)
			b[0].len += v->setup.rx_bytes;
		(void)vq_add(&v->rx, b, need, NULL);
	}
}

static void post_events(struct vsock *v)
{
	while (v->event.n_free) {
		uint32_t *e = v->events + v->event.free_head;
		struct vq_buf b = {e, sizeof(*e), true};
		(void)vq_add(&v->event, &b, 1, NULL);
	}
}

static void make_slots(struct vsock *v)
{
	v->rx_mem = mem_alloc(v->rx.size * rx_stride(v));
	v->events = mem_alloc(v->event.size * sizeof(*v->events));
	v->slot = mem_alloc(v->tx.size * sizeof(*v->slot));
	memset(v->slot, 0, v->tx.size * sizeof(*v->slot));
	for (uint16_t i = 0; v->setup.inlined && i < v->tx.size; i++)
		v->slot[i].copy = mem_alloc(VSOCK_HEADER + PATTERN_MAX);
}

const char *vsock_open(struct vsock *v, struct vdev *dev,
		       const struct vsock_setup *s)
{
	*v = (struct vsock){.dev = dev, .setup = *s};
	if (v->setup.rx_bytes == 0)
		v->setup.rx_bytes = RX_BYTES;
	const char *wrong = vdev_open(dev, 0);
	struct vq *const q[] = {&v->rx, &v->tx, &v->event};
	for (uint16_t i = 0; i < 3 && !*wrong; i++)
		wrong = vq_open(q[i], dev, i);
	if (*wrong)
		return wrong;
	make_slots(v);
	post(v);
	post_events(v);
	v->cid = vdev_config64(dev, 0);
	vdev_set_status(dev, VIRTIO_LIVE);
	vq_kick(&v->rx);
	vq_kick(&v->event);
	return "";
}

bool vsock_send(struct vsock *v, const struct vsock_header *h, const void *data,
		uint32_t len, void *owner)
{
	struct vsock_slot *s = &v->slot[v->tx.free_head];
	if (v->tx.n_free < 2)
		return false;
	s->owner = owner;
	s->h = *h;
	s->h.src_cid = v->cid;
	s->h.dst_cid = VSOCK_CID_HOST;
	s->h.type = VSOCK_STREAM;
	s->h.len = len;
	struct vq_buf b[] = {{&s->h, VSOCK_HEADER, false},
			     {(void *)(uint64_t)data, len, false}};
	if (len && s->copy) {
		memcpy(s->copy, &s->h, VSOCK_HEADER);
		memcpy(s->copy + VSOCK_HEADER, data, len);
		b[0] = (struct vq_buf){s->copy, VSOCK_HEADER + len, false};
	}
	(void)vq_add(&v->tx, b, len && !s->copy ? 2 : 1, NULL);
	v->busy++;
	return true;
}

bool vsock_sent(struct vsock *v, void **owner, uint32_t *len)
{
	struct vq_used u;
	if (!vq_pop(&v->tx, &u))
		return false;
	v->busy--;
	*owner = v->slot[u.head].owner;
	*len = v->slot[u.head].h.len;
	return true;
}

const struct vsock_header *vsock_take(struct vsock *v, const uint8_t **data)
{
	struct vq_used u;
	post(v);
	if (!vq_pop(&v->rx, &u))
		return NULL;
	const uint8_t *p = v->rx_mem + u.head * rx_stride(v);
	const struct vsock_header *h = (const void *)p;
	*data = p + data_offset(v);
	if (u.len < VSOCK_HEADER || u.len - VSOCK_HEADER < h->len)
		print("nano: FAIL vsock packet used=%u len=%u\n", u.len,
		      h->len);
	return h;
}

bool vsock_events(struct vsock *v)
{
	struct vq_used u;
	bool reset = false;
	while (vq_pop(&v->event, &u)) {
		uint32_t id = v->events[u.head];
		v->cid = vdev_config64(v->dev, 0);
		print("nano: vsock event id=%u bytes=%u cid=%lu\n", id, u.len,
		      v->cid);
		reset |= id == 0;
	}
	post_events(v);
	return reset;
}

bool vsock_wait(struct vsock *v, bool full, uint64_t ns)
{
	struct vq *const q[] = {&v->rx, &v->tx, &v->event};
	v->tx.lazy = full ? v->busy / 2 : VQ_NEVER;
	post(v);
	for (int i = 0; i < 3; i++)
		vq_kick(q[i]);
	return vq_wait_any(q, 3, ns);
}
