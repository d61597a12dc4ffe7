/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.h: a TCP (RFC 9293) that only answers: connections of a guest to the
 * metadata service.
 *
 * Whoever owns it hands it segments and takes segments from it; it knows no
 * frames, checksums or timers. Connections are few and fixed, receive in order
 * only, and serve one request after another. Memory is fixed too: a short reply
 * lies in its connection; a long one in the one long buffer, which connections
 * get in turn. One that has not taken its reply after others have waited for
 * the buffer for 2 seconds is reset, so nobody can keep it. With all
 * connections in use a SYN takes the place of the one that has been silent for
 * longest, if that is 5 seconds (1 if it was never established); else it is
 * dropped as by a full backlog, and the guest repeats it.
 *
 * Threads: the loop thread.
 */
#ifndef VIRTIO_MMDS_TCP_H
#define VIRTIO_MMDS_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/mmds/http.h"

struct mmds;

#define TCP_CONNS     30
#define TCP_RESETS    16 /* that wait to be sent; more are not */
#define TCP_MSS	      1460
#define TCP_MSS_NONE  536  /* where the guest does not say */
#define TCP_REPLY_MAX 1024 /* what is longer needs the long buffer */

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };

/* Either way; mac, ip and port are the guest's. */
struct tcp_segment {
	uint8_t mac[6];
	uint8_t flags;
	uint16_t port, window;
	uint16_t mss; /* 0: not said */
	uint32_t ip, seq, ack;
	const uint8_t *data;
	size_t len;
};

enum tcp_state { TCP_FREE, TCP_OPENING, TCP_OPEN };

struct tcp_conn {
	enum tcp_state state;
	uint8_t mac[6];
	uint16_t port, mss;
	uint32_t ip;
	/*
	 * Sequence numbers of ours, in this order: acknowledged, next to send
	 * (back at una for sending again), behind all that was ever sent; and
	 * of the reply or, without one, where the next begins.
	 */
	uint32_t una, next, sent;
	uint32_t start, end;
	uint32_t window; /* theirs, from una on */
	uint32_t peer;	 /* the next of theirs */
	bool ack_due;
	bool probe;    /* send a byte whatever the window is */
	bool peer_fin; /* came, and everything before it */
	bool last;     /* the reply is the last one */
	bool fin;      /* ours stands at end */
	bool waiting;  /* for the long buffer */
	unsigned int tries;
	uint64_t heard_ns; /* when a segment was good */
	uint64_t retry_ns; /* when to send again; 0: all is acknowledged */
	const char *reply; /* NULL: none is on its way */
	size_t rx_len;
	char rx[MMDS_REQUEST_MAX];
	char brief[TCP_REPLY_MAX];
};

struct tcp {
	struct mmds *mmds;
	char *buf; /* long; the owner's */
	size_t cap;
	struct tcp_conn *holder; /* of buf; NULL: free */
	uint64_t wanted_ns;	 /* since when another waits for it */
	unsigned int turn;	 /* the connection to look at first */
	unsigned int n_resets;
	struct tcp_segment reset[TCP_RESETS];
	struct tcp_conn conn[TCP_CONNS];
};

/* Zeroed memory with mmds, buf and cap set has no connections. */

/* The data of s are copied. */
void tcp_input(struct tcp *t, const struct tcp_segment *s);

/*
 * The next segment for the guest into *s; its data stay valid until the next
 * call of anything here. False: there is none now.
 */
bool tcp_output(struct tcp *t, struct tcp_segment *s);
bool tcp_ready(const struct tcp *t); /* whether there is one */

/* When tcp_expire() is to be called; 0: not at all. */
uint64_t tcp_deadline(const struct tcp *t);
void tcp_expire(struct tcp *t);

/* Forget everything, without a word to the guest. */
void tcp_reset(struct tcp *t);

#endif
