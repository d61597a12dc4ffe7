/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h: virtio-net driver (virtio 1.2, section 5.1), and what it says on the
 * wire.
 *
 * Words of the command line: nano.ip=A.B.C.D (172.16.0.2) is our address,
 * nano.host=A.B.C.D (172.16.0.1) the host's. The host's MAC is learnt from what
 * it sends; until then frames to it are broadcast.
 */
#ifndef NANO_NET_H
#define NANO_NET_H

#include "guest/nano/virtio.h"

#define VIRTIO_ID_NET 1

#define NET_F_CSUM	 0
#define NET_F_GUEST_CSUM 1
#define NET_F_MTU	 3
#define NET_F_MAC	 5
#define NET_F_GUEST_TSO4 7
#define NET_F_GUEST_USO6 55
#define NET_F_HOST_USO	 56
#define NET_F_MRG_RXBUF	 15

#define NET_NEEDS_CSUM 1 /* in flags */
#define NET_GSO_NONE   0
#define NET_GSO_TCPV4  1
#define NET_GSO_UDP    3
#define NET_GSO_UDP_L4 5

struct net_packet {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, n_buffers;
	uint8_t frame[];
};

#define NET_HEADER     12
#define NET_SLOT_BYTES 69632 /* a packet of 64 KiB, on whole pages */
#define NET_FRAME_MAX  (NET_SLOT_BYTES - NET_HEADER)

/* Frames that are not IP, for tests: the number is in the destination. */
#define TYPE_DATA 0x88b5
#define TYPE_ACK  0x88b6

struct net {
	struct vdev *dev;
	struct vq rx, tx;
	uint32_t mtu; /* 0: not said */
	uint8_t mac[6], host_mac[6], ip[4], host_ip[4];
	uint32_t rx_bytes;	  /* of a receive buffer */
	uint16_t depth;		  /* packets sent and not used */
	uint16_t segs;		  /* descriptors a packet */
	uint8_t *rx_mem, *tx_mem; /* a buffer a descriptor */
	struct net_packet *joined;
	uint32_t arp, icmp, udp; /* answered */
};

/* What the driver is to do; zeros are defaults. */
struct net_setup {
	uint32_t bytes, depth, segs;
};

const char *net_open(struct net *n, struct vdev *dev, struct net_setup s);

/* Room for a packet, its header zeroed; NULL: not now. */
struct net_packet *net_slot(struct net *n);

/* Send it. net_wait() tells the device. */
void net_send(struct net *n, struct net_packet *p, uint32_t frame_bytes);

/* All that was sent is used. */
bool net_sent(struct net *n);

/*
 * The next packet, good until the next call, which posts its buffers again;
 * NULL: none.
 */
struct net_packet *net_take(struct net *n, uint32_t *frame_bytes);

/* Wait for a packet, or (full) half the sent ones to be used; false after `ns`.
 */
bool net_wait(struct net *n, bool full, uint64_t ns);

/* -- netframe.c ------------------------------------------------------------ */

#define ETH_BYTES 14
#define UDP_DATA  42 /* where the data starts */
#define TCP_DATA  54

#define PORT_ECHO    7
#define PORT_DISCARD 9
#define PORT_RELAY   10

/* Answer ARP, ICMP echo and UDP echo; false if the frame is none of those. */
bool net_answer(struct net *n, const struct net_packet *p, uint32_t bytes);

/* True if it is IPv4 of that protocol (17: UDP) to us and our port. */
bool net_is_for(const struct net *n, const uint8_t *f, uint32_t bytes,
		uint8_t protocol, uint32_t port);

/* The Internet checksum of n bytes and of what is in sum. */
uint32_t net_sum(const uint8_t *p, uint32_t n, uint32_t sum);

/* Ethernet and IPv4 header to the host; `bytes` is that of the frame. */
void net_ip_header(const struct net *n, uint8_t *f, uint32_t bytes,
		   uint8_t protocol);

/*
 * Header of a UDP datagram or TCP segment. Its checksum is left to the device
 * (`partial`), or computed over the data that is there.
 */
void net_udp_header(struct net_packet *p, uint32_t bytes, uint32_t from,
		    uint32_t to, bool partial);
void net_tcp_header(struct net_packet *p, uint32_t bytes, uint32_t seq,
		    bool partial);

/* The checksum of a received datagram is right, or said to need none. */
bool net_udp_good(const struct net_packet *p, uint32_t bytes);

/* A frame of type TYPE_x. */
void net_test_header(const struct net *n, uint8_t *f, uint32_t type,
		     uint32_t seq);
bool net_is_test(const uint8_t *f, uint32_t bytes, uint32_t type,
		 uint32_t *seq);

#endif
