/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interface whose driver, frames, pauses, resets, limits and time all come
 * from the input. The TAP is memory: what the device hands to it must be in
 * guest RAM, or our copy of the head, and obey what was negotiated; and every
 * frame is accounted for.
 */
#include <errno.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "tests/fuzz/driver_input.h"
#include "tests/fuzz/fake_loop.h"
#include "tests/virtio/fake_mmds.h"
#include "virtio/net_impl.h"
#include "virtio/tap.h"

#define TX_RING	    0x8000
#define MMDS_FRAMES 4 /* as many as the fake service holds */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct loop loop;
	struct vm vm; /* as far as a device needs it */
	struct gmem tx_view;
	struct driver rx, tx;
	struct net *net;
	bool paused;
	/* the TAP */
	size_t frame[8]; /* their lengths, with the header */
	unsigned int n_frames;
	uint64_t taken, written, refused;
	int write_error;
};

static struct state *present;
static uint64_t present_ns;
static volatile uint8_t seen; /* every byte is read */
static struct mmds service;

/* ---- what the device calls ---- */

uint64_t clock_now_ns(void)
{
	return present_ns;
}

struct timespec clock_wall(void)
{
	return (struct timespec){0};
}

uint64_t clock_process_cpu_us(void)
{
	return 0;
}

int tap_set_offload(int fd, uint64_t features)
{
	check(fd == FD_TAP0);
	return features & VIRTIO_FEATURE(63) ? -EINVAL : 0;
}

ssize_t tap_read(int fd, const struct iovec *iov, unsigned int n_iov)
{
	struct state *s = present;
	size_t left, done = 0;

	check(fd == FD_TAP0 && !s->paused && n_iov > 1);
	if (s->n_frames == 0)
		return -EAGAIN;
	left = s->frame[0];
	s->n_frames--;
	memmove(s->frame, s->frame + 1, s->n_frames * sizeof(size_t));
	if (left == SIZE_MAX)
		return -EBADFD;
	s->taken++;
	for (unsigned int i = 0; i < n_iov; i++) {
		size_t part = MIN(left, iov[i].iov_len);

		check(i == n_iov - 1 || in_region(&s->vm.mem, &iov[i]));
		memset(iov[i].iov_base, 0x55, part);
		left -= part;
		done += part;
	}
	return (ssize_t)done;
}

static void check_hdr(const struct state *s, const struct net_hdr *h,
		      size_t bytes)
{
	const struct virtio_dev *d = &s->net->dev;

	check(h->flags <= 1 && h->hdr_len <= bytes);
	if (h->flags)
		check(virtio_has(d, NET_F_CSUM) &&
		      h->csum_start + h->csum_offset + 2u <= bytes);
	if (h->gso_type)
		check(h->flags && h->gso_size > 0);
	check(h->gso_type != 1 || virtio_has(d, NET_F_HOST_TSO4));
	check(h->gso_type != 4 || virtio_has(d, NET_F_HOST_TSO6));
	check(h->gso_type != 3 || virtio_has(d, NET_F_HOST_UFO));
	check(h->gso_type <= 4 && h->gso_type != 2);
}

ssize_t tap_write(int fd, const struct iovec *iov, unsigned int n_iov)
{
	struct state *s = present;
	struct net_hdr h;
	size_t bytes = 0;
	uint8_t sum = 0;

	check(fd == FD_TAP0 && !s->paused && n_iov > 0);
	check(iov[0].iov_len >= NET_HDR_BYTES + 14);
	for (unsigned int i = 0; i < n_iov; i++) {
		const uint8_t *p = iov[i].iov_base;

		check(i == 0 || in_region(&s->vm.mem, &iov[i]));
		for (size_t k = 0; k < iov[i].iov_len; k++)
			sum ^= p[k];
		bytes += iov[i].iov_len;
	}
	memcpy(&h, iov[0].iov_base, sizeof(h));
	/* The metadata service's never come here. */
	check(s->net->mmds == NULL ||
	      ((const uint8_t *)iov[0].iov_base)[NET_HDR_BYTES] != 7);
	seen ^= sum;
	check(bytes <= NET_RX_MAX);
	check_hdr(s, &h, bytes - NET_HDR_BYTES);
	if (s->write_error) {
		s->refused++;
		return s->write_error;
	}
	s->written++;
	return (ssize_t)bytes;
}

