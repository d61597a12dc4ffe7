/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_fixture.h: an interface whose TAP is one end of a socket pair that keeps
 * frames apart, a driver for its two queues, and a metadata service that only
 * remembers. On either backend of the loop.
 */
#ifndef TESTS_VIRTIO_NET_FIXTURE_H
#define TESTS_VIRTIO_NET_FIXTURE_H

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/virtio/both_loops.h"
#include "tests/virtio/fake_mmds.h"
#include "virtio/net_impl.h"
#include "virtio/tap.h"

#define RAM_BYTES  (40 * MIB)
#define QUEUE_SIZE 256
#define TX_RING	   0x10000 /* the rings of the second queue */
#define RX_BUF(i)  (0x100000 + (uint64_t)(i)*0x11000)
#define TX_BUF	   (20 * MIB)

#define F_BIT(x)  VIRTIO_FEATURE(NET_F_##x)
#define F_VERSION VIRTIO_FEATURE(VIRTIO_F_VERSION_1)
#define F_PLAIN                                                \
	(F_VERSION | VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) | \
	 VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC))
#define F_ALL UINT64_MAX

/* What the device does with the TAP besides reading and writing. */
struct fake_tap {
	uint64_t features;
	unsigned int calls;
	int ret;
};

struct fixture {
	enum loop_backend backend;
	struct loop *loop;
	struct vm *vm;
	struct net *net;
	struct mmds *mmds;
	struct gmem tx_view; /* RAM from TX_RING on, as from 0 */
	struct driver rx, tx;
	int tap, peer;
	bool stopped, paused;
};

static struct fake_tap fake_tap;

ssize_t tap_read(int fd, const struct iovec *iov, unsigned int n_iov)
{
	ssize_t ret = readv(fd, iov, (int)n_iov);

	return ret < 0 ? -errno : ret;
}

ssize_t tap_write(int fd, const struct iovec *iov, unsigned int n_iov)
{
	ssize_t ret = writev(fd, iov, (int)n_iov);

	return ret < 0 ? -errno : ret;
}

int tap_set_offload(int fd, uint64_t features)
{
	(void)fd;
	fake_tap.features = features;
	fake_tap.calls++;
	return fake_tap.ret;
}

/* ---- the device ---- */

static inline struct virtio_dev *dev(struct fixture *f)
{
	return net_dev(f->net);
}

static inline const struct net_counts *counts(struct fixture *f)
{
	return net_counts(f->net);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct gmem_region *r;
	int fds[2];

	assert_non_null(f);
	f->backend = *(const enum loop_backend *)*state;
	fake_tap = (struct fake_tap){0};
	assert_int_equal(
		socketpair(AF_UNIX,
			   SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			   fds),
		0);
	f->tap = fds[0];
	f->peer = fds[1];
	open_machine(&f->loop, &f->vm, f->backend, NULL, RAM_BYTES);
	f->tx_view = f->vm->mem;
	r = &f->tx_view.region[0];
	r->hva += TX_RING;
	r->bytes = f->tx_view.bytes = RAM_BYTES - TX_RING;
	*state = f;
	return 0;
}

static inline void make(struct fixture *f, struct net_config cfg)
{
	struct err e = {0};

	cfg.tap = f->tap;
	assert_int_equal(net_new(&f->net, f->vm, &cfg, &e), 0);
	virtio_listen(dev(f));
	f->rx = (struct driver){
		.mem = &f->vm->mem, .dev = dev(f), .size = QUEUE_SIZE};
	f->tx = f->rx;
	f->tx.mem = &f->tx_view;
}

/* Both queues are set up; features that are not offered are left out. */
static inline void start_driver(struct fixture *f, uint64_t features)
{
	struct driver *d = &f->rx;

	reg_write(d, 0x70, 0);
	clear_rings(&f->rx);
	clear_rings(&f->tx);
	reg_write(d, 0x70, 1);
	reg_write(d, 0x70, 3);
	write_features(d, features & dev(f)->features);
	reg_write(d, 0x70, 11);
	set_up_queue(d, NET_RX, 0);
	set_up_queue(d, NET_TX, TX_RING);
	reg_write(d, 0x70, 15);
}

static inline void attach(struct fixture *f, struct net_config cfg,
			  uint64_t features)
{
	make(f, cfg);
	start_driver(f, features);
	assert_int_equal(reg_read(&f->rx, 0x70), 15);
	turns(f, 2);
}

static inline void kick_queue(struct fixture *f, unsigned int q)
{
	reg_write(&f->rx, 0x50, q);
}

static inline bool needs_reset(struct fixture *f)
{
	return reg_read(&f->rx, 0x70) & VIRTIO_STATUS_NEEDS_RESET;
}

static inline void net_paused(struct virtio_dev *d)
{
	(void)d;
}

/* From here on its memory may go. */
static inline void net_stopped(struct virtio_dev *d)
{
	const struct net *n = container_of(d, struct net, dev);

	assert_false(n->serve_queued);
	assert_false(io_op_active(&n->poll_op));
}

