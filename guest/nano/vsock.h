/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.h: virtio-vsock driver (virtio 1.2, section 5.10), stream sockets.
 */
#ifndef NANO_VSOCK_H
#define NANO_VSOCK_H

#include "guest/nano/virtio.h"

#define VIRTIO_ID_VSOCK 19
#define VSOCK_CID_HOST	2
#define VSOCK_STREAM	1

enum vsock_op {
	VSOCK_INVALID,
	VSOCK_REQUEST,
	VSOCK_RESPONSE,
	VSOCK_RST,
	VSOCK_SHUTDOWN,
	VSOCK_RW,
	VSOCK_CREDIT_UPDATE,
	VSOCK_CREDIT_REQUEST,
};

/* Flags of VSOCK_SHUTDOWN: what its sender will do no more. */
#define VSOCK_NO_RECEIVE 1
#define VSOCK_NO_SEND	 2
#define VSOCK_NO_MORE	 3

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

#define VSOCK_HEADER 44

/* -- vsock.c: queues and packets ------------------------------------------- */

struct vsock_setup {
	uint32_t rx_bytes; /* of data in a receive buffer; 0: 64 KiB */
	bool split;	   /* header and data of it are two descriptors */
	bool inlined;	   /* those of what is sent are one */
};

struct vsock_slot {
	struct vsock_header h;
	void *owner; /* of vsock_send() */
	uint8_t *copy;
};

struct vsock {
	struct vdev *dev;
	struct vq rx, tx, event;
	struct vsock_setup setup;
	uint64_t cid;
	uint8_t *rx_mem;	 /* a buffer a descriptor */
	uint32_t *events;	 /* the same */
	struct vsock_slot *slot; /* for each descriptor of tx */
	uint16_t busy;		 /* packets sent and not used */
};

const char *vsock_open(struct vsock *v, struct vdev *dev,
		       const struct vsock_setup *s);

/*
 * Send a packet: a header, of which the cids, type and len are filled in, and
 * data that stay as they are until it is used. False: no room now.
 */
bool vsock_send(struct vsock *v, const struct vsock_header *h, const void *data,
		uint32_t len, void *owner);

/* Take back a packet that was used; true with its owner and length. */
bool vsock_sent(struct vsock *v, void **owner, uint32_t *len);

/* The next packet, good until the next call; NULL: none. */
const struct vsock_header *vsock_take(struct vsock *v, const uint8_t **data);

/* Print the events that came; true if there was a transport reset. */
bool vsock_events(struct vsock *v);

/* Wait for a packet, or (full) half the sent ones to be used. */
bool vsock_wait(struct vsock *v, bool full, uint64_t ns);

/* -- vsockconn.c: connections, see vsockorder.c ---------------------------- */

enum vsock_mode { ECHO, SEND, RECV, HOLD, PING, CLOSE, RESET };

struct vsock_job {
	struct vsock_setup setup;
	bool listen, blank;
	enum vsock_mode mode;
	uint32_t port, window, asked, credit, packet, seconds;
	uint64_t count, limit, ns;
};

struct vsock_result {
	uint64_t opened, closed, refused, reset, sent, got, bad;
	uint64_t start_ns, end_ns;
	uint64_t *ping_ns;
	uint64_t pings;
};

/* Do it; "" or what went wrong, with what there is of a result. */
const char *vsock_run(struct vsock *v, const struct vsock_job *j,
		      struct vsock_result *r);

/* -- vsockbad.c ------------------------------------------------------------ */

const char *vsock_bad(struct vdev *dev, struct piece args);

#endif
