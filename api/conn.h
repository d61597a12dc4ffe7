/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h: one connection of the API socket; for server.c alone.
 *
 * It is in one state at a time: it waits for bytes, or has whole requests and
 * waits for its turn, or has one that is being handled, or sends one reply. So
 * at most one operation is active, and none in READY and BUSY.
 *
 * Freed by itself at the end of the batch in which its last operation ends.
 */
#ifndef API_CONN_H
#define API_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http.h"
#include "base/loop.h"

struct server;

enum conn_state {
	CONN_RECV,   /* waits for bytes */
	CONN_READY,  /* has whole requests and waits for its turn */
	CONN_BUSY,   /* its request is being handled */
	CONN_SEND,   /* a reply is on its way */
	CONN_LINGER, /* has had its last reply; what it sends is dropped */
	CONN_DEAD,   /* will be freed */
};

struct conn {
	struct server *server;
	struct conn *next;	 /* of all */
	struct conn *next_ready; /* of those that wait for their turn */
	enum conn_state state;
	int fd;
	bool owes_continue; /* 100 is due before the next bytes */
	bool last_reply;    /* close after it */
	struct io_op op;
	struct loop_msg free_msg;
	uint64_t since_ns;		   /* last step of RECV or SEND */
	uint64_t deadline_ns;		   /* 0: none */
	struct http_request *first, *last; /* whole, not yet handled */
	char *out;
	size_t out_len, out_sent;
	struct http_parser parser;
};

/* Begin to read from fd, which is the connection's from now on. */
void conn_start(struct server *s, int fd);

/* Take the first whole request: READY becomes BUSY. */
struct http_request *conn_take(struct conn *c);

/* Send a reply, with "100 Continue" before it if that is still due. */
void conn_reply(struct conn *c, bool after_continue, int status,
		bool deprecated, const char *body, size_t body_len);

/* Whether it waits for its client and for nothing else. */
bool conn_is_idle(const struct conn *c);

/* Not while it is in the server's queue of ready ones. */
void conn_close(struct conn *c);

/* What a connection asks of its server. */
void server_push_ready(struct server *s, struct conn *c);
void server_arm(struct server *s, uint64_t deadline_ns);
void server_kick(struct server *s); /* look what is to be done next */

#endif
