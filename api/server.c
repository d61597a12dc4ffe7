/* SPDX-License-Identifier: Apache-2.0 */
#include "api/server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/conn.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/num.h"

#define STOP_NS (100 * NS_PER_MS)

static const char too_many[] = "HTTP/1.1 503\r\n"
			       "Server: Firecracker API\r\n"
			       "Connection: close\r\n"
			       "Content-Length: 40\r\n\r\n"
			       "{ \"error\": \"Too many open connections\" }";

/* When the batch is through: requests then come from no one's callback. */
void server_kick(struct server *s)
{
	if (s->next_queued)
		return;
	s->next_queued = true;
	loop_defer(s->loop, &s->next_msg);
}

void server_arm(struct server *s, uint64_t deadline_ns)
{
	if (!s->timer.armed || deadline_ns < s->timer.deadline_ns)
		loop_timer_set(s->loop, &s->timer, deadline_ns);
}

void server_push_ready(struct server *s, struct conn *c)
{
	c->next_ready = NULL;
	if (s->ready_tail)
		s->ready_tail->next_ready = c;
	else
		s->ready_head = c;
	s->ready_tail = c;
	server_kick(s);
}

static struct conn *longest_idle(const struct server *s)
{
	struct conn *found = NULL;

	for (struct conn *c = s->conns; c; c = c->next) {
		if (!conn_is_idle(c))
			continue;
		if (!found || c->since_ns < found->since_ns)
			found = c;
	}
	return found;
}

static bool make_room(const struct server *s)
{
	struct conn *c;

	if (s->n_conns < SERVER_MAX_CONNS)
		return true;
	c = longest_idle(s);
	if (!c || clock_now_ns() - c->since_ns < s->idle_ns)
		return false;
	conn_close(c);
	return true;
}

/* The reply fits the empty buffer of a new socket. */
static void refuse(int fd)
{
	struct iovec v = {.iov_base = (char *)(uintptr_t)too_many,
			  .iov_len = strlen(too_many)};
	const struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	(void)sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)close(fd);
}

/* No descriptors left, most likely: others are served meanwhile. */
static void accept_failed(struct server *s, int err)
{
	if (err != ECANCELED)
		log_limited(LOG_WARN, "api: accept: %s", strerrordesc_np(err));
	if (io_op_active(&s->accept))
		loop_cancel(s->loop, &s->accept);
	loop_timer_set(s->loop, &s->retry, clock_now_ns() + SERVER_RETRY_NS);
}

static void accepted(struct io_op *op, int res)
{
	struct server *s = container_of(op, struct server, accept);

	if (s->stopping) {
		if (res >= 0)
			(void)close(res);
		server_kick(s);
		return;
	}
	if (res < 0) {
		accept_failed(s, -res);
		return;
	}
	if (make_room(s))
		conn_start(s, res);
	else
		refuse(res);
	if (!io_op_active(op))
		loop_accept(s->loop, op, s->fd);
}

static void retry_accept(struct loop_timer *t)
{
	struct server *s = container_of(t, struct server, retry);

	if (!io_op_active(&s->accept))
		loop_accept(s->loop, &s->accept, s->fd);
}

static void expire(struct loop_timer *t)
{
	struct server *s = container_of(t, struct server, timer);
	uint64_t now = clock_now_ns();

	for (struct conn *c = s->conns; c; c = c->next) {
		if (c->state == CONN_DEAD || !c->deadline_ns)
			continue;
		if (c->deadline_ns <= now)
			conn_close(c);
		else
			server_arm(s, c->deadline_ns);
	}
}

static void serve_next(struct server *s)
{
	struct conn *c = s->ready_head;

	s->ready_head = c->next_ready;
	if (!s->ready_head)
		s->ready_tail = NULL;
	s->current = c;
	s->request = conn_take(c);
	s->handle(s, s->request);
}

static void serve_or_stop(struct loop_msg *m)
{
	struct server *s = container_of(m, struct server, next_msg);

	s->next_queued = false;
	if (!s->stopping) {
		if (!s->current && s->ready_head)
			serve_next(s);
	} else if (!s->conns && !io_op_active(&s->accept)) {
		loop_timer_stop(s->loop, &s->timer);
		fd_close(&s->fd);
		s->stopped(s);
	}
}

void server_reply(struct server *s, int status, bool deprecated,
		  const char *body, size_t body_len)
{
	struct conn *c = s->current;
	struct http_request *r = s->request;

	if (!c)
		return;
	s->current = NULL;
	s->request = NULL;
	conn_reply(c, r->expect, status, deprecated, body, body_len);
	http_request_free(r);
	server_kick(s);
}

void server_start(struct server *s, struct loop *l, int fd, size_t max_body,
		  void (*handle)(struct server *s, struct http_request *r))
{
	*s = (struct server){
		.loop = l,
		.fd = fd,
		.max_body = max_body,
		.handle = handle,
		.request_ns = SERVER_REQUEST_NS,
		.idle_ns = SERVER_IDLE_NS,
		.accept = {.done = accepted},
		.next_msg = {.fn = serve_or_stop},
		.timer = {.fn = expire},
		.retry = {.fn = retry_accept},
	};
	loop_accept(l, &s->accept, fd);
}

void server_stop(struct server *s, void (*stopped)(struct server *s))
{
	uint64_t deadline_ns = clock_now_ns() + STOP_NS;

	s->stopping = true;
	s->stopped = stopped;
	s->ready_head = NULL;
	s->ready_tail = NULL;
	s->current = NULL;
	http_request_free(s->request);
	s->request = NULL;
	loop_timer_stop(s->loop, &s->retry);
	loop_cancel(s->loop, &s->accept);
	for (struct conn *c = s->conns; c; c = c->next) {
		if (c->state == CONN_SEND) {
			c->deadline_ns = deadline_ns;
			server_arm(s, deadline_ns);
		} else {
			conn_close(c);
		}
	}
	server_kick(s);
}

static int bind_path(int fd, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		return -errno;
	return 0;
}

int server_bind(const char *path, struct err *e)
{
	char text[128];

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "path must be shorter than SUN_LEN");

	cleanup_fd int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret = fd < 0 ? -errno : bind_path(fd, path);

	if (ret < 0) {
		err_os_text(-ret, text, sizeof(text));
		return err_set(e, ret, "%s", text);
	}
	return fds_move(fd_steal(&fd), FD_API, e);
}
