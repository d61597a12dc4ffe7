/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of connections: clients of our listener, in Firecracker's
 * protocol, and listeners that the guest connects to.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/num.h"
#include "virtio/vsock_conn.h"

/* "CONNECT <port>\n", with its end. */
#define LINE_BYTES 32

/* Until a full table of descriptors, or a full listener, is tried again. */
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)
#define RETRY_NS	(10 * NS_PER_MS)

/* ---- clients ---- */

static void new_client(struct vsock *v, int fd)
{
	struct vsock_conn *c = NULL;

	if (v->dev.status == VIRTIO_STATUS_RUNNING && !v->closing)
		c = vsock_take(v, VSOCK_LINE);
	if (!c) {
		fd_close(&fd);
		return;
	}
	vsock_expire(c);
	vsock_conn_attach(c, fd);
}

static void accepted(struct io_op *op, int res)
{
	struct vsock *v = container_of(op, struct vsock, accept_op);

	if (res >= 0)
		new_client(v, res);
	if (io_op_active(op))
		return;
	if (v->closing) {
		vsock_serve_soon(v);
		return;
	}
	if (res == -ECONNABORTED) {
		vsock_host_listen(v);
		return;
	}
	v->counts.muxer_event_fails++;
	loop_timer_set(v->dev.loop, &v->accept_timer,
		       clock_now_ns() + ACCEPT_PAUSE_NS);
}

static void accept_again(struct loop_timer *t)
{
	vsock_host_listen(container_of(t, struct vsock, accept_timer));
}

void vsock_host_listen(struct vsock *v)
{
	if (!io_op_active(&v->accept_op) && !v->accept_timer.armed)
		loop_accept(v->dev.loop, &v->accept_op, v->listener);
}

/* The next word of a line: *at moves behind it. Its length, 0 at the end. */
static size_t word(const char **at, const char *end)
{
	static const char space[] = " \t\r\v\f";
	const char *p = *at;

	while (p < end && memchr(space, *p, sizeof(space) - 1))
		p++;
	*at = p;
	while (*at < end && !memchr(space, **at, sizeof(space) - 1))
		(*at)++;
	return (size_t)(*at - p);
}

static bool parse_port(const char *text, size_t len, uint32_t *port)
{
	uint64_t n = 0;

	if (len > 1 && *text == '+') {
		text++;
		len--;
	}
	if (len == 0)
		return false;
	for (; len > 0; text++, len--) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > UINT32_MAX)
			return false;
	}
	*port = (uint32_t)n;
	return true;
}

/* As Firecracker reads it: two words, whatever stands behind them. */
static bool parse_line(const char *line, const char *end, uint32_t *port)
{
	static const char connect[] = "connect";
	const char *at = line;
	size_t len = word(&at, end);

	if (len != sizeof(connect) - 1 ||
	    strncasecmp(at - len, connect, len) != 0)
		return false;
	len = word(&at, end);
	return parse_port(at - len, len, port);
}

/* They count up from 2^30 to 2^31 and begin anew. */
static uint32_t next_port(struct vsock *v, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = v->n_ports++ % VSOCK_LOCAL_PORT0 + VSOCK_LOCAL_PORT0;
	} while (vsock_find(v, port, guest_port));
	return port;
}

/*
 * A line that is not whole stays in the socket, and so does what stands behind
 * it, which belongs to the stream. One that is wrong is taken out: a socket
 * closed with bytes in it looks like a reset to the client.
 */
void vsock_host_read_line(struct vsock_conn *c)
{
	struct vsock *v = c->v;
	char line[LINE_BYTES];
	struct iovec iov = {line, sizeof(line)};
	ssize_t n = vsock_recv(c->fd, &iov, 1, MSG_PEEK);
	const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
	uint32_t port;

	if ((n < 0 && errno == EAGAIN) || (n > 0 && n < LINE_BYTES && !end)) {
		c->readable = false;
		return;
	}
	if (n > 0) {
		iov.iov_len = end ? (size_t)(end - line) + 1 : (size_t)n;
		n = vsock_recv(c->fd, &iov, 1, 0);
	}
	if (n <= 0 || !end || !parse_line(line, end, &port)) {
		vsock_conn_close(c, false);
		return;
	}
	c->state = VSOCK_REQUESTED;
	vsock_hash(c, next_port(v, port), port);
	vsock_expire(c);
	vsock_conn_request(c);
}

