/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_conn.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/num.h"

/* ---- beginning and end ---- */

static void pend(struct vsock_conn *c, uint8_t what)
{
	c->pending |= what;
	if (!c->work.next) {
		vsock_link_add(&c->v->ready, &c->work);
		vsock_serve_soon(c->v);
	}
}

static void start_poll(struct vsock_conn *c)
{
	uint32_t events = POLLIN | POLLRDHUP;

	/* Each read of the host's is an edge of POLLOUT: only if need be. */
	if (c->poll_out)
		events |= POLLOUT;
	loop_poll(c->v->dev.loop, &c->poll, c->fd, events);
}

void vsock_conn_request(struct vsock_conn *c)
{
	pend(c, PEND_REQUEST);
}

/* A record that nothing holds any more is given back. */
static void settle(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	if (c->pending & PEND_RST)
		return;
	vsock_unhash(c); /* the guest may use its ports again */
	if (io_op_active(&c->poll))
		return;
	vsock_link_remove(&c->work);
	vsock_give_back(c);
	if (v->closing)
		vsock_serve_soon(v);
}

static void poll_ended(struct vsock_conn *c, int res)
{
	if (c->state == VSOCK_DEAD) {
		fd_close(&c->fd);
		settle(c);
	} else if (res == -ECANCELED) {
		start_poll(c); /* for more events than before */
	} else {
		c->v->counts.conn_event_fails++;
		vsock_conn_close(c, true);
	}
}

static void polled(struct io_op *op, int res)
{
	struct vsock_conn *c = container_of(op, struct vsock_conn, poll);
	const bool hung_up = res & (POLLHUP | POLLERR);

	if (!io_op_active(op)) {
		poll_ended(c, res);
		return;
	}
	if (c->state == VSOCK_DEAD)
		return;
	c->hung_up = c->hung_up || hung_up;
	c->readable = c->readable || hung_up || (res & (POLLIN | POLLRDHUP));
	c->writable = c->writable || hung_up || (res & POLLOUT);
	if (virtio_active(&c->v->dev))
		vsock_conn_step(c);
}

void vsock_conn_attach(struct vsock_conn *c, int fd)
{
	c->fd = fd;
	c->writable = true;
	c->poll.done = polled;
	start_poll(c);
	if (c->state != VSOCK_CONNECTING)
		return;
	c->state = VSOCK_OPEN;
	vsock_link_remove(&c->expiry);
	pend(c, PEND_RESPONSE);
}

void vsock_conn_close(struct vsock_conn *c, bool rst)
{
	const bool known = c->hashed && !(c->pending & PEND_REQUEST);

	c->state = VSOCK_DEAD;
	c->pending = 0;
	vsock_link_remove(&c->work);
	vsock_link_remove(&c->expiry);
	vsock_buf_drop(&c->v->pool, &c->buf, c->buf.bytes);
	if (c->connect)
		c->connect->conn = NULL;
	c->connect = NULL;
	if (rst)
		c->v->counts.conns_killed++;
	if (rst && known)
		pend(c, PEND_RST);
	else
		vsock_unhash(c);
	/* The descriptor may only be closed when nothing polls it. */
	if (io_op_active(&c->poll)) {
		loop_cancel(c->v->dev.loop, &c->poll);
		return;
	}
	fd_close(&c->fd);
	settle(c);
}

void vsock_conn_close_all(struct vsock *v)
{
	for (uint32_t i = 0; i < v->n_fresh; i++) {
		struct vsock_conn *c = &v->conns[i];

		if (c->state != VSOCK_FREE)
			vsock_conn_close(c, false);
	}
	v->n_rsts = 0;
}

/* ---- guest to host ---- */

/* Tell the guest what the host will do no more. */
static void announce(struct vsock_conn *c, uint8_t shut)
{
	if ((c->host_shut | shut) == c->host_shut)
		return;
	c->host_shut |= shut;
	pend(c, PEND_SHUTDOWN);
	if (c->host_shut == VSOCK_SHUT_BOTH)
		vsock_expire(c);
}

/* Cut len bytes at `skip` out of an array; returns the number of parts. */
static uint32_t slice(struct iovec *to, const struct iovec *v, uint64_t skip,
		      uint64_t len)
{
	uint32_t n = 0;

	for (; len > 0; v++) {
		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		to[n].iov_base = (uint8_t *)v->iov_base + skip;
		to[n].iov_len = MIN(v->iov_len - skip, len);
		len -= to[n++].iov_len;
		skip = 0;
	}
	return n;
}

/*
 * The guest hears of new room before it has run out of it. It may send less
 * than we allow: Linux, no more than it would take itself.
 */
