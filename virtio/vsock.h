/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.h: virtio socket device (virtio 1.2, section 5.10), stream sockets,
 * whose host side are Unix sockets in Firecracker's protocol.
 *
 * Host to guest: a client connects to the listening socket, sends "CONNECT
 * <port>\n" and gets "OK <port>\n", or its connection closed. Guest to host:
 * the device connects to "<uds_path>_<port>".
 *
 * Records of connections stand in one table made by vsock_new(). Data goes
 * between the sockets and guest RAM without a copy of ours; what a host socket
 * does not take waits in chunks of a pool that is bounded for the device.
 * Threads: the loop thread; connects are jobs on the helper.
 */
#ifndef VIRTIO_VSOCK_H
#define VIRTIO_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"

struct vsock;
struct worker;

#define VSOCK_CONNECTIONS     1023 /* default */
#define VSOCK_CONNECTIONS_MAX 65535
#define VSOCK_POOL_BYTES      (16ull << 20) /* default */
#define VSOCK_CREDIT_BYTES    (4u << 20)    /* default */

struct vsock_config {
	uint32_t guest_cid;
	const char *uds_path;	  /* copied */
	int listener;		  /* non-blocking; FD_VSOCK */
	uint32_t max_connections; /* 1..VSOCK_CONNECTIONS_MAX */
	uint64_t pool_bytes;	  /* for data that waits for host sockets */
	uint32_t credit_bytes;	  /* most that one connection may have there */
	struct worker *worker;
};

/* These only grow; names as in the metrics. */
struct vsock_counts {
	uint64_t activate_fails, cfg_fails, rx_queue_event_fails;
	uint64_t tx_queue_event_fails, ev_queue_event_fails;
	uint64_t muxer_event_fails, conn_event_fails, rx_queue_events;
	uint64_t tx_queue_events, rx_bytes, tx_bytes, rx_packets, tx_packets;
	uint64_t conns_added, conns_killed, conns_removed, killq_resync;
	uint64_t tx_flush_fails, tx_write_fails, rx_read_fails;
};

/*
 * Adds the device to vm. The listener stays the caller's until this succeeds;
 * then vsock_free() gives its fixed number back. The socket file is left alone.
 */
int vsock_new(struct vsock **out, struct vm *vm, const struct vsock_config *cfg,
	      struct err *e);

/* After virtio_stop(), or before virtio_listen(); accepts NULL. */
void vsock_free(struct vsock *v);

struct virtio_dev *vsock_dev(struct vsock *v);
const struct vsock_counts *vsock_counts(const struct vsock *v);

/*
 * After a restore: forget every connection, tell the driver by a transport
 * reset, and send it nothing else until it has taken that (5.10.6.7.1).
 */
void vsock_reset_transport(struct vsock *v);

#endif
