/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/net.h"

#define RX_BYTES_MERGED 4096
#define CONFIG_MTU	10
#define FEATURES                                                             \
	(1ULL << NET_F_CSUM | 1ULL << NET_F_GUEST_CSUM | 1ULL << NET_F_MTU | \
	 1ULL << NET_F_MAC | 0xffULL << NET_F_GUEST_TSO4 |                   \
	 1ULL << NET_F_MRG_RXBUF | 7ULL << (NET_F_GUEST_USO6 - 1))

static void read_ip(uint8_t *ip, const char *key, const char *otherwise)
{
	struct piece p = cmdline_value(key, 0);
	if (!p.s)
		p = (struct piece){otherwise, 10};
	for (int i = 0; i < 4; i++)
		ip[i] = (uint8_t)piece_number(piece_cut(&p, '.'), 0);
}

static void read_config(struct net *n)
{
	uint64_t mac = 0x010000000002; /* 02:00:00:00:00:01 */
	if (vdev_has(n->dev, NET_F_MAC))
		mac = vdev_config64(n->dev, 0);
	memcpy(n->mac, &mac, sizeof(n->mac));
	if (vdev_has(n->dev, NET_F_MTU))
		n->mtu = vdev_config64(n->dev, CONFIG_MTU) & 0xffff;
	memset(n->host_mac, 0xff, sizeof(n->host_mac));
}

static void post(struct net *n)
{
	while (n->rx.n_free) {
		struct vq_buf b = {.len = n->rx_bytes, .write = true};
		b.p = n->rx_mem + (uint64_t)n->rx.free_head * n->rx_bytes;
		(void)vq_add(&n->rx, &b, 1, NULL);
	}
}

const char *net_open(struct net *n, struct vdev *dev, struct net_setup s)
{
	*n = (struct net){.dev = dev};
	const char *wrong = vdev_open(dev, FEATURES);
	if (!*wrong)
		wrong = vq_open(&n->rx, dev, 0);
	if (!*wrong)
		wrong = vq_open(&n->tx, dev, 1);
	if (*wrong)
		return wrong;
	bool merged = vdev_has(dev, NET_F_MRG_RXBUF);
	n->rx_bytes = merged ? RX_BYTES_MERGED : NET_SLOT_BYTES;
	if (s.bytes)
		n->rx_bytes = s.bytes;
	n->segs = (uint16_t)(s.segs ? s.segs : 1);
	n->depth = (uint16_t)(s.depth ? s.depth : n->tx.size / n->segs);
	n->rx_mem = mem_alloc((uint64_t)n->rx.size * n->rx_bytes);
	n->tx_mem = mem_alloc((uint64_t)n->tx.size * NET_SLOT_BYTES);
	n->joined = mem_alloc(NET_SLOT_BYTES);
	read_config(n);
	read_ip(n->ip, "nano.ip=", "172.16.0.2");
	read_ip(n->host_ip, "nano.host=", "172.16.0.1");
	post(n);
	vdev_set_status(dev, VIRTIO_LIVE);
	return "";
}

static uint16_t in_flight(const struct net *n)
{
	return (uint16_t)((n->tx.size - n->tx.n_free) / n->segs);
}

struct net_packet *net_slot(struct net *n)
{
	struct vq_used u;
	while (vq_pop(&n->tx, &u))
		;
	if (in_flight(n) >= n->depth || n->tx.n_free < n->segs)
		return NULL;
	return memset(n->tx_mem + (uint64_t)n->tx.free_head * NET_SLOT_BYTES, 0,
		      NET_HEADER);
}

void net_send(struct net *n, struct net_packet *p, uint32_t frame_bytes)
{
	struct vq_buf b[VQ_SIZE_MAX];
	uint32_t left = NET_HEADER + frame_bytes;
	uint32_t each = left / n->segs;
	uint8_t *at = (uint8_t *)p;
	for (uint16_t i = 0; i < n->segs; i++, at += each, left -= each) {
		uint32_t len = i + 1 < n->segs ? each : left;
		b[i] = (struct vq_buf){at, len, false};
	}
	(void)vq_add(&n->tx, b, n->segs, NULL);
}

bool net_sent(struct net *n)
{
	(void)net_slot(n);
	return in_flight(n) == 0;
}

struct net_packet *net_take(struct net *n, uint32_t *frame_bytes)
{
	struct vq_used u;
	post(n);
	if (!vq_pop(&n->rx, &u) || u.len < NET_HEADER)
		return NULL;
	uint8_t *from = n->rx_mem + (uint64_t)u.head * n->rx_bytes;
	struct net_packet *p = (void *)from;
	uint32_t bytes = u.len;
	uint16_t more = vdev_has(n->dev, NET_F_MRG_RXBUF) ? p->n_buffers : 1;
	if (more > 1) {
		p = n->joined;
		memcpy(p, from, bytes);
	}
	/* All buffers of a packet are used at once. */
	while (more-- > 1 && vq_pop(&n->rx, &u) &&
	       bytes + u.len <= NET_SLOT_BYTES) {
		from = n->rx_mem + (uint64_t)u.head * n->rx_bytes;
		memcpy((uint8_t *)p + bytes, from, u.len);
		bytes += u.len;
	}
	*frame_bytes = bytes - NET_HEADER;
	return p;
}

bool net_wait(struct net *n, bool full, uint64_t ns)
{
	struct vq *const q[] = {&n->rx, &n->tx};
	n->tx.lazy = full ? in_flight(n) / 2 : VQ_NEVER;
	vq_kick(&n->rx);
	vq_kick(&n->tx);
	return vq_wait_any(q, 2, ns);
}
