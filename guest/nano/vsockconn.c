/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/vsock.h"

#define STRAYS	   256 /* records for those that are only refused */
#define BUCKETS	   4096
#define FIRST_PORT 1024
#define SLICE_NS   (10 * NS_PER_MS)
#define PINGS_MAX  4096

enum state { ASKED, OPEN, CLOSING, GONE };

struct conn {
	struct conn *next;   /* in its bucket, or free */
	struct conn *queued; /* the next that has something to send */
	struct conn *all;    /* the next record in use or free */
	bool is_queued, said_end;
	enum state state;
	uint32_t owes; /* bits 1 << op */
	uint32_t local, peer, peer_flags;
	uint32_t peer_alloc, peer_took, put; /* what we may send */
	uint32_t took, said_took;	     /* what the peer may send */
	uint32_t busy;			     /* packets that are not used yet */
	uint64_t sent, got, ping_ns;
	uint8_t *ring; /* ECHO: bytes from `sent` up to `got` */
};

struct run {
	struct vsock *v;
	const struct vsock_job *j;
	struct vsock_result *r;
	struct conn *bucket[BUCKETS];
	struct conn *free, *all;
	struct conn *first, *last; /* that have something to send */
	uint64_t started, alive;
	uint64_t begun; /* connections that were asked for */
	bool late;	/* the time to send is over */
};

static struct conn **bucket_of(struct run *r, uint32_t local, uint32_t peer)
{
	return &r->bucket[(local + peer * 31) % BUCKETS];
}

static struct conn *find(struct run *r, uint32_t local, uint32_t peer)
{
	struct conn *c = *bucket_of(r, local, peer);
	while (c && (c->local != local || c->peer != peer))
		c = c->next;
	return c;
}

static void wake(struct run *r, struct conn *c)
{
	if (c->is_queued)
		return;
	c->is_queued = true;
	c->queued = NULL;
	if (r->first)
		r->last->queued = c;
	else
		r->first = c;
	r->last = c;
}

static struct conn *add(struct run *r, uint32_t local, uint32_t peer,
			enum state state, enum vsock_op first)
{
	struct conn *c = r->free;
	if (!c)
		return NULL;
	r->free = c->next;
	struct conn **b = bucket_of(r, local, peer);
	*c = (struct conn){.next = *b, .all = c->all, .ring = c->ring};
	*b = c;
	c->local = local;
	c->peer = peer;
	c->state = state;
	c->owes = 1u << first;
	r->alive += state != GONE;
	wake(r, c);
	return c;
}

/* It takes part no more; its record is free once nothing refers to it. */
static void leave(struct run *r, struct conn *c)
{
	r->alive -= c->state != GONE;
	c->state = GONE;
	c->owes = 0;
	r->r->end_ns = clock_ns();
}

static void release(struct run *r, struct conn *c)
{
	struct conn **at = bucket_of(r, c->local, c->peer);
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->next = r->free;
	r->free = c;
}

static void opened(struct run *r, struct conn *c)
{
	c->state = OPEN;
	if (r->r->opened++ == 0)
		r->r->start_ns = clock_ns();
	if (r->r->opened == r->j->count)
		print("nano: vsock opened n=%lu ns=%lu\n", r->j->count,
		      clock_ns() - r->started);
}

/* -- what is sent ---------------------------------------------------------- */

/* Bytes that came and were not yet sent back. */
static uint64_t ring_bytes(const struct conn *c)
{
	return c->got - c->sent;
}

/* Bytes that it has to send now. */
static uint64_t has(const struct run *r, const struct conn *c)
{
	const struct vsock_job *j = r->j;
	if (j->mode == ECHO)
		return c->busy ? 0 : ring_bytes(c);
	if (j->mode == PING)
		return c->got == c->sent ? j->limit * j->packet - c->sent : 0;
	if (j->mode == RESET)
		return c->sent ? 0 : 1;
	if (j->mode != SEND || r->late)
		return 0;
	return j->ns ? j->packet : j->limit - c->sent;
}

static bool all_sent(const struct run *r, const struct conn *c)
{
	bool heard_end = c->peer_flags & VSOCK_NO_SEND;
	if (c->peer_flags & VSOCK_NO_RECEIVE)
		return true;
	switch (r->j->mode) {
	case CLOSE:
		return true;
	case RESET:
		return c->got;
	case HOLD:
		return heard_end || r->late;
	case PING:
		return c->got == c->sent && has(r, c) == 0;
	case SEND:
		return has(r, c) == 0;
	case ECHO:
		return heard_end && ring_bytes(c) == 0;
	default:
		return heard_end;
	}
}

/* Whether it closes both ways when it has sent all. */
static bool closes(const struct run *r, const struct conn *c)
{
	return c->peer_flags & VSOCK_NO_SEND || r->j->mode == CLOSE ||
	       r->j->mode == PING || r->j->mode == HOLD;
}

