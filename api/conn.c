/* SPDX-License-Identifier: Apache-2.0 */
#include "api/conn.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/server.h"
#include "base/cleanup.h"
#include "base/num.h"

static const char continue_head[] = "HTTP/1.1 100 \r\n"
				    "Server: Firecracker API\r\n"
				    "Connection: keep-alive\r\n\r\n";

static void set_deadline(struct conn *c, uint64_t ns)
{
	c->deadline_ns = clock_now_ns() + ns;
	server_arm(c->server, c->deadline_ns);
}

static void drop_requests(struct conn *c)
{
	while (c->first)
		http_request_free(conn_take(c));
}

static void free_conn(struct loop_msg *m)
{
	struct conn *c = container_of(m, struct conn, free_msg);
	struct server *s = c->server;
	struct conn **at = &s->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	fd_close(&c->fd);
	drop_requests(c);
	http_parser_exit(&c->parser);
	free(c->out);
	free(c);
	if (s->stopping)
		server_kick(s);
}

void conn_close(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	c->server->n_conns--;
	if (io_op_active(&c->op))
		loop_cancel(c->server->loop, &c->op);
	else
		loop_defer(c->server->loop, &c->free_msg);
}

static void send_out(struct conn *c)
{
	c->state = CONN_SEND;
	c->since_ns = clock_now_ns();
	loop_send(c->server->loop, &c->op, c->fd, c->out + c->out_sent,
		  c->out_len - c->out_sent);
}

/* Takes out, which may be NULL for want of memory. */
static void start_send(struct conn *c, char *out, size_t len)
{
	if (!out) {
		conn_close(c);
		return;
	}
	c->out = out;
	c->out_len = len;
	c->out_sent = 0;
	send_out(c);
}

void conn_reply(struct conn *c, bool after_continue, int status,
		bool deprecated, const char *body, size_t body_len)
{
	char type[96] = "", head[256];

	if (body)
		(void)snprintf(type, sizeof(type),
			       "Content-Type: application/json\r\n"
			       "Content-Length: %zu\r\n",
			       body_len);
	else
		body_len = 0;

	int len = snprintf(head, sizeof(head),
			   "%sHTTP/1.1 %d \r\n"
			   "Server: Firecracker API\r\n"
			   "Connection: keep-alive\r\n%s%s\r\n",
			   after_continue ? continue_head : "", status,
			   deprecated ? "Deprecation: true\r\n" : "", type);
	assert(len > 0 && (size_t)len < sizeof(head));

	size_t head_len = (size_t)len;
	char *out = malloc(head_len + body_len);

	if (out)
		memcpy(out, head, head_len);
	if (out && body)
		memcpy(out + head_len, body, body_len);
	start_send(c, out, head_len + body_len);
}

static void start_recv(struct conn *c)
{
	size_t len;
	void *space = http_space(&c->parser, &len);

	c->state = CONN_RECV;
	c->since_ns = clock_now_ns();
	if (!http_parser_idle(&c->parser) && !c->deadline_ns)
		set_deadline(c, c->server->request_ns);
	loop_recv(c->server->loop, &c->op, c->fd, space, len);
}

/* Nothing is on its way: the next thing that this connection is to do. */
static void go_on(struct conn *c)
{
	if (c->first) {
		c->state = CONN_READY;
		server_push_ready(c->server, c);
	} else if (c->owes_continue) {
		c->owes_continue = false;
		start_send(c, strdup(continue_head), strlen(continue_head));
	} else {
		start_recv(c);
	}
}

static void push_request(struct conn *c, struct http_request *r)
{
	/* Where the 100 has been sent, only the reply remains. */
	r->expect = c->owes_continue;
	c->owes_continue = false;
	c->deadline_ns = 0;
	if (c->last)
		c->last->next = r;
	else
		c->first = r;
	c->last = r;
}

struct http_request *conn_take(struct conn *c)
{
	struct http_request *r = c->first;

	c->first = r->next;
	if (!c->first)
		c->last = NULL;
	r->next = NULL;
	if (c->state == CONN_READY)
		c->state = CONN_BUSY;
	return r;
}

/*
 * All requests that arrived by one read are parsed before the first is handed
 * out, since an error among them takes back those before it.
 */
static void parse(struct conn *c)
{
	struct http_request *r = NULL;
	struct http_error e;
	enum http_event event;

	while ((event = http_next(&c->parser, &r, &e)) != HTTP_MORE) {
		if (event == HTTP_REQUEST) {
			push_request(c, r);
		} else if (event == HTTP_CONTINUE) {
			c->owes_continue = true;
		} else {
			drop_requests(c);
			c->owes_continue = false;
			c->deadline_ns = 0;
			c->last_reply = event == HTTP_FATAL;
			conn_reply(c, false, 400, false, e.text, e.len);
			return;
		}
	}
	go_on(c);
}

/*
 * Closing a socket with unread bytes in it would cut off a client that is still
 * sending before it has read the reply: so end our side and drop what comes.
 */
static void linger(struct conn *c)
{
	if (c->state != CONN_LINGER) {
		(void)shutdown(c->fd, SHUT_WR);
		set_deadline(c, SERVER_LINGER_NS);
	}
	c->state = CONN_LINGER;
	loop_recv(c->server->loop, &c->op, c->fd, c->parser.line,
		  sizeof(c->parser.line));
}

static void sent(struct conn *c, size_t n)
{
	c->out_sent += n;
	if (c->out_sent < c->out_len) {
		send_out(c);
		return;
	}
	free(c->out);
	c->out = NULL;
	if (c->server->stopping)
		conn_close(c);
	else if (c->last_reply)
		linger(c);
	else
		go_on(c);
}

static void conn_done(struct io_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, op);

	if (c->state == CONN_DEAD) {
		loop_defer(c->server->loop, &c->free_msg);
	} else if (res <= 0) {
		conn_close(c);
	} else if (c->state == CONN_RECV) {
		http_received(&c->parser, (size_t)res);
		parse(c);
	} else if (c->state == CONN_SEND) {
		sent(c, (size_t)res);
	} else {
		linger(c);
	}
}

bool conn_is_idle(const struct conn *c)
{
	return c->state == CONN_SEND ||
	       (c->state == CONN_RECV && http_parser_idle(&c->parser));
}

void conn_start(struct server *s, int new_fd)
{
	cleanup_fd int fd = new_fd;
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	c->server = s;
	c->fd = fd_steal(&fd);
	c->op.done = conn_done;
	c->free_msg.fn = free_conn;
	http_parser_init(&c->parser, s->max_body);
	c->next = s->conns;
	s->conns = c;
	s->n_conns++;
	start_recv(c);
}
