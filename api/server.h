/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h: the API socket: connections, requests in order, replies.
 *
 * Requests of one connection are answered in order; of all connections one at
 * a time is handed to the owner, first come first served. A client that is
 * slow, silent or gone holds up nobody: a request counts once it is whole, and
 * a client is not read from while it has not taken its last reply, so it costs
 * the memory of one read (1 KiB), one body and one reply at most.
 *
 * A begun request must be whole 5 s after its first byte was seen. Connections
 * may be idle for ever; only when all places are taken, the one that has done
 * nothing for longest, and for 5 s, makes room for a new one. If there is none,
 * the new one is told so (503) and closed. Descriptors that a client sends
 * along are dropped by the kernel, because they are never received.
 *
 * The owner embeds struct server and answers each request once with
 * server_reply(), at once or later. Loop thread. Besides the loop's operations
 * it calls send(2), shutdown(2) and close(2), none of which waits.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http.h"
#include "base/clock.h"
#include "base/loop.h"

struct err;
struct conn;
struct server;

#define SERVER_MAX_CONNS  64
#define SERVER_REQUEST_NS (5 * NS_PER_S)
#define SERVER_IDLE_NS	  (5 * NS_PER_S)
#define SERVER_LINGER_NS  (1 * NS_PER_S)
#define SERVER_RETRY_NS	  (100 * NS_PER_MS)

struct server {
	struct loop *loop;
	int fd; /* listening; server_stop() closes it */
	size_t max_body;
	/* Called for each request; r is the server's until server_reply(). */
	void (*handle)(struct server *s, struct http_request *r);
	uint64_t request_ns; /* SERVER_REQUEST_NS, */
	uint64_t idle_ns;    /* SERVER_IDLE_NS: tests have less time */
	/* the server's own */
	struct io_op accept;
	struct conn *conns;
	unsigned int n_conns; /* without those that are being closed */
	struct conn *ready_head, *ready_tail; /* whole requests wait here */
	struct conn *current; /* whose request is being handled */
	struct http_request *request;
	bool next_queued;
	bool stopping;
	struct loop_msg next_msg;
	struct loop_timer timer; /* the first deadline of a connection */
	struct loop_timer retry; /* accept failed */
	void (*stopped)(struct server *s);
};

/*
 * Bind and listen at path: never unlinks what is there. Returns FD_API, or
 * -EADDRINUSE for anything that exists, else as bind(2); -ENAMETOOLONG for more
 * than 107 bytes. The text of the error is that of the system alone.
 */
int server_bind(const char *path, struct err *e);

/* Serve the listening descriptor fd, which is the server's from now on. */
void server_start(struct server *s, struct loop *l, int fd, size_t max_body,
		  void (*handle)(struct server *s, struct http_request *r));

/*
 * Answer the request being handled, which is freed: status 200, 204, 400, 413;
 * body NULL for none (copied). deprecated adds "Deprecation: true". The next
 * request is handed out later, never from inside this call. After server_stop()
 * it does nothing.
 */
void server_reply(struct server *s, int status, bool deprecated,
		  const char *body, size_t body_len);

/*
 * Close everything; a request that is being handled is freed at once. Replies
 * on their way get 100 ms. stopped, called later, may free *s.
 */
void server_stop(struct server *s, void (*stopped)(struct server *s));

#endif