/* How far it came, as the order RESET counts. */
static uint64_t stage(const struct conn *c)
{
	if (c->state == ASKED)
		return c->owes ? 0 : 1;
	return c->peer_flags ? 5 : c->said_end ? 4 : c->got ? 3 : 2;
}

/* Whether it is time to say that nothing more is sent, or to close. */
static void think_of_end(const struct run *r, struct conn *c)
{
	const struct vsock_job *j = r->j;
	if (c->state != GONE && j->mode == RESET && stage(c) > j->limit)
		c->owes = 1u << VSOCK_RST;
	if (c->state != OPEN || c->owes || !all_sent(r, c))
		return;
	if (c->peer_flags == VSOCK_NO_MORE)
		c->owes |= 1u << VSOCK_RST;
	else if (!c->said_end || c->peer_flags & VSOCK_NO_SEND)
		c->owes |= 1u << VSOCK_SHUTDOWN;
}

static bool send_op(struct run *r, struct conn *c, enum vsock_op op,
		    const void *data, uint32_t len)
{
	struct vsock_header h = {.src_port = c->local,
				 .dst_port = c->peer,
				 .op = (uint16_t)op,
				 .buf_alloc = r->j->credit,
				 .fwd_cnt = c->took};
	if (op == VSOCK_SHUTDOWN)
		h.flags = closes(r, c) ? VSOCK_NO_MORE : VSOCK_NO_SEND;
	if (!vsock_send(r->v, &h, data, len, c))
		return false;
	c->busy++;
	c->said_took = c->took;
	c->owes &= ~(1u << op | 1u << VSOCK_CREDIT_UPDATE);
	if (h.flags == VSOCK_NO_MORE)
		c->state = CLOSING;
	c->said_end |= op == VSOCK_SHUTDOWN;
	if (op == VSOCK_RESPONSE)
		opened(r, c);
	if (op == VSOCK_RST) {
		r->r->closed += c->state != GONE;
		leave(r, c);
	}
	return true;
}

static bool send_data(struct run *r, struct conn *c)
{
	uint64_t n = has(r, c);
	uint32_t out = c->put - c->peer_took;
	uint32_t credit = out < c->peer_alloc ? c->peer_alloc - out : 0;
	if (n > credit)
		n = credit;
	if (n > r->j->packet)
		n = r->j->packet;
	const uint8_t *p = pattern_at(c->sent);
	if (r->j->mode == ECHO) {
		uint64_t at = c->sent % r->j->credit;
		p = c->ring + at;
		if (n > r->j->credit - at)
			n = r->j->credit - at;
	}
	if (n == 0 || !send_op(r, c, VSOCK_RW, p, (uint32_t)n))
		return false;
	if (r->j->mode == PING)
		c->ping_ns = clock_ns();
	c->put += (uint32_t)n;
	r->r->sent += n;
	if (r->j->mode != ECHO)
		c->sent += n;
	return true;
}

/* One packet of a connection; false if it has none now, or there is no room. */
static bool turn(struct run *r, struct conn *c)
{
	static const enum vsock_op order[] = {
		VSOCK_REQUEST,	     VSOCK_RST,	     VSOCK_RESPONSE,
		VSOCK_CREDIT_UPDATE, VSOCK_SHUTDOWN,
	};
	think_of_end(r, c);
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (c->owes >> order[i] & 1)
			return send_op(r, c, order[i], NULL, 0);
	}
	return c->state == OPEN && !c->said_end &&
	       !(c->peer_flags & VSOCK_NO_RECEIVE) && send_data(r, c);
}

static void send_all(struct run *r)
{
	while (r->first && r->v->tx.n_free >= 2) {
		struct conn *c = r->first;
		r->first = c->queued;
		c->is_queued = false;
		if (turn(r, c))
			wake(r, c);
		else if (c->state == GONE && !c->owes && !c->busy)
			release(r, c);
	}
}

static void note_sent(struct run *r)
{
	void *owner;
	uint32_t len;
	while (vsock_sent(r->v, &owner, &len)) {
		struct conn *c = owner;
		c->busy--;
		if (r->j->mode == ECHO) {
			c->sent += len;
			c->took += len;
		}
		if (r->j->mode == ECHO &&
		    c->took - c->said_took >= r->j->credit / 2)
			c->owes |= 1u << VSOCK_CREDIT_UPDATE;
		if (r->j->mode == ECHO || c->state == GONE)
			wake(r, c);
	}
}

/* -- what is received ------------------------------------------------------ */

static void keep(struct run *r, struct conn *c, const uint8_t *data, uint32_t n)
{
	uint32_t size = r->j->credit;
	if (!c->ring)
		c->ring = mem_alloc(size);
	uint32_t at = (uint32_t)(c->got % size);
	uint32_t part = n < size - at ? n : size - at;
	memcpy(c->ring + at, data, part);
	memcpy(c->ring, data + part, n - part);
}

