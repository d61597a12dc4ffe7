/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from the guest. The first bytes of a frame are copied once; what is
 * decided about it is decided on that copy, and the copy is what is sent. The
 * rest goes to the TAP as it stands in guest RAM.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "virtio/mmds/mmds.h"
#include "virtio/net_impl.h"
#include "virtio/tap.h"

struct head {
	struct net_hdr hdr;
	uint8_t eth[MMDS_HEAD];
};

/* Whether the header asks only for what was negotiated and is in the frame. */
static bool hdr_ok(const struct virtio_dev *d, const struct net_hdr *h,
		   size_t bytes)
{
	bool csum = h->flags & NET_HDR_F_NEEDS_CSUM;
	unsigned int feature;

	if (csum && (!virtio_has(d, NET_F_CSUM) ||
		     (size_t)h->csum_start + h->csum_offset + 2 > bytes))
		return false;
	if (h->hdr_len > bytes)
		return false;
	switch (h->gso_type) {
	case NET_GSO_NONE:
		return true;
	case NET_GSO_TCPV4:
		feature = NET_F_HOST_TSO4;
		break;
	case NET_GSO_TCPV6:
		feature = NET_F_HOST_TSO6;
		break;
	case NET_GSO_UDP:
		feature = NET_F_HOST_UFO;
		break;
	default:
		return false;
	}
	return virtio_has(d, feature) && csum && h->gso_size > 0;
}

static void note_write(struct net_counts *c, uint64_t ns)
{
	uint64_t us = ns / NS_PER_US;

	if (c->tx_packets == 0 || us < c->tap_write_min_us)
		c->tap_write_min_us = us;
	c->tap_write_max_us = MAX(c->tap_write_max_us, us);
	c->tap_write_sum_us += us;
}

/* A frame that the TAP does not take, for whatever reason, is gone. */
static void write_tap(struct net *n, const struct iovec *iov,
		      unsigned int n_iov, size_t bytes)
{
	struct net_counts *counts = &n->counts;
	uint64_t start = clock_now_ns();

	if (tap_write(n->tap, iov, n_iov) < 0) {
		counts->tap_write_fails++;
		return;
	}
	note_write(counts, clock_now_ns() - start);
	counts->tx_count++;
	counts->tx_packets++;
	counts->tx_bytes += bytes;
}

/* Send one frame: 0, or -EAGAIN if it may not be sent yet. */
static int send_frame(struct net *n, struct virtq_chain *c)
{
	size_t bytes = c->out_bytes - NET_HDR_BYTES;
	size_t in_head = MIN(bytes, sizeof(((struct head *)0)->eth));
	struct head h;

	(void)virtq_chain_take(c, &h, NET_HDR_BYTES + in_head);
	h.hdr.flags &= NET_HDR_F_NEEDS_CSUM;
	if (!hdr_ok(&n->dev, &h.hdr, bytes)) {
		n->counts.tx_malformed++;
		return 0;
	}
	if (n->mmds && mmds_net_wants(n->mmds, h.eth, in_head)) {
		memcpy(n->tx.frame, h.eth, in_head);
		(void)virtq_chain_take(c, n->tx.frame + in_head, c->out_bytes);
		mmds_net_input(n->mmds, n->tx.frame, bytes, !h.hdr.flags);
		return 0;
	}
	if (!limiter_pass(&n->tx_limiter, bytes))
		return -EAGAIN;
	if (n->has_mac && memcmp(h.eth + 6, n->mac, sizeof(n->mac)) != 0)
		n->counts.tx_spoofed_mac++;
	/* In front of what is left of the chain there is always a place. */
	c->iov[-1] = (struct iovec){&h, NET_HDR_BYTES + in_head};
	write_tap(n, c->iov - 1, c->n_out + 1, bytes);
	return 0;
}

/* Take one frame: 1, 0 if there is none, -EAGAIN, -EPROTO. */
static int send_one(struct net *n, size_t *bytes)
{
	struct virtq *q = &n->dev.queue[NET_TX];
	struct virtq_chain c = {.iov = n->tx.iov + 1, .max_iov = NET_SEGS_MAX};
	int ret = virtq_pop(q, n->dev.mem, &c);

	if (ret <= 0)
		return ret;
	*bytes += MIN(c.out_bytes, NET_RX_MAX);
	if (c.n_in > 0 || c.out_bytes < NET_HDR_BYTES + NET_ETH_BYTES ||
	    c.out_bytes > NET_RX_MAX) {
		n->counts.tx_malformed++;
	} else if (send_frame(n, &c) < 0) {
		virtq_unpop(q, c.head);
		return -EAGAIN;
	}
	virtq_push(q, c.head, 0);
	return 1;
}

/*
 * As long as there was something, doorbells stay off and the queue is looked at
 * again in the next turn: each doorbell saved is an exit of the guest saved.
 */
bool net_tx_run(struct net *n)
{
	struct virtq *q = &n->dev.queue[NET_TX];
	bool found = false, rung = n->tx.rung;
	size_t bytes = 0;

	n->tx.rung = false;
	virtq_disable_kick(q);
	for (int i = 0; i < NET_TURN_FRAMES && bytes < NET_TURN_BYTES; i++) {
		int ret = send_one(n, &bytes);

		if (ret == 0 && found)
			return true;
		if (ret == 0 && !virtq_enable_kick(q)) {
			n->counts.no_tx_avail_buffer += rung;
			return false;
		}
		if (ret == -EAGAIN) {
			n->counts.tx_remaining++;
			return false; /* until the limiter resumes */
		}
		if (ret < 0) {
			n->counts.tx_fails++;
			virtio_needs_reset(&n->dev, "a transmit buffer breaks "
						    "the rules of virtio");
			return false;
		}
		found = found || ret > 0;
	}
	n->counts.tx_remaining++;
	return true;
}
