/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/mmds/tcp.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/token.h"

#define RETRY_NS	  (200 * NS_PER_MS) /* doubled up to RETRY_DOUBLINGS */
#define RETRY_DOUBLINGS	  5
#define RETRIES_MAX	  15 /* 70 s in all */
#define HOLD_NS		  (2 * NS_PER_S)
#define SILENT_NS	  (5 * NS_PER_S)
#define SILENT_OPENING_NS NS_PER_S

/* How far a is behind b in sequence space; negative: in front of it. */
static int32_t behind(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

static void put_reset(struct tcp *t, const struct tcp_segment *s)
{
	if (t->n_resets < TCP_RESETS)
		t->reset[t->n_resets++] = *s;
}

/* For a segment that belongs to nothing (RFC 9293, 3.10.7.1). */
static void refuse(struct tcp *t, const struct tcp_segment *s)
{
	struct tcp_segment r = *s;

	r.data = NULL;
	r.len = 0;
	r.window = r.mss = 0;
	r.flags = TCP_RST;
	r.seq = s->ack;
	if (!(s->flags & TCP_ACK)) {
		r.flags = TCP_RST | TCP_ACK;
		r.seq = 0;
		r.ack = s->seq + (uint32_t)s->len + !!(s->flags & TCP_SYN) +
			!!(s->flags & TCP_FIN);
	}
	put_reset(t, &r);
}

static struct tcp_segment segment_of(const struct tcp_conn *c)
{
	struct tcp_segment s = {
		.flags = TCP_ACK,
		.port = c->port,
		.window = (uint16_t)(sizeof(c->rx) - c->rx_len),
		.ip = c->ip,
		.seq = c->sent,
		.ack = c->peer,
	};

	memcpy(s.mac, c->mac, sizeof(s.mac));
	return s;
}

static void drop(struct tcp *t, struct tcp_conn *c)
{
	if (t->holder == c)
		t->holder = NULL;
	c->state = TCP_FREE;
	t->mmds->counts.connections_destroyed++;
}

static void reset_conn(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_segment s = segment_of(c);

	s.flags = TCP_RST | TCP_ACK;
	put_reset(t, &s);
	drop(t, c);
}

static uint64_t retry_at(const struct tcp *t, const struct tcp_conn *c)
{
	return t->mmds->now() + (RETRY_NS << MIN(c->tries, RETRY_DOUBLINGS));
}

/* ---- input ---- */

static struct tcp_conn *find(struct tcp *t, const struct tcp_segment *s)
{
	for (int i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[i];

		if (c->state != TCP_FREE && c->ip == s->ip &&
		    c->port == s->port)
			return c;
	}
	return NULL;
}

/* Until when a connection may be silent if there are others to serve. */
static uint64_t silent_until(const struct tcp_conn *c)
{
	return c->heard_ns +
	       (c->state == TCP_OPEN ? SILENT_NS : SILENT_OPENING_NS);
}

/* A free place, perhaps one that is freed for it, or NULL. */
static struct tcp_conn *place(struct tcp *t)
{
	struct tcp_conn *oldest = &t->conn[0];

	for (int i = 0; i < TCP_CONNS; i++) {
		if (t->conn[i].state == TCP_FREE)
			return &t->conn[i];
		if (silent_until(&t->conn[i]) < silent_until(oldest))
			oldest = &t->conn[i];
	}
	if (silent_until(oldest) > t->mmds->now())
		return NULL;
	reset_conn(t, oldest);
	return oldest;
}

static void open_conn(struct tcp *t, const struct tcp_segment *s)
{
	struct tcp_conn *c = place(t);

	if (!c)
		return;
	memset(c, 0, offsetof(struct tcp_conn, rx));
	memcpy(c->mac, s->mac, sizeof(c->mac));
	c->state = TCP_OPENING;
	c->ip = s->ip;
	c->port = s->port;
	c->mss = MIN(s->mss ? s->mss : TCP_MSS_NONE, TCP_MSS);
	c->una = c->next = c->sent = mmds_token_random(t->mmds);
	c->start = c->end = c->una + 1;
	c->peer = s->seq + 1;
	c->window = s->window;
	c->heard_ns = t->mmds->now();
	c->retry_ns = retry_at(t, c);
	t->mmds->counts.connections_created++;
}

/* What is acknowledged, and how much more may be sent. */
static void take_ack(struct tcp *t, struct tcp_conn *c,
		     const struct tcp_segment *s)
{
	int32_t n = behind(s->ack, c->una);

	if (n < 0)
		return;
	if (n == 0 && c->window == 0 && s->window > 0)
		c->next = c->una; /* they have dropped what probed it */
	c->window = s->window;
	if (n == 0)
		return;
	c->state = TCP_OPEN;
	c->una = s->ack;
	if (behind(c->una, c->next) > 0)
		c->next = c->una;
	c->tries = 0;
	c->retry_ns = c->una == c->end + c->fin ? 0 : retry_at(t, c);
	if (behind(c->una, c->end) >= 0 && c->reply) {
		c->reply = NULL;
		if (t->holder == c)
			t->holder = NULL;
	}
}

/* Data in order, as far as there is room; anything else is told so. */
static void take_data(struct tcp *t, struct tcp_conn *c,
		      const struct tcp_segment *s)
{
	int32_t gap = behind(s->seq, c->peer);
	size_t known = gap < 0 ? c->peer - s->seq : 0;
	size_t n;

	if (gap == 0 && s->len == 0 && !(s->flags & TCP_FIN))
		return;
	c->ack_due = true;
	if (gap > 0 || c->peer_fin || known > s->len) {
		t->mmds->counts.rx_accepted_unusual++;
		return;
	}
	n = MIN(s->len - known, sizeof(c->rx) - c->rx_len);
	if (n > 0)
		memcpy(c->rx + c->rx_len, s->data + known, n);
	c->rx_len += n;
	c->peer += (uint32_t)n;
	if ((s->flags & TCP_FIN) && known + n == s->len) {
		c->peer_fin = true;
		c->peer++;
	}
}

/* When the long buffer is taken away; 0: nobody else wants it. */
static uint64_t hold_until(const struct tcp *t)
{
	for (int i = 0; t->holder && i < TCP_CONNS; i++)
		if (t->conn[i].state == TCP_OPEN && t->conn[i].waiting)
			return t->wanted_ns + HOLD_NS;
	return 0;
}

/* Answer the next request, if it is there and its reply has a place. */
static void serve(struct tcp *t, struct tcp_conn *c)
{
	const char *reply = c->brief;
	size_t whole, len;
	bool last;

	if (c->state != TCP_OPEN || c->reply || c->fin ||
	    (c->waiting && t->holder))
		return;
	whole = mmds_http_whole(c->rx, c->rx_len);
	if (whole == 0 && c->rx_len == sizeof(c->rx)) {
		reset_conn(t, c); /* longer than a request may be */
		return;
	}
	if (whole == 0) {
		c->fin = c->last || c->peer_fin;
		c->retry_ns = c->fin ? retry_at(t, c) : 0;
		return;
	}
	len = mmds_http_reply(t->mmds, c->rx, whole, c->brief, sizeof(c->brief),
			      &last);
	if (len > sizeof(c->brief) && t->holder) {
		if (!hold_until(t))
			t->wanted_ns = t->mmds->now();
		c->waiting = true;
		return;
	}
	c->waiting = false;
	if (len > sizeof(c->brief)) {
		t->holder = c;
		t->wanted_ns = t->mmds->now();
		reply = t->buf;
		len = mmds_http_reply(t->mmds, c->rx, whole, t->buf, t->cap,
				      &last);
	}
	if (len > t->cap) {
		reset_conn(t, c);
		return;
	}
	c->rx_len -= whole;
	memmove(c->rx, c->rx + whole, c->rx_len);
	c->last = last;
	c->reply = reply;
	c->start = c->end;
	c->end += (uint32_t)len;
	c->retry_ns = retry_at(t, c);
}

/* If the long buffer is free, the next one that waits for it gets it. */
static void serve_waiting(struct tcp *t)
{
	for (unsigned int i = 0; i < TCP_CONNS && !t->holder; i++) {
		struct tcp_conn *c = &t->conn[(t->turn + i) % TCP_CONNS];

		if (c->state == TCP_OPEN && c->waiting)
			serve(t, c);
	}
}

/* Both sides are closed, and the guest knows. */
static bool is_done(const struct tcp_conn *c)
{
	return c->peer_fin && c->fin && c->una == c->end + 1 && !c->ack_due;
}

/* Whether a segment is one for here and now; what is not is told so. */
static bool acceptable(struct tcp *t, struct tcp_conn *c,
		       const struct tcp_segment *s)
{
	int32_t gap = behind(s->seq, c->peer);
	int32_t acked = behind(s->ack, c->una);
	int32_t room = (int32_t)(sizeof(c->rx) - c->rx_len);

	if (s->flags & TCP_RST) { /* RFC 5961, 3.2 */
		c->ack_due = c->ack_due || (gap > 0 && gap < room);
		if (gap == 0)
			drop(t, c);
		return false;
	}
	if (s->flags & TCP_SYN) {
		if (c->state == TCP_OPENING && gap == -1)
			c->next = c->una; /* it came again: so does ours */
		else
			c->ack_due = true; /* RFC 5961, 4.2 */
		return false;
	}
	if (!(s->flags & TCP_ACK))
		return false;
	if (c->state == TCP_OPENING && (acked != 1 || gap > room || gap < 0)) {
		refuse(t, s);
		return false;
	}
	if (gap > room || gap < -UINT16_MAX || acked < -UINT16_MAX ||
	    acked > behind(c->sent, c->una)) {
		c->ack_due = true;
		return false;
	}
	return true;
}

void tcp_input(struct tcp *t, const struct tcp_segment *s)
{
	struct tcp_conn *c = find(t, s);

	if (!c && (s->flags & TCP_RST))
		return;
	if (!c) {
		if ((s->flags & (TCP_SYN | TCP_ACK | TCP_FIN)) == TCP_SYN)
			open_conn(t, s);
		else
			refuse(t, s);
		return;
	}
	if (!acceptable(t, c, s)) {
		t->mmds->counts.rx_accepted_unusual++;
		serve_waiting(t);
		return;
	}
	c->heard_ns = t->mmds->now();
	take_ack(t, c, s);
	take_data(t, c, s);
	if (c->last)
		c->rx_len = 0; /* there is nothing to come that we want */
	serve(t, c);
	if (c->state != TCP_FREE && is_done(c))
		drop(t, c);
	serve_waiting(t);
}

/* ---- output ---- */

/* How much of the reply may be sent now. */
static uint32_t sendable(const struct tcp_conn *c)
{
	int32_t room = behind(c->una + c->window, c->next);
	int32_t left = behind(c->end, c->next);

	if (c->state != TCP_OPEN || left <= 0)
		return 0;
	if (room <= 0)
		return c->probe && c->next == c->una;
	return MIN(MIN((uint32_t)room, (uint32_t)left), c->mss);
}

static bool is_ready(const struct tcp_conn *c)
{
	if (c->state == TCP_OPENING)
		return c->next == c->una;
	return c->state == TCP_OPEN &&
	       (c->ack_due || sendable(c) > 0 || (c->fin && c->next == c->end));
}

static void fill(struct tcp_conn *c, struct tcp_segment *s)
{
	uint32_t n = sendable(c);

	*s = segment_of(c);
	if (c->state == TCP_OPENING) {
		s->flags = TCP_SYN | TCP_ACK;
		s->seq = c->next++;
		s->mss = TCP_MSS;
	} else if (n > 0) {
		s->data = (const uint8_t *)c->reply + (c->next - c->start);
		s->len = n;
		s->seq = c->next;
		c->next += n;
		if (c->next == c->end)
			s->flags |= TCP_PSH;
	} else if (c->fin && c->next == c->end) {
		s->flags |= TCP_FIN;
		s->seq = c->next++;
	}
	if (behind(c->next, c->sent) > 0)
		c->sent = c->next;
	c->ack_due = false;
	c->probe = false;
}

bool tcp_output(struct tcp *t, struct tcp_segment *s)
{
	if (t->n_resets > 0) {
		*s = t->reset[0];
		t->n_resets--;
		memmove(t->reset, t->reset + 1,
			t->n_resets * sizeof(t->reset[0]));
		return true;
	}
	for (unsigned int i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[(t->turn + i) % TCP_CONNS];

		if (!is_ready(c))
			continue;
		fill(c, s);
		t->turn = (t->turn + i + 1) % TCP_CONNS;
		if (is_done(c))
			drop(t, c);
		return true;
	}
	return false;
}

bool tcp_ready(const struct tcp *t)
{
	for (int i = 0; i < TCP_CONNS; i++)
		if (is_ready(&t->conn[i]))
			return true;
	return t->n_resets > 0;
}

/* ---- time ---- */

uint64_t tcp_deadline(const struct tcp *t)
{
	uint64_t first = hold_until(t);

	for (int i = 0; i < TCP_CONNS; i++) {
		const struct tcp_conn *c = &t->conn[i];

		if (c->state != TCP_FREE && c->retry_ns &&
		    (first == 0 || c->retry_ns < first))
			first = c->retry_ns;
	}
	return first;
}

void tcp_expire(struct tcp *t)
{
	const uint64_t now = t->mmds->now();
	uint64_t hold = hold_until(t);

	for (int i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[i];

		if (c->state == TCP_FREE || !c->retry_ns || c->retry_ns > now)
			continue;
		if (++c->tries > RETRIES_MAX) {
			reset_conn(t, c);
			continue;
		}
		c->next = c->una;
		c->probe = true;
		c->retry_ns = retry_at(t, c);
	}
	if (hold && hold <= now && t->holder)
		reset_conn(t, t->holder);
	serve_waiting(t);
}

void tcp_reset(struct tcp *t)
{
	for (int i = 0; i < TCP_CONNS; i++)
		if (t->conn[i].state != TCP_FREE)
			drop(t, &t->conn[i]);
	t->n_resets = 0;
}
