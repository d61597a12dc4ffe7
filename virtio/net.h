/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h: virtio network device (virtio 1.2, section 5.1) on a TAP.
 *
 * Frames go between guest RAM and the TAP without a copy of ours. What is for
 * the metadata service is answered here and never reaches the TAP. Nothing is
 * allocated after net_new(). Threads: the loop thread.
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"
#include "virtio/limiter.h"

struct net;
struct mmds;

#define NET_HDR_BYTES 12 /* struct virtio_net_hdr with num_buffers */
/*
 * The largest packet that a kernel makes (64 KiB, to be segmented), with an
 * Ethernet header and a VLAN tag. A TAP's largest MTU is 65521, so what is not
 * to be segmented has at most 65535 bytes, or 65539 with a tag.
 */
#define NET_FRAME_MAX 65554

struct net_config {
	int tap;	       /* see tap.h; a fixed number, FD_TAP0 + n */
	bool has_mac, has_mtu; /* offered to the driver */
	uint8_t mac[6];
	uint16_t mtu;
	struct mmds *mmds; /* borrowed; NULL: none on this interface */
};

/*
 * These only grow; names as in the metrics. Bytes are those of frames, without
 * the virtio header; what the metadata service takes and gives is not in them.
 * What came from the TAP and did not reach the driver is in rx_fails; what the
 * driver sent and did not reach the TAP in tx_malformed or tap_write_fails.
 */
struct net_counts {
	uint64_t activate_fails, cfg_fails, no_rx_avail_buffer;
	uint64_t no_tx_avail_buffer, event_fails, rx_queue_events;
	uint64_t rx_tap_events, rx_bytes, rx_packets, rx_fails, rx_count;
	uint64_t tap_read_fails, tap_write_fails;
	uint64_t tap_write_min_us, tap_write_max_us, tap_write_sum_us;
	uint64_t tx_bytes, tx_malformed, tx_fails, tx_count, tx_packets;
	uint64_t tx_queue_events, tx_remaining, tx_spoofed_mac;
};

/*
 * Adds the device to vm. The TAP stays the caller's until this succeeds; then
 * net_free() gives its fixed number back.
 */
int net_new(struct net **out, struct vm *vm, const struct net_config *cfg,
	    struct err *e);

/* After virtio_stop(), or before virtio_listen(); accepts NULL. */
void net_free(struct net *n);

struct virtio_dev *net_dev(struct net *n);
const struct net_counts *net_counts(const struct net *n);

/*
 * To be set, at any time, from the loop. rx is towards the guest. They count
 * frames, and bytes of frames; the metadata service's are free.
 */
struct limiter *net_rx_limiter(struct net *n);
struct limiter *net_tx_limiter(struct net *n);

#endif
