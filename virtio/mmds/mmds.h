/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmds.h: the metadata service, as guests reach it: HTTP on port 80 of a
 * link-local address that exists on their interface only.
 *
 * An interface that may use it has a struct mmds_net: a responder for ARP and
 * TCP of that one address, with a fixed number of connections, that is handed
 * the frames of the guest and hands out frames for it. It opens no sockets and
 * knows no way to the host's network. Everything is allocated at the start.
 * Threads: the loop thread.
 */
#ifndef VIRTIO_MMDS_MMDS_H
#define VIRTIO_MMDS_MMDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "virtio/mmds/store.h"

struct err;
struct mmds_net;

enum mmds_version { MMDS_V1, MMDS_V2 };

#define MMDS_IPV4_DEFAULT 0xa9fea9feu /* 169.254.169.254 */
#define MMDS_FRAME_MAX	  1514 /* what mmds_net_output() writes, at most */

/* These only grow; names as in the metrics. One a process. */
struct mmds_counts {
	uint64_t rx_accepted, rx_accepted_err, rx_accepted_unusual, rx_bad_eth;
	uint64_t rx_invalid_token, rx_no_token, rx_count, tx_bytes, tx_count;
	uint64_t tx_errors, tx_frames, connections_created;
	uint64_t connections_destroyed;
};

/* What all interfaces share; owned by the API. */
struct mmds {
	struct mmds_store store;
	enum mmds_version version;
	bool imds_compat; /* answer as EC2 does whatever the guest accepts */
	uint32_t ipv4;	  /* host byte order */
	uint8_t key[32];  /* of the tokens, made for the first interface */
	bool has_key;
	uint64_t serial;       /* no two tokens are the same */
	uint64_t (*now)(void); /* CLOCK_MONOTONIC ns; tests have their own */
	struct mmds_counts counts;
};

void mmds_init(struct mmds *m, size_t limit);
void mmds_exit(struct mmds *m);

/*
 * A responder. output is called on the loop, perhaps from inside
 * mmds_net_input(), when there are frames for the guest. The limit of the store
 * must not grow afterwards: it sizes the reply buffer.
 */
int mmds_net_new(struct mmds_net **out, struct mmds *m, struct loop *l,
		 void (*output)(void *arg), void *arg, struct err *e);
void mmds_net_free(struct mmds_net *n);

/*
 * Whether a frame is for the service: ARP that asks for its address, or IPv4
 * to it. head is the copy of the first len bytes (at least MMDS_HEAD, unless
 * the frame is shorter). All else is the network's.
 */
#define MMDS_HEAD 42
bool mmds_net_wants(const struct mmds_net *n, const uint8_t *head, size_t len);

/*
 * Take a whole frame that mmds_net_wants(), from the Ethernet header on. The
 * checksums in it are looked at if checked; they are not there if the driver
 * left them to the device.
 */
void mmds_net_input(struct mmds_net *n, const uint8_t *frame, size_t len,
		    bool checked);

/* Put the next frame for the guest into buf; 0 if there is none now. */
size_t mmds_net_output(struct mmds_net *n, uint8_t buf[MMDS_FRAME_MAX]);

/* The guest's time stands still: no timers. */
void mmds_net_pause(struct mmds_net *n);
void mmds_net_resume(struct mmds_net *n);

/* Forget every connection. */
void mmds_net_reset(struct mmds_net *n);

#endif
