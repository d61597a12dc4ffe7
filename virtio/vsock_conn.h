/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_conn.h: the parts of a virtio socket device, private to vsock*.c.
 *
 * vsock.c serves the queues, vsock_gate.c a transport reset, vsock_conn.c is
 * one connection, vsock_host.c how connections come to be on the host's side,
 * vsock_table.c holds the records. Threads: the loop thread;
 * vsock_connect.job.work runs on the helper.
 */
#ifndef VIRTIO_VSOCK_CONN_H
#define VIRTIO_VSOCK_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/worker.h"
#include "virtio/device.h"
#include "virtio/vsock.h"
#include "virtio/vsock_packet.h"
#include "virtio/vsock_pool.h"

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

/* What a guest may at least send before the host's socket took it. */
#define VSOCK_BUF_ALLOC (64 * 1024u)

/* At most this much of a host's stream is in one packet. */
#define VSOCK_PACKET_BYTES (64 * 1024u)

/* For a request, and for the answer to a full shutdown. */
#define VSOCK_TIMEOUT_NS (2 * NS_PER_S)

#define VSOCK_LOCAL_PORT0 (1u << 30)

/* Jobs on the helper at a time: it has others than ours. */
#define VSOCK_CONNECTS 32

/* Answers to packets of no connection that wait for buffers. */
#define VSOCK_RSTS 256

/* A ring of neighbours; a zeroed link is in none. */
struct vsock_link {
	struct vsock_link *prev;
	struct vsock_link *next;
};

enum vsock_state {
	VSOCK_FREE,
	VSOCK_LINE,	  /* a client has yet to send its CONNECT line */
	VSOCK_REQUESTED,  /* the guest has yet to answer the request */
	VSOCK_CONNECTING, /* the host's socket has yet to be connected */
	VSOCK_OPEN,
	VSOCK_DEAD, /* its poll has yet to end, or its RST to be sent */
};

/* What the guest is to be told, as bits, the most urgent first. */
enum vsock_pending {
	PEND_RST = 1,
	PEND_REQUEST = 2,
	PEND_RESPONSE = 4,
	PEND_CREDIT_REQUEST = 8,
	PEND_SHUTDOWN = 16,
	PEND_DATA = 32, /* the socket may be read */
	PEND_CREDIT_UPDATE = 64,
};

struct vsock_connect;

struct vsock_conn {
	struct vsock *v;
	struct vsock_conn *chain; /* of its bucket, or of idle records */
	struct vsock_link work;	  /* v->ready, v->dialling or v->retrying */
	struct vsock_link expiry; /* v->expiring */
	uint64_t deadline_ns;	  /* of the device's clock */
	struct io_op poll;	  /* of fd */
	struct vsock_connect *connect;
	int fd; /* -1: none */
	uint32_t host_port;
	uint32_t guest_port;
	struct vsock_buf buf; /* of the guest's, for the host's socket */
	/* Counters of section 5.10.6.3. */
	uint32_t buf_alloc; /* our credit */
	uint32_t fwd_cnt;   /* what the host's socket took */
	uint32_t told_cnt;  /* the last fwd_cnt that the guest was told */
	uint32_t tx_cnt;    /* what was sent to the guest */
	uint32_t peer_buf_alloc;
	uint32_t peer_fwd_cnt;
	uint8_t state;
	uint8_t pending;
	uint8_t guest_shut; /* VSOCK_SHUT_*: what the guest said */
	uint8_t host_shut;  /* what the guest is or was told */
	/* Since the last edge: nothing said that it would block. */
	bool readable;
	bool writable;
	bool poll_out; /* the poll is for POLLOUT too: it has blocked before */
	bool hung_up;  /* the host does neither read nor write any more */
	bool eof;      /* the host's stream has been read to its end */
	bool deaf;     /* the host reads no more */
	bool asked;    /* for credit; not yet got any */
	bool hashed;
};

/* A connect on the helper; conn is NULL if nobody waits for it any more. */
struct vsock_connect {
	struct job job;
	struct vsock *v;
	struct vsock_conn *conn;
	uint32_t port;
	int fd; /* or a negative errno */
	bool busy;
};

enum vsock_gate {
	GATE_OPEN,
	GATE_RESET, /* the driver has yet to be told of a transport reset */
	GATE_TOLD,  /* it has yet to take that */
};

struct vsock_rst {
	uint32_t host_port;
	uint32_t guest_port;
	uint16_t type;
};

struct vsock {
	struct virtio_dev dev;
	struct vsock_counts counts;
	struct worker *worker;
	uint64_t guest_cid;
	uint32_t n_ports; /* that clients were given; kept by snapshots */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct loop_msg serve_msg; /* once a turn of the loop */
	bool serve_queued;
	bool suspended; /* a pause: the device's clock stands still */
	bool closing;	/* virtio_stop() was called */
	enum vsock_gate gate;