static void take_data(struct run *r, struct conn *c, const uint8_t *data,
		      uint32_t n)
{
	const struct vsock_job *j = r->j;
	bool fits =
		(uint32_t)c->got - c->took + n <= j->credit && n <= PATTERN_MAX;
	if (!fits || (j->mode != ECHO && !j->blank &&
		      memcmp(data, pattern_at(c->got), n) != 0))
		r->r->bad++;
	if (j->mode == ECHO && fits)
		keep(r, c, data, n);
	c->got += n;
	r->r->got += n;
	if (j->mode == ECHO || j->mode == HOLD)
		return;
	c->took += n;
	if (c->took - c->said_took >= j->credit / 2)
		c->owes |= 1u << VSOCK_CREDIT_UPDATE;
	if (j->mode == PING && c->got == c->sent && r->r->pings < PINGS_MAX)
		r->r->ping_ns[r->r->pings++] = clock_ns() - c->ping_ns;
}

static struct conn *newcomer(struct run *r, const struct vsock_header *h)
{
	const struct vsock_job *j = r->j;
	bool ours = j->listen && h->op == VSOCK_REQUEST &&
		    h->dst_port == j->port && r->begun < j->count;
	if (h->op == VSOCK_RST)
		return NULL;
	r->begun += ours;
	return add(r, h->dst_port, h->src_port, ours ? ASKED : GONE,
		   ours ? VSOCK_RESPONSE : VSOCK_RST);
}

static void take(struct run *r, const struct vsock_header *h,
		 const uint8_t *data)
{
	struct conn *c = find(r, h->dst_port, h->src_port);
	if (!c)
		c = newcomer(r, h);
	if (!c || c->state == GONE)
		return;
	c->peer_alloc = h->buf_alloc;
	c->peer_took = h->fwd_cnt;
	switch (h->op) {
	case VSOCK_RESPONSE:
		if (c->state == ASKED)
			opened(r, c);
		break;
	case VSOCK_RST:
		if (c->state == ASKED)
			r->r->refused++;
		else if (c->state == OPEN && c->peer_flags != VSOCK_NO_MORE)
			r->r->reset++;
		else
			r->r->closed++;
		leave(r, c);
		break;
	case VSOCK_SHUTDOWN:
		c->peer_flags |= h->flags;
		if (c->state == CLOSING && c->peer_flags == VSOCK_NO_MORE)
			c->owes |= 1u << VSOCK_RST;
		break;
	case VSOCK_RW:
		take_data(r, c, data, h->len);
		break;
	case VSOCK_CREDIT_REQUEST:
		c->owes |= 1u << VSOCK_CREDIT_UPDATE;
		break;
	default:
		break;
	}
	wake(r, c);
}

/* -- all of it ------------------------------------------------------------- */

static void for_all(struct run *r, void (*what)(struct run *, struct conn *))
{
	for (struct conn *c = r->all; c; c = c->all)
		if (c->state != GONE)
			what(r, c);
}

static void forget(struct run *r, struct conn *c)
{
	r->r->reset++;
	leave(r, c);
	wake(r, c);
}

static struct run *start(struct vsock *v, const struct vsock_job *j,
			 struct vsock_result *result)
{
	struct run *r = mem_alloc(sizeof(*r));
	memset(r, 0, sizeof(*r));
	r->v = v;
	r->j = j;
	r->r = result;
	r->started = clock_ns();
	result->ping_ns = mem_alloc(PINGS_MAX * sizeof(*result->ping_ns));
	uint64_t n = (j->listen ? j->count : j->window) + STRAYS;
	struct conn *c = mem_alloc(n * sizeof(*c));
	for (uint64_t i = 0; i < n; i++) {
		c[i] = (struct conn){.next = r->free, .state = GONE};
		c[i].all = r->all;
		r->free = r->all = &c[i];
	}
	return r;
}

static void connect_more(struct run *r)
{
	const struct vsock_job *j = r->j;
	while (!j->listen && r->begun < j->count && r->alive < j->window &&
	       r->begun - r->r->opened - r->r->refused < j->asked &&
	       add(r, FIRST_PORT + (uint32_t)r->begun, j->port, ASKED,
		   VSOCK_REQUEST))
		r->begun++;
}

static bool finished(const struct run *r)
{
	uint64_t n = r->r->closed + r->r->refused + r->r->reset;
	return n >= r->j->count && !r->first && !r->v->busy;
}

const char *vsock_run(struct vsock *v, const struct vsock_job *j,
		      struct vsock_result *result)
{
	struct run *r = start(v, j, result);
	const struct vsock_header *h;
	const uint8_t *data;
	while (!finished(r)) {
		connect_more(r);
		send_all(r);
		(void)vsock_wait(v, r->first || j->mode == ECHO || !r->alive,
				 SLICE_NS);
		note_sent(r);
		while ((h = vsock_take(v, &data)))
			take(r, h, data);
		if (vsock_events(v))
			for_all(r, forget);
		uint64_t now = clock_ns();
		if (!r->late && j->ns && r->r->opened &&
		    now - r->r->start_ns >= j->ns) {
			r->late = true;
			for_all(r, wake);
		}
		if (now - r->started > j->seconds * NS_PER_S)
			return "not done in time";
	}
	return "";
}