static void forwarded(struct vsock_conn *c, uint32_t n)
{
	c->fwd_cnt += n;
	if (c->fwd_cnt - c->told_cnt >=
	    MIN(c->buf_alloc, c->peer_buf_alloc) / 2)
		pend(c, PEND_CREDIT_UPDATE);
}

/*
 * Hand bytes to the host's socket; returns how many are done with, which are
 * all if the host does not listen any more.
 */
static uint32_t give(struct vsock_conn *c, struct iovec *iov, uint32_t n_iov,
		     uint32_t len)
{
	ssize_t n = len;

	if (!c->deaf)
		n = vsock_send(c->fd, iov, n_iov);
	if (n < 0 && errno == EAGAIN) {
		c->writable = false;
		if (!c->poll_out) {
			c->poll_out = true;
			loop_cancel(c->v->dev.loop, &c->poll);
		}
		return 0;
	}
	if (n < 0) {
		c->v->counts.tx_write_fails++;
		c->deaf = true;
		n = len;
		announce(c, VSOCK_SHUT_RCV);
	} else if (!c->deaf) {
		c->v->counts.tx_bytes += (uint64_t)n;
	}
	forwarded(c, (uint32_t)n);
	return (uint32_t)n;
}

static void flush(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	while (c->buf.bytes > 0 && c->writable) {
		uint32_t n_iov = vsock_buf_peek(&v->pool, &c->buf, v->slice,
						VIRTQ_MAX_SIZE);

		vsock_buf_drop(&v->pool, &c->buf,
			       give(c, v->slice, n_iov, c->buf.bytes));
	}
}

/* Payload of the guest's; false if it breaks the rules of credit. */
static bool receive(struct vsock_conn *c, uint32_t len,
		    const struct virtq_chain *data)
{
	struct vsock *v = c->v;
	uint32_t done = 0;

	if (len > data->out_bytes || len > c->buf_alloc - c->buf.bytes)
		return false;
	if (len > 0 && c->buf.bytes == 0 && c->writable)
		done = give(c, v->slice, slice(v->slice, data->iov, 0, len),
			    len);
	return vsock_buf_add(&v->pool, &c->buf, v->slice,
			     slice(v->slice, data->iov, done, len - done));
}

/* Nothing waits for the host: what the guest's shutdown has waited for. */
static void flushed(struct vsock_conn *c)
{
	if (c->guest_shut == VSOCK_SHUT_BOTH) {
		vsock_conn_close(c, true);
	} else if ((c->guest_shut & VSOCK_SHUT_SEND) && !c->deaf) {
		c->deaf = true;
		(void)shutdown(c->fd, SHUT_WR);
	}
}

static void guest_shuts(struct vsock_conn *c, uint32_t flags)
{
	uint8_t before = c->guest_shut;

	c->guest_shut |= (uint8_t)(flags & VSOCK_SHUT_BOTH);
	if (c->guest_shut == before)
		return;
	if (c->guest_shut == VSOCK_SHUT_BOTH)
		vsock_expire(c);
	else if (c->guest_shut == VSOCK_SHUT_RCV)
		(void)shutdown(c->fd, SHUT_RD);
}

/* false: not allowed in c's state */
static bool take_packet(struct vsock_conn *c, const struct vsock_hdr *h,
			const struct virtq_chain *data)
{
	const bool open = c->state == VSOCK_OPEN;

	switch (h->op) {
	case VSOCK_RESPONSE:
		if (c->state != VSOCK_REQUESTED || (c->pending & PEND_REQUEST))
			return false;
		c->state = VSOCK_OPEN;
		vsock_link_remove(&c->expiry);
		return vsock_host_accepted(c);
	case VSOCK_SHUTDOWN:
		if (open)
			guest_shuts(c, h->flags);
		return open;
	case VSOCK_RW:
		return open && !(c->guest_shut & VSOCK_SHUT_SEND) &&
		       receive(c, h->len, data);
	case VSOCK_CREDIT_REQUEST:
		if (open)
			pend(c, PEND_CREDIT_UPDATE);
		return true;
	case VSOCK_CREDIT_UPDATE:
		return true;
	default:
		return false;
	}
}

void vsock_conn_packet(struct vsock_conn *c, const struct vsock_hdr *h,
		       const struct virtq_chain *data)
{
	/* One that is dead waits for its RST to go out, or for this. */
	if (h->op == VSOCK_RST) {
		vsock_conn_close(c, false);
		return;
	}
	if (c->state == VSOCK_DEAD)
		return;
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd_cnt = h->fwd_cnt;
	if (take_packet(c, h, data))
		vsock_conn_step(c);
	else
		vsock_conn_close(c, true);
}

