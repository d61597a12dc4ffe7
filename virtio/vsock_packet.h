/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_packet.h: what goes through the queues of a virtio socket device
 * (virtio 1.2, section 5.10.6), little-endian as the machine is.
 */
#ifndef VIRTIO_VSOCK_PACKET_H
#define VIRTIO_VSOCK_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define VSOCK_HOST_CID	  2
#define VSOCK_TYPE_STREAM 1

enum vsock_op {
	VSOCK_REQUEST = 1,
	VSOCK_RESPONSE,
	VSOCK_RST,
	VSOCK_SHUTDOWN,
	VSOCK_RW,
	VSOCK_CREDIT_UPDATE,
	VSOCK_CREDIT_REQUEST,
};

/* Flags of VSOCK_SHUTDOWN: what the sender will do no more. */
#define VSOCK_SHUT_RCV	1
#define VSOCK_SHUT_SEND 2
#define VSOCK_SHUT_BOTH 3

/* The other values are ports and counters of 32 bits that wrap. */
struct vsock_hdr {
	uint64_t src_cid;
	uint64_t dst_cid;
	uint32_t src_port;
	uint32_t dst_port;
	uint32_t len; /* of the payload */
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc;
	uint32_t fwd_cnt;
} __attribute__((packed));

_Static_assert(sizeof(struct vsock_hdr) == 44, "5.10.6");
_Static_assert(offsetof(struct vsock_hdr, len) == 24, "5.10.6");
_Static_assert(offsetof(struct vsock_hdr, fwd_cnt) == 40, "5.10.6");

/* The one event there is (5.10.6.7): a u32. */
#define VSOCK_EVENT_TRANSPORT_RESET 0

#endif
