/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_impl.h: what the parts of the network device share: net.c is the device,
 * net_rx.c the way to the guest, net_tx.c the way from it.
 */
#ifndef VIRTIO_NET_IMPL_H
#define VIRTIO_NET_IMPL_H

#include "virtio/net.h"

struct mmds_net;

/* Feature bits (virtio 1.2, section 5.1.3). */
#define NET_F_CSUM	 0
#define NET_F_GUEST_CSUM 1
#define NET_F_MTU	 3
#define NET_F_MAC	 5
#define NET_F_GUEST_TSO4 7
#define NET_F_GUEST_TSO6 8
#define NET_F_GUEST_UFO	 10
#define NET_F_HOST_TSO4	 11
#define NET_F_HOST_TSO6	 12
#define NET_F_HOST_UFO	 14
#define NET_F_MRG_RXBUF	 15

#define NET_RX 0 /* queues */
#define NET_TX 1

#define NET_ETH_BYTES 14
#define NET_SEGS_MAX  VIRTQ_MAX_SIZE /* of one chain */

/* What one turn of the loop moves each way; then it is others' turn. */
#define NET_TURN_FRAMES 64
#define NET_TURN_BYTES	(512 * KIB)

/* How long a frame waits for more buffers, if the driver has given some. */
#define NET_PATIENCE_NS NS_PER_S

/* Section 5.1.6. */
#define NET_HDR_F_NEEDS_CSUM 1
#define NET_GSO_NONE	     0
#define NET_GSO_TCPV4	     1
#define NET_GSO_UDP	     3
#define NET_GSO_TCPV6	     4

struct net_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers;
};

_Static_assert(sizeof(struct net_hdr) == NET_HDR_BYTES, "5.1.6");

/* Headers are part of a frame's length here. */
#define NET_RX_MAX ((size_t)NET_HDR_BYTES + NET_FRAME_MAX)

struct net_rx {
	/*
	 * Buffers that are popped and not used yet, in the ring's order, and
	 * their segments end to end; one entry more for our own memory.
	 */
	struct {
		uint16_t head;
		uint16_t n_iov;
		uint32_t bytes;
	} chain[VIRTQ_MAX_SIZE];
	struct iovec iov[2 * NET_SEGS_MAX + 1];
	unsigned int n_chains, n_iov;
	size_t room;	   /* bytes in them */
	unsigned int most; /* the most n_chains since the start of the driver */
	size_t want; /* room to have for a read: the largest frame of late,
			because each buffer more costs time */

	/* A frame that the driver has not got yet: its first bytes are in the
	 * buffers, the rest is in spill. */
	size_t len; /* 0: there is none */
	size_t placed;
	bool is_mmds;

	struct loop_timer patience; /* what it waits for may never come */

	bool readable;	 /* the TAP is not known to be empty */
	bool stale;	 /* it may hold frames for a driver that knew more */
	bool mmds_ready; /* nor is the metadata service */
	uint8_t spill[NET_RX_MAX + 1];
};

struct net_tx {
	struct iovec iov[1 + NET_SEGS_MAX]; /* our copy of the first bytes */
	bool rung;			    /* a doorbell was not looked into */
	uint8_t frame[NET_FRAME_MAX];	    /* for the metadata service */
};

struct net {
	struct virtio_dev dev;
	int tap; /* -1: not ours yet */
	bool has_mac;
	uint8_t mac[6];
	struct mmds_net *mmds;
	uint64_t offloads; /* the TAP's, or what they may have been before us */
	struct limiter rx_limiter, tx_limiter;
	struct io_op poll_op; /* from the first start of a driver on */
	struct loop_msg serve_msg;
	bool serve_queued;
	struct net_counts counts;
	struct net_rx rx;
	struct net_tx tx;
};

/*
 * Move frames, within a turn's budget; true if there may be more that can be
 * moved now.
 */
bool net_rx_run(struct net *n);
bool net_tx_run(struct net *n);

/*
 * Put the popped buffers back into the ring: nothing of the guest's is in use
 * any more. A frame that was in them waits in our memory.
 */
void net_rx_withdraw(struct net *n);

#endif