static inline void stop_net(struct fixture *f)
{
	struct virtio_dev *d = dev(f);

	virtio_stop(d, net_stopped);
	until(f, d->stop_queued);
	turn(f);
	net_free(f->net);
	f->net = NULL;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->net)
		stop_net(f);
	close_machine(f->loop, f->vm);
	(void)close(f->tap);
	if (f->peer >= 0)
		(void)close(f->peer);
	free(f);
	return 0;
}

/* ---- frames ---- */

static inline uint8_t pattern(uint32_t seq, size_t at)
{
	return (uint8_t)(seq * 31 + at * 7 + at / 256);
}

/* Frame number seq, of len bytes from the Ethernet header on. */
static inline void fill_frame(uint8_t *p, uint32_t seq, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(seq, i);
	p[0] = 2; /* not the metadata service's */
}

static inline bool is_frame(const uint8_t *p, uint32_t seq, size_t len)
{
	for (size_t i = 1; i < len; i++)
		if (p[i] != pattern(seq, i))
			return false;
	return p[0] == 2;
}

/* Put a frame into the TAP's queue; false if that is full. */
static inline bool try_send(struct fixture *f, uint32_t seq, size_t len)
{
	static uint8_t buf[1 << 17];

	memset(buf, 0, NET_HDR_BYTES);
	/* As a TAP: what it does not write must not be passed on. */
	buf[10] = buf[11] = 0xee;
	fill_frame(buf + NET_HDR_BYTES, seq, len);
	return send(f->peer, buf, NET_HDR_BYTES + len, 0) ==
	       (ssize_t)(NET_HDR_BYTES + len);
}

static inline void send_frame(struct fixture *f, uint32_t seq, size_t len)
{
	assert_true(try_send(f, seq, len));
}

/* Offer a receive buffer of one segment, the head being i. */
static inline void post(struct fixture *f, uint16_t i, uint32_t len)
{
	desc(&f->rx, i, RX_BUF(i), len, DESC_WRITE, 0);
	offer(&f->rx, i);
}

static inline void post_all(struct fixture *f, uint32_t len)
{
	for (uint16_t i = 0; i < QUEUE_SIZE; i++)
		post(f, i, len);
}

/* Take a received frame out of the buffers; its length, or 0. */
static inline size_t take_frame(struct fixture *f, uint8_t *buf, uint16_t *n)
{
	uint32_t head, len;
	uint16_t num = 0;
	size_t at = 0;

	if (!take_used(&f->rx, &head, &len))
		return 0;
	assert_true(len >= NET_HDR_BYTES);
	num = get16(&f->rx, RX_BUF(head) + 10);
	assert_true(num > 0);
	for (uint16_t i = 0; i < num; i++) {
		size_t skip = i == 0 ? NET_HDR_BYTES : 0;

		/* All of them are there as soon as the first is. */
		if (i > 0)
			assert_true(take_used(&f->rx, &head, &len));
		memcpy(buf + at, ram(&f->rx, RX_BUF(head) + skip, len - skip),
		       len - skip);
		at += len - skip;
	}
	if (n)
		*n = num;
	return at;
}

/* Wait for frame number seq of that length. */
static inline uint16_t expect_frame(struct fixture *f, uint32_t seq, size_t len)
{
	static uint8_t buf[1 << 17];
	uint16_t n;

	until(f, used_waits(&f->rx));
	assert_int_equal(take_frame(f, buf, &n), len);
	assert_true(is_frame(buf, seq, len));
	return n;
}

/* Frame seq with that header in descriptor i of the transmit queue. */
static inline void put_tx(struct fixture *f, uint16_t i,
			  const struct net_hdr *hdr, uint32_t seq, size_t len)
{
	uint64_t gpa = TX_BUF + (uint64_t)i * 0x11000;
	uint8_t *p = ram(&f->rx, gpa, NET_HDR_BYTES + len);

	memcpy(p, hdr, NET_HDR_BYTES);
	if (len > 0)
		fill_frame(p + NET_HDR_BYTES, seq, len);
	desc(&f->tx, i, gpa, (uint32_t)(NET_HDR_BYTES + len), 0, 0);
}

static inline void transmit(struct fixture *f, uint16_t i,
			    const struct net_hdr *hdr, uint32_t seq, size_t len)
{
	put_tx(f, i, hdr, seq, len);
	offer(&f->tx, i);
	kick_queue(f, NET_TX);
}

/* Wait until the device gave back that head. */
static inline void expect_sent(struct fixture *f, uint16_t i)
{
	uint32_t head, len;

	until(f, take_used(&f->tx, &head, &len));
	assert_int_equal(head, i);
	assert_int_equal(len, 0);
}

/* What the TAP was handed: length with the header, or -1 if nothing. */
static inline ssize_t receive(struct fixture *f, uint8_t *buf, size_t size)
{
	return recv(f->peer, buf, size, 0);
}

static inline uint64_t irqs(struct fixture *f)
{
	return irqs_of(dev(f));
}

static const struct net_hdr plain_hdr;
static const struct net_config nothing;

#endif
