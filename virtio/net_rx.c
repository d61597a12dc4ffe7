/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the guest. A frame is read straight into buffers of the driver,
 * with memory of ours behind them: how long it is, nobody can tell before. What
 * the buffers had no room for is copied when the driver has added more, so a
 * frame that was taken from the TAP is never lost for want of buffers.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "virtio/mmds/mmds.h"
#include "virtio/net_impl.h"
#include "virtio/tap.h"

/*
 * Copy between the buffers and memory of ours; `at` counts over all of them.
 */
static void copy(const struct net *n, size_t at, void *ours, size_t len,
		 bool to_guest)
{
	uint8_t *p = ours;

	for (const struct iovec *v = n->rx.iov; len > 0; v++) {
		size_t skip = MIN(at, v->iov_len);
		size_t part = MIN(len, v->iov_len - skip);
		uint8_t *guest = (uint8_t *)v->iov_base + skip;

		memcpy(to_guest ? guest : p, to_guest ? p : guest, part);
		if (to_guest)
			gmem_mark(n->dev.mem, guest, part);
		at -= skip;
		p += part;
		len -= part;
	}
}

static void drop(struct net *n)
{
	n->rx.len = 0;
	n->counts.rx_fails += !n->rx.is_mmds;
}

/* Pop buffers, until there is room for `need` bytes and for the next frame. */
static int gather(struct net *n, size_t need)
{
	struct net_rx *rx = &n->rx;
	bool many = virtio_has(&n->dev, NET_F_MRG_RXBUF);
	size_t want = many ? MAX(need, rx->want) : 1;

	while (rx->room < want && rx->n_iov <= NET_SEGS_MAX) {
		struct virtq_chain c = {.iov = rx->iov + rx->n_iov,
					.max_iov = NET_SEGS_MAX};
		int ret = virtq_pop(&n->dev.queue[NET_RX], n->dev.mem, &c);

		if (ret <= 0)
			return ret;
		if (c.n_out > 0 || c.in_bytes < NET_HDR_BYTES)
			return -EPROTO;
		rx->chain[rx->n_chains].head = c.head;
		rx->chain[rx->n_chains].n_iov = (uint16_t)c.n_in;
		rx->chain[rx->n_chains].bytes = (uint32_t)c.in_bytes;
		rx->n_chains++;
		rx->n_iov += c.n_in;
		rx->room += c.in_bytes;
		rx->most = MAX(rx->most, rx->n_chains);
	}
	return 0;
}

/*
 * Have room for `need` bytes; if not, the driver's next buffers are waited for.
 * But not if it never had more of them than we hold now: then none will come
 * before these are used, and the frame is dropped. One that gives back only
 * when many are used may have had more: it gets some time.
 */
static bool make_room(struct net *n, size_t need)
{
	struct net_rx *rx = &n->rx;

	do {
		if (gather(n, need) < 0) {
			virtio_needs_reset(&n->dev, "a receive buffer breaks "
						    "the rules of virtio");
			return false;
		}
		if (rx->room >= need)
			return true;
		if (rx->n_chains > 0 &&
		    (rx->n_chains == rx->most || rx->n_iov > NET_SEGS_MAX)) {
			drop(n);
			return true;
		}
	} while (virtq_enable_kick(&n->dev.queue[NET_RX]));
	n->counts.no_rx_avail_buffer++;
	return false;
}

static bool read_mmds(struct net *n)
{
	struct net_rx *rx = &n->rx;
	size_t len = mmds_net_output(n->mmds, rx->spill + NET_HDR_BYTES);

	rx->mmds_ready = len > 0;
	if (len == 0)
		return false;
	memset(rx->spill, 0, NET_HDR_BYTES);
	rx->len = NET_HDR_BYTES + len;
	rx->placed = 0;
	rx->is_mmds = true;
	return true;
}

/* Whether the frame that was read asks only for what was negotiated. */
static bool is_for_driver(const struct net *n)
{
	const struct virtio_dev *d = &n->dev;
	struct net_hdr h;

	copy(n, 0, &h, sizeof(h), false);
	if ((h.flags & NET_HDR_F_NEEDS_CSUM) &&
	    !virtio_has(d, NET_F_GUEST_CSUM))
		return false;
	switch (h.gso_type) {
	case NET_GSO_NONE:
		return true;
	case NET_GSO_TCPV4:
		return virtio_has(d, NET_F_GUEST_TSO4);
	case NET_GSO_TCPV6:
		return virtio_has(d, NET_F_GUEST_TSO6);
	case NET_GSO_UDP:
		return virtio_has(d, NET_F_GUEST_UFO);
	default:
		return false;
	}
}

/*
 * An interface that is down, or gone, is asked again when it shows a sign of
 * life, and not before.
 */