/* ---- the input ---- */

static struct virtio_dev *dev(struct state *s)
{
	return net_dev(s->net);
}

static void check_rx(const struct state *s)
{
	const struct net_rx *rx = &s->net->rx;
	const struct net_counts *c = net_counts(s->net);
	size_t room = 0, n_iov = 0;

	for (unsigned int i = 0; i < rx->n_chains; i++)
		n_iov += rx->chain[i].n_iov;
	check(n_iov == rx->n_iov && rx->n_iov <= 2 * NET_SEGS_MAX);
	for (unsigned int i = 0; i < rx->n_iov; i++)
		room += rx->iov[i].iov_len;
	check(room == rx->room && rx->len <= NET_RX_MAX);
	check(rx->placed <= rx->len || rx->len == 0);
	check(c->tx_packets == s->written && c->tap_write_fails == s->refused);
	check(c->rx_packets <= s->taken);
	if (!s->net->mmds)
		check(c->rx_packets + c->rx_fails + (rx->len > 0) == s->taken);
}

static void quiesce(struct state *s)
{
	for (int i = 0; i < 10000; i++) {
		if (!s->loop.deferred)
			return;
		fake_run_deferred(&s->loop);
	}
	abort();
}

static void post_rx(struct state *s, struct input *in)
{
	struct driver *d = &s->rx;
	uint16_t at = (uint16_t)below(in, 16);
	uint32_t n = 1 + below(in, 3);
	uint16_t i = at;

	for (; n > 0; n--, i++) {
		uint32_t len =
			below(in, 4) ? 12 + 8 * below(in, 256) : length(in);

		desc(d, i, address(in, len), len,
		     (uint16_t)(DESC_WRITE | (n > 1 ? DESC_NEXT : 0)),
		     (uint16_t)(i + 1));
	}
	offer(d, at);
}

static void post_tx(struct state *s, struct input *in)
{
	static const uint8_t types[] = {0, 0, 1, 3, 4, 2, 0x81, 5};
	struct driver *d = &s->tx;
	uint16_t at = (uint16_t)below(in, 16), i = at;
	struct net_hdr h = {.flags = (uint8_t)below(in, 4),
			    .gso_type = types[below(in, 8)],
			    .gso_size = (uint16_t)below(in, 3),
			    .hdr_len = (uint16_t)below(in, 80),
			    .csum_start = (uint16_t)below(in, 80),
			    .csum_offset = (uint16_t)below(in, 80)};
	uint32_t cut = 1 + below(in, 30);
	uint32_t n = below(in, 3);

	(void)gmem_write(d->mem, 0x3000, &h, sizeof(h));
	put16(d, 0x300c, (uint16_t)(below(in, 2) ? 7 : 2));
	desc(d, i, TX_RING + 0x3000, cut, DESC_NEXT, (uint16_t)(i + 1));
	i++;
	for (; n > 0; n--, i++) {
		uint32_t len = length(in);

		desc(d, i, address(in, len), len, DESC_NEXT, (uint16_t)(i + 1));
	}
	desc(d, i, TX_RING + 0x3000 + cut, 40, 0, 0);
	offer(d, at);
}

static void restart(struct state *s, struct input *in)
{
	uint64_t features = dev(s)->features;

	if (s->paused)
		return;
	if (below(in, 2))
		features &= number(in, 8) | VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
	s->rx.size = s->tx.size = 1u << below(in, 9);
	reg_write(&s->rx, 0x70, 0);
	check(net_rx_limiter(s->net)->waiting == false);
	clear_rings(&s->rx);
	clear_rings(&s->tx);
	reg_write(&s->rx, 0x70, 1);
	reg_write(&s->rx, 0x70, 3);
	write_features(&s->rx, features);
	reg_write(&s->rx, 0x70, 11);
	set_up_queue(&s->rx, NET_RX, 0);
	set_up_queue(&s->rx, NET_TX, TX_RING);
	reg_write(&s->rx, 0x70, 15);
}

