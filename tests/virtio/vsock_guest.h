/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_guest.h: a socket device, and a guest's driver for its three queues.
 */
#ifndef TESTS_VIRTIO_VSOCK_GUEST_H
#define TESTS_VIRTIO_VSOCK_GUEST_H

#include "tests/virtio/both_loops.h"
#include "tests/virtio/vcpu_thread.h"
#include "virtio/vsock.h"
#include "virtio/vsock_packet.h"

#define RAM_BYTES  (32 * MIB)
#define QUEUE_SIZE 256
#define CID	   42
#define BUF_ALLOC  (64 * 1024u) /* the device's, unless credit is set */

/* Queue q's rings; receive buffers; where packets to send are built. */
#define RINGS_GPA(q) ((uint64_t)(q)*0x10000)
#define RX_GPA	     0x100000
#define RX_BYTES     0x11000 /* a buffer's place */
#define TX_GPA	     0x1800000
#define TX_BYTES     0x80000

enum { RX, TX, EVENT, QUEUES };

#define F_ALL                                      \
	(VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |      \
	 VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) | \
	 VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC) | VIRTIO_FEATURE(35))

struct fixture {
	enum loop_backend backend;
	struct worker *worker;
	struct loop *loop;
	struct vm *vm;
	struct vsock *vsock;
	struct gmem view[QUEUES]; /* RAM from the queue's rings on */
	struct driver q[QUEUES];
	char dir[32], path[108];
	uint32_t credit;      /* credit_bytes of the device */
	uint32_t rx_bytes;    /* size of the buffers that are posted */
	struct vsock_hdr hdr; /* of the packet received last */
	uint8_t data[RX_BYTES];
	int paused;
};

/* A guest's end of a connection. */
struct peer {
	uint32_t guest_port, host_port;
	uint32_t buf_alloc, fwd_cnt;
};

static inline struct virtio_dev *dev(struct fixture *f)
{
	return vsock_dev(f->vsock);
}

static inline const struct vsock_counts *counts(struct fixture *f)
{
	return vsock_counts(f->vsock);
}

static inline void kick_queue(struct fixture *f, uint32_t q)
{
	reg_write(&f->q[q], 0x50, q);
}

static inline void post_rx_at(struct fixture *f, uint16_t head, uint32_t bytes)
{
	desc(&f->q[RX], head, RX_GPA + (uint64_t)head * RX_BYTES, bytes,
	     DESC_WRITE, 0);
	offer(&f->q[RX], head);
}

static inline void post_rx(struct fixture *f, uint16_t first, uint16_t n)
{
	for (uint16_t i = first; i < first + n; i++)
		post_rx_at(f, i, f->rx_bytes);
	kick_queue(f, RX);
}

static inline void post_event(struct fixture *f, uint16_t head)
{
	desc(&f->q[EVENT], head, RINGS_GPA(EVENT) + DATA_GPA + head * 8u, 8,
	     DESC_WRITE, 0);
	offer(&f->q[EVENT], head);
	kick_queue(f, EVENT);
}

/* Take the next packet, if there is one; its buffer is offered again. */
static inline bool poll_packet(struct fixture *f)
{
	uint32_t head, len;
	const uint8_t *p;

	if (!take_used(&f->q[RX], &head, &len))
		return false;
	p = gmem_ptr(&f->vm->mem, RX_GPA + (uint64_t)head * RX_BYTES, len);
	assert_true(p && len >= sizeof(f->hdr));
	memcpy(&f->hdr, p, sizeof(f->hdr));
	assert_int_equal(f->hdr.len, len - sizeof(f->hdr));
	memcpy(f->data, p + sizeof(f->hdr), f->hdr.len);
	assert_int_equal(f->hdr.src_cid, VSOCK_HOST_CID);
	assert_int_equal(f->hdr.dst_cid, CID);
	if (f->rx_bytes)
		post_rx(f, (uint16_t)head, 1);
	return true;
}

static inline void no_packet(struct fixture *f)
{
	turns(f, 8);
	assert_false(used_waits(&f->q[RX]));
}

static inline void packet(struct fixture *f, enum vsock_op op)
{
	until(f, poll_packet(f));
	assert_int_equal(f->hdr.op, op);
	if (op != VSOCK_RST && !f->credit)
		assert_int_equal(f->hdr.buf_alloc, BUF_ALLOC);
}

static inline void packet_for(struct fixture *f, enum vsock_op op,
			      const struct peer *p)
{
	packet(f, op);
	assert_int_equal(f->hdr.src_port, p->host_port);
	assert_int_equal(f->hdr.dst_port, p->guest_port);
}

static inline struct vsock_hdr header(const struct peer *p, enum vsock_op op,
				      uint32_t len)
{
	return (struct vsock_hdr){
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = p->guest_port,
		.dst_port = p->host_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = p->buf_alloc,
		.fwd_cnt = p->fwd_cnt,
	};
}

static inline void collect_tx(struct fixture *f)
{
	uint32_t head, len;

	while (take_used(&f->q[TX], &head, &len))
		assert_int_equal(len, 0);
}

/* Send a packet in one descriptor, and wait until it has been taken. */
static inline void send_packet(struct fixture *f, const struct vsock_hdr *h,
			       const void *data, uint32_t len)
{
	uint16_t head = f->q[TX].avail_idx % QUEUE_SIZE;
	uint64_t gpa = TX_GPA;

	assert_int_equal(gmem_write(&f->vm->mem, gpa, h, sizeof(*h)), 0);
	if (len)
		assert_int_equal(
			gmem_write(&f->vm->mem, gpa + sizeof(*h), data, len),
			0);
	desc(&f->q[TX], head, gpa, (uint32_t)sizeof(*h) + len, 0, 0);
	offer(&f->q[TX], head);
	kick_queue(f, TX);
	until(f, get16(&f->q[TX], USED_GPA + 2) == f->q[TX].avail_idx);
	collect_tx(f);
}

static inline void tell(struct fixture *f, const struct peer *p,
			enum vsock_op op)
{
	struct vsock_hdr h = header(p, op, 0);

	send_packet(f, &h, NULL, 0);
}

static inline void tell_shut(struct fixture *f, const struct peer *p,
			     uint32_t flags)
{
	struct vsock_hdr h = header(p, VSOCK_SHUTDOWN, 0);

	h.flags = flags;
	send_packet(f, &h, NULL, 0);
}

static inline void tell_data(struct fixture *f, const struct peer *p,
			     const void *data, uint32_t len)
{
	struct vsock_hdr h = header(p, VSOCK_RW, len);

	send_packet(f, &h, data, len);
}

static inline bool needs_reset(struct fixture *f)
{
	return reg_read(&f->q[RX], 0x70) == (15 | 64);
}

static inline void bring_up_vsock(struct fixture *f, uint64_t features)
{
	reg_write(&f->q[RX], 0x70, 1);
	reg_write(&f->q[RX], 0x70, 3);
	write_features(&f->q[RX], features);
	reg_write(&f->q[RX], 0x70, 11);
	for (uint32_t i = 0; i < QUEUES; i++) {
		clear_rings(&f->q[i]);
		set_up_queue(&f->q[i], i, RINGS_GPA(i));
	}
	reg_write(&f->q[RX], 0x70, 15);
	assert_int_equal(reg_read(&f->q[RX], 0x70), 15);
}

static inline void reset_vsock(struct fixture *f)
{
	struct vcpu_thread t;

	start_write(&f->q[RX], f->vm, &t, 0x70, 0);
	until(f, ended(&t));
	assert_int_equal(pthread_join(t.thread, NULL), 0);
}

#endif