	/* Records: vsock_table.c. */
	struct vsock_conn *conns;
	uint32_t max_conns;
	uint32_t n_fresh; /* conns[n_fresh...] were never used */
	uint32_t n_used;
	struct vsock_conn *idle;
	struct vsock_conn **buckets;
	unsigned int bucket_shift;
	uint64_t seed[2];
	struct vsock_pool pool;
	uint64_t pool_bytes;
	uint64_t credit; /* that the connections have */
	uint32_t max_credit;

	struct vsock_link ready; /* have something for the guest */
	struct vsock_rst rsts[VSOCK_RSTS];
	uint32_t rst_first;
	uint32_t n_rsts;

	/* All time-outs are as long, so they end in the order of the list. */
	struct vsock_link expiring;
	struct loop_timer expiry_timer;
	uint64_t suspended_ns;
	uint64_t still_ns; /* how long it has stood still */

	int listener;
	struct io_op accept_op;
	struct loop_timer accept_timer;
	struct vsock_link dialling; /* for connect[] */
	struct vsock_link retrying; /* the listener's queue was full */
	struct loop_timer retry_timer;
	struct vsock_connect connect[VSOCK_CONNECTS];
	uint32_t n_connects;

	uint32_t n_events; /* buffers left when the driver was told */
	struct loop_timer gate_timer;

	struct iovec iov[VIRTQ_MAX_SIZE];   /* of a chain */
	struct iovec slice[VIRTQ_MAX_SIZE]; /* a part of it, or chunks */
};

/* ---- vsock_table.c ---- */

int vsock_table_init(struct vsock *v, uint32_t max_conns);
void vsock_table_exit(struct vsock *v);

/* A record without a socket, or NULL: all are in use. */
struct vsock_conn *vsock_take(struct vsock *v, enum vsock_state state);
void vsock_give_back(struct vsock_conn *c);

struct vsock_conn *vsock_find(struct vsock *v, uint32_t host_port,
			      uint32_t guest_port);
void vsock_hash(struct vsock_conn *c, uint32_t host_port, uint32_t guest_port);
void vsock_unhash(struct vsock_conn *c); /* if it is in the table */

void vsock_link_init(struct vsock_link *head);
bool vsock_link_empty(const struct vsock_link *head);
void vsock_link_add(struct vsock_link *head, struct vsock_link *l); /* last */
void vsock_link_remove(struct vsock_link *l); /* if it is in a ring */

/* ---- vsock_conn.c ---- */

/* Give c its socket, which it owns from here on, and listen to it. */
void vsock_conn_attach(struct vsock_conn *c, int fd);

/* Ask the guest, which has yet to hear of c. */
void vsock_conn_request(struct vsock_conn *c);

/* Do what state and events of c's socket allow; c may be closed then. */
void vsock_conn_step(struct vsock_conn *c);

/* The guest sent a packet, whose payload is data. */
void vsock_conn_packet(struct vsock_conn *c, const struct vsock_hdr *h,
		       const struct virtq_chain *data);

/*
 * Write what the guest is to be told next into an rx buffer. Returns how many
 * bytes it got; 0: there is nothing to say after all, or c is gone.
 */
uint32_t vsock_conn_fill(struct vsock_conn *c, const struct virtq_chain *to);

/* End it; rst: tell the guest, if it knows of c. */
void vsock_conn_close(struct vsock_conn *c, bool rst);

/* Say nothing more to the guest about any connection; end all. */
void vsock_conn_close_all(struct vsock *v);

/* By two system calls for all that a filter has to allow. */
static inline ssize_t vsock_recv(int fd, struct iovec *iov, uint32_t n_iov,
				 int flags)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};

	return recvmsg(fd, &m, flags | MSG_DONTWAIT);
}

static inline ssize_t vsock_send(int fd, struct iovec *iov, uint32_t n_iov)
{
	const struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};

	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- vsock_host.c ---- */

/* Start accepting clients, if that does not go on already. */
void vsock_host_listen(struct vsock *v);
void vsock_host_init(struct vsock *v);
void vsock_host_stop(struct vsock *v);
void vsock_host_read_line(struct vsock_conn *c);
bool vsock_host_accepted(struct vsock_conn *c); /* by the guest: tell */
void vsock_host_dial(struct vsock *v, const struct vsock_hdr *h);

/* ---- vsock_gate.c ---- */

void vsock_gate_init(struct vsock *v);

/* Tell the driver, or look whether it has taken it. */
void vsock_gate_run(struct vsock *v);

/* Without the driver's taking anything. */
void vsock_gate_open(struct vsock *v);

/* The driver's time for it is that of the guest. */
void vsock_gate_pause(struct vsock *v);
void vsock_gate_resume(struct vsock *v);

/* ---- vsock.c ---- */

/* In this turn of the loop; completes a drain too. */
void vsock_serve_soon(struct vsock *v);

/* Start c's time-out anew; vsock_link_remove(&c->expiry) ends it. */
void vsock_expire(struct vsock_conn *c);

/* Answer a packet that belongs to no connection. */
void vsock_reject(struct vsock *v, const struct vsock_hdr *h);

#endif