/* ---- host to guest ---- */

/*
 * Both counters are the guest's word: what it says to have taken more than it
 * got, or to have less room than it holds, is no room.
 */
static uint32_t credit(const struct vsock_conn *c)
{
	uint32_t held = c->tx_cnt - c->peer_fwd_cnt;

	return held < c->peer_buf_alloc ? c->peer_buf_alloc - held : 0;
}

/* Without credit it is asked for once, and the socket is left alone. */
static void step_open(struct vsock_conn *c)
{
	flush(c);
	if (c->buf.bytes == 0)
		flushed(c);
	if (c->state != VSOCK_OPEN)
		return;
	if (c->hung_up && (c->eof || (c->guest_shut & VSOCK_SHUT_RCV)))
		announce(c, VSOCK_SHUT_BOTH);
	c->pending &= (uint8_t)~PEND_DATA;
	if (!c->readable || c->eof || (c->guest_shut & VSOCK_SHUT_RCV))
		return;
	if (credit(c) > 0) {
		c->asked = false;
		pend(c, PEND_DATA);
	} else if (!c->asked) {
		c->asked = true;
		pend(c, PEND_CREDIT_REQUEST);
	}
}

void vsock_conn_step(struct vsock_conn *c)
{
	if (c->state == VSOCK_LINE && c->readable)
		vsock_host_read_line(c);
	else if (c->state == VSOCK_REQUESTED && c->hung_up)
		vsock_conn_close(c, true);
	else if (c->state == VSOCK_OPEN)
		step_open(c);
}

static uint32_t put(struct vsock_conn *c, const struct virtq_chain *to,
		    enum vsock_op op, uint32_t len)
{
	const struct vsock_hdr h = {
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = c->v->guest_cid,
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.flags = op == VSOCK_SHUTDOWN ? c->host_shut : 0,
		.buf_alloc = c->buf_alloc,
		.fwd_cnt = c->fwd_cnt,
	};

	(void)virtq_chain_fill(to, &h, sizeof(h));
	c->told_cnt = c->fwd_cnt;
	c->pending &= (uint8_t)~PEND_CREDIT_UPDATE;
	c->v->counts.rx_packets++;
	return (uint32_t)sizeof(h) + len;
}

static uint32_t put_data(struct vsock_conn *c, const struct virtq_chain *to)
{
	struct vsock *v = c->v;
	const uint64_t room = to->in_bytes - sizeof(struct vsock_hdr);
	const uint64_t most = MIN(room, (uint64_t)VSOCK_PACKET_BYTES);
	const uint64_t want = MIN(most, (uint64_t)credit(c));
	uint32_t bytes = 0;

	/* A buffer for a header alone: something must be in it. */
	if (room == 0)
		bytes = put(c, to, VSOCK_CREDIT_UPDATE, 0);
	if (want > 0) {
		uint32_t n_iov = slice(v->slice, to->iov + to->n_out,
				       sizeof(struct vsock_hdr), want);
		ssize_t n = vsock_recv(c->fd, v->slice, n_iov, 0);

		if (n > 0) {
			c->tx_cnt += (uint32_t)n;
			v->counts.rx_bytes += (uint64_t)n;
			gmem_mark_iov(to->mem, v->slice, (uint64_t)n);
			bytes = put(c, to, VSOCK_RW, (uint32_t)n);
		} else if (n < 0 && errno == EAGAIN) {
			c->readable = false;
		} else {
			c->eof = true;
			c->hung_up = c->hung_up || n < 0;
			v->counts.rx_read_fails += n < 0;
			announce(c, VSOCK_SHUT_SEND);
		}
	}
	vsock_conn_step(c);
	return bytes;
}

uint32_t vsock_conn_fill(struct vsock_conn *c, const struct virtq_chain *to)
{
	static const enum vsock_op ops[] = {
		VSOCK_RST,	     VSOCK_REQUEST,
		VSOCK_RESPONSE,	     VSOCK_CREDIT_REQUEST,
		VSOCK_SHUTDOWN,	     VSOCK_RW,
		VSOCK_CREDIT_UPDATE,
	};
	const uint8_t urgent = c->pending & (uint8_t)-c->pending;
	uint32_t bytes;

	vsock_link_remove(&c->work);
	if (!urgent)
		return 0;
	c->pending &= (uint8_t)~urgent;
	if (urgent == PEND_DATA)
		bytes = put_data(c, to);
	else
		bytes = put(c, to, ops[__builtin_ctz(urgent)], 0);
	if (c->pending)
		pend(c, 0);
	else if (c->state == VSOCK_DEAD)
		settle(c);
	return bytes;
}