static bool read_tap(struct net *n)
{
	struct net_rx *rx = &n->rx;
	ssize_t len;

	rx->iov[rx->n_iov] = (struct iovec){rx->spill, sizeof(rx->spill)};
	len = tap_read(n->tap, rx->iov, rx->n_iov + 1);
	if (len <= 0) {
		rx->readable = false;
		rx->stale = false;
		if (len != -EAGAIN)
			n->counts.tap_read_fails++;
		return false;
	}
	rx->len = (size_t)len;
	rx->placed = MIN(rx->len, rx->room);
	gmem_mark_iov(n->dev.mem, rx->iov, rx->placed);
	rx->is_mmds = false;
	if (rx->len < NET_HDR_BYTES + NET_ETH_BYTES || rx->len > NET_RX_MAX ||
	    (rx->stale && !is_for_driver(n)))
		drop(n);
	return true;
}

/* Take the next frame from where there is one; it may be dropped at once. */
static bool read_frame(struct net *n)
{
	struct net_rx *rx = &n->rx;

	if (!rx->mmds_ready && !rx->readable)
		return false;
	if (!make_room(n, 1))
		return false;
	if (rx->mmds_ready && read_mmds(n))
		return true;
	return rx->readable && read_tap(n);
}

/* Show the driver the buffers that hold the frame, all of them at once. */
static void publish(struct net *n)
{
	struct net_rx *rx = &n->rx;
	struct virtq *q = &n->dev.queue[NET_RX];
	size_t left = rx->len;
	unsigned int n_iov = 0;
	uint16_t used = 0;

	for (size_t room = 0; room < rx->len; used++)
		room += rx->chain[used].bytes;
	/* The TAP leaves this field to us (section 5.1.6.4.1). */
	copy(n, offsetof(struct net_hdr, num_buffers), &used, sizeof(used),
	     true);
	for (unsigned int i = 0; i < used; i++) {
		uint32_t bytes = rx->chain[i].bytes;
		uint32_t part = (uint32_t)MIN(left, bytes);

		virtq_fill(q, rx->chain[i].head, part);
		left -= part;
		rx->room -= bytes;
		n_iov += rx->chain[i].n_iov;
	}
	virtq_publish(q);
	rx->n_chains -= used;
	rx->n_iov -= n_iov;
	memmove(rx->chain, rx->chain + used,
		rx->n_chains * sizeof(rx->chain[0]));
	memmove(rx->iov, rx->iov + n_iov, rx->n_iov * sizeof(rx->iov[0]));
}

/* Give the frame to the driver; false if it has to wait for something. */
static bool deliver(struct net *n)
{
	struct net_rx *rx = &n->rx;
	size_t bytes = rx->len - NET_HDR_BYTES;

	if (!make_room(n, rx->len)) {
		if (rx->n_chains > 0 && !rx->patience.armed)
			loop_timer_set(n->dev.loop, &rx->patience,
				       clock_now_ns() + NET_PATIENCE_NS);
		return false;
	}
	loop_timer_stop(n->dev.loop, &rx->patience);
	if (rx->len == 0)
		return true;
	copy(n, rx->placed, rx->spill, rx->len - rx->placed, true);
	if (!rx->is_mmds) {
		/* Until it is paid it stays ours, and nothing else is read. */
		if (!limiter_pass(&n->rx_limiter, bytes))
			return false;
		n->counts.rx_count++;
		n->counts.rx_packets++;
		n->counts.rx_bytes += bytes;
	}
	publish(n);
	rx->want = MAX(rx->len, rx->want - rx->want / 64);
	rx->len = 0;
	return true;
}

bool net_rx_run(struct net *n)
{
	struct net_rx *rx = &n->rx;
	size_t bytes = 0;

	virtq_disable_kick(&n->dev.queue[NET_RX]);
	for (int i = 0; i < NET_TURN_FRAMES && bytes < NET_TURN_BYTES; i++) {
		if (rx->len == 0 && !read_frame(n))
			return false;
		bytes += rx->len;
		if (rx->len > 0 && !deliver(n))
			return false;
	}
	return true;
}

void net_rx_withdraw(struct net *n)
{
	struct net_rx *rx = &n->rx;

	loop_timer_stop(n->dev.loop, &rx->patience);
	if (rx->len > 0) {
		memmove(rx->spill + rx->placed, rx->spill,
			rx->len - rx->placed);
		copy(n, 0, rx->spill, rx->placed, false);
		rx->placed = 0;
	}
	while (rx->n_chains > 0)
		virtq_unpop(&n->dev.queue[NET_RX],
			    rx->chain[--rx->n_chains].head);
	rx->n_iov = 0;
	rx->room = 0;
}