static void done(struct virtio_dev *d)
{
	(void)d;
}

static void pause_or_resume(struct state *s)
{
	s->paused = !s->paused;
	if (s->paused) {
		virtio_pause(dev(s), done);
		check(!dev(s)->pause_done && s->net->rx.n_chains == 0);
	} else {
		virtio_resume(dev(s));
	}
}

static void frame_comes(struct state *s, struct input *in)
{
	static const size_t sizes[] = {
		1,     12,	25,    26,	   72,
		1526,  9014,	65547, NET_RX_MAX, NET_RX_MAX + 1,
		90000, SIZE_MAX};

	if (s->n_frames < ARRAY_LEN(s->frame))
		s->frame[s->n_frames++] =
			below(in, 2) ? sizes[below(in, ARRAY_LEN(sizes))]
				     : 26 + number(in, 2);
}

static void set_limit(struct state *s, struct input *in)
{
	struct limiter *l =
		below(in, 2) ? net_rx_limiter(s->net) : net_tx_limiter(s->net);
	uint64_t size = below(in, 3) ? number(in, 2) : number(in, 8);

	if (below(in, 2))
		limiter_set_ops(l, size, below(in, 4), below(in, 100));
	else
		limiter_set_bandwidth(l, size, number(in, 2), below(in, 100));
}

static void one(struct state *s, struct input *in)
{
	struct driver *d = below(in, 2) ? &s->rx : &s->tx;
	uint32_t what = below(in, 16);

	switch (what) {
	case 0:
	case 1:
	case 2:
		write_ring(d, in, what);
		break;
	case 3:
		present_ns += number(in, 4);
		fake_fire(&s->loop);
		break;
	case 4:
		pause_or_resume(s);
		break;
	case 5:
		restart(s, in);
		break;
	case 6:
		set_limit(s, in);
		break;
	case 7:
		if (s->net->mmds && fake_mmds.n_out < MMDS_FRAMES)
			mmds_hands_out(14 + number(in, 2) % 1500);
		break;
	case 8:
		s->write_error = below(in, 2) ? -EAGAIN : 0;
		break;
	case 9:
	case 10:
		post_tx(s, in);
		fake_ring(&s->loop);
		break;
	case 11:
	case 12:
		post_rx(s, in);
		break;
	case 13:
		frame_comes(s, in);
		break;
	default:
		fake_ring(&s->loop);
		fake_run_deferred(&s->loop);
		break;
	}
	check_rx(s);
}

static void stopped(struct virtio_dev *d)
{
	(void)d;
	present = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state *s = calloc(1, sizeof(*s));
	struct net_config cfg = {.tap = FD_TAP0};
	struct err e;

	check(s != NULL);
	log_set_level(LOG_OFF);
	present = s;
	present_ns = 1;
	fake_loop_init(&s->loop);
	s->vm.loop = &s->loop;
	new_ram(&s->vm.mem);
	s->tx_view = s->vm.mem;
	s->tx_view.region[0].hva += TX_RING;
	s->tx_view.region[0].bytes -= TX_RING;
	cfg.mmds = below(&in, 2) ? &service : NULL;
	cfg.has_mac = below(&in, 2);
	check(net_new(&s->net, &s->vm, &cfg, &e) == 0);
	s->rx = (struct driver){.mem = &s->vm.mem, .dev = dev(s)};
	s->tx = s->rx;
	s->tx.mem = &s->tx_view;
	virtio_listen(dev(s));
	restart(s, &in);
	while (in.left > 0)
		one(s, &in);
	quiesce(s);
	check_rx(s);
	virtio_stop(dev(s), stopped);
	quiesce(s);
	check(present == NULL);
	irq_exit(&s->vm.slot[0].irq);
	net_free(s->net);
	check(s->loop.timer == NULL);
	ram_exit(&s->vm.mem);
	free(s);
	return 0;
}