bool vsock_host_accepted(struct vsock_conn *c)
{
	char line[LINE_BYTES];
	int len = snprintf(line, sizeof(line), "OK %u\n", c->host_port);
	struct iovec iov = {line, (size_t)len};

	return vsock_send(c->fd, &iov, 1) == len;
}

/* ---- listeners ---- */

/* On the helper. A full listener is not waited for: that is -EAGAIN. */
static void dial(struct job *j)
{
	struct vsock_connect *d = container_of(j, struct vsock_connect, job);
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int len = snprintf(to.sun_path, sizeof(to.sun_path), "%s_%u",
			   d->v->path, d->port);
	cleanup_fd int fd = -1;

	d->fd = -ENAMETOOLONG;
	if (len < 0 || (size_t)len >= sizeof(to.sun_path))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		d->fd = -errno;
	else
		d->fd = fd_steal(&fd);
}

static void dial_more(struct vsock *v)
{
	for (struct vsock_connect *d = v->connect;
	     d < v->connect + VSOCK_CONNECTS && !vsock_link_empty(&v->dialling);
	     d++) {
		struct vsock_conn *c =
			container_of(v->dialling.next, struct vsock_conn, work);

		if (d->busy)
			continue;
		vsock_link_remove(&c->work);
		d->busy = true;
		d->conn = c;
		d->port = c->host_port;
		c->connect = d;
		v->n_connects++;
		worker_submit(v->worker, &d->job);
	}
}

static void retry(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	vsock_link_add(&v->retrying, &c->work);
	if (!v->retry_timer.armed)
		loop_timer_set(v->dev.loop, &v->retry_timer,
			       clock_now_ns() + RETRY_NS);
}

static void retry_all(struct loop_timer *t)
{
	struct vsock *v = container_of(t, struct vsock, retry_timer);

	while (!vsock_link_empty(&v->retrying)) {
		struct vsock_link *l = v->retrying.next;

		vsock_link_remove(l);
		vsock_link_add(&v->dialling, l);
	}
	dial_more(v);
}

static void dialled(struct job *j)
{
	struct vsock_connect *d = container_of(j, struct vsock_connect, job);
	struct vsock_conn *c = d->conn;
	struct vsock *v = d->v;

	d->busy = false;
	v->n_connects--;
	if (c)
		c->connect = NULL;
	if (!c)
		fd_close(&d->fd);
	else if (d->fd >= 0)
		vsock_conn_attach(c, d->fd);
	else if (d->fd == -EAGAIN)
		retry(c);
	else
		vsock_conn_close(c, true);
	dial_more(v);
	if (v->closing)
		vsock_serve_soon(v);
}

void vsock_host_dial(struct vsock *v, const struct vsock_hdr *h)
{
	struct vsock_conn *c = vsock_take(v, VSOCK_CONNECTING);

	if (!c) {
		vsock_reject(v, h);
		return;
	}
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd_cnt = h->fwd_cnt;
	vsock_hash(c, h->dst_port, h->src_port);
	vsock_expire(c);
	vsock_link_add(&v->dialling, &c->work);
	dial_more(v);
}

void vsock_host_init(struct vsock *v)
{
	v->accept_op.done = accepted;
	v->accept_timer.fn = accept_again;
	v->retry_timer.fn = retry_all;
	vsock_link_init(&v->dialling);
	vsock_link_init(&v->retrying);
	for (struct vsock_connect *d = v->connect;
	     d < v->connect + VSOCK_CONNECTS; d++) {
		d->v = v;
		d->job.work = dial;
		d->job.done = dialled;
	}
}

void vsock_host_stop(struct vsock *v)
{
	loop_timer_stop(v->dev.loop, &v->accept_timer);
	loop_timer_stop(v->dev.loop, &v->retry_timer);
	loop_cancel(v->dev.loop, &v->accept_op);
}
