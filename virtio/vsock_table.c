/* SPDX-License-Identifier: Apache-2.0 */
/* Records of connections and how they are found. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/num.h"
#include "virtio/vsock_conn.h"

#define MIN_BUCKET_BITS 4

void vsock_link_init(struct vsock_link *head)
{
	head->prev = head;
	head->next = head;
}

bool vsock_link_empty(const struct vsock_link *head)
{
	return head->next == head;
}

void vsock_link_add(struct vsock_link *head, struct vsock_link *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

void vsock_link_remove(struct vsock_link *l)
{
	if (!l->next)
		return;
	l->prev->next = l->next;
	l->next->prev = l->prev;
	*l = (struct vsock_link){0};
}

int vsock_table_init(struct vsock *v, uint32_t max_conns)
{
	unsigned int bits = MIN_BUCKET_BITS;

	while (((uint64_t)1 << bits) < max_conns)
		bits++;
	v->bucket_shift = 64 - bits;
	v->max_conns = max_conns;
	/* Large blocks: the kernel's zero pages until they are used. */
	v->conns = calloc(max_conns, sizeof(*v->conns));
	v->buckets = calloc((size_t)1 << bits, sizeof(struct vsock_conn *));
	if (!v->conns || !v->buckets)
		return -ENOMEM;
	if (getrandom(v->seed, sizeof(v->seed), 0) < 0)
		return -errno;
	v->seed[0] |= 1;
	return 0;
}

void vsock_table_exit(struct vsock *v)
{
	free(v->conns);
	free(v->buckets);
}

/*
 * Multiply-shift with a random odd factor: a guest that chooses the ports
 * cannot choose the bucket.
 */
static struct vsock_conn **bucket(struct vsock *v, uint32_t host_port,
				  uint32_t guest_port)
{
	uint64_t key = (uint64_t)host_port << 32 | guest_port;

	return &v->buckets[(key * v->seed[0] + v->seed[1]) >> v->bucket_shift];
}

struct vsock_conn *vsock_find(struct vsock *v, uint32_t host_port,
			      uint32_t guest_port)
{
	struct vsock_conn *c = *bucket(v, host_port, guest_port);

	while (c && (c->host_port != host_port || c->guest_port != guest_port))
		c = c->chain;
	return c;
}

void vsock_hash(struct vsock_conn *c, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_conn **head = bucket(c->v, host_port, guest_port);

	c->host_port = host_port;
	c->guest_port = guest_port;
	c->chain = *head;
	c->hashed = true;
	*head = c;
}

void vsock_unhash(struct vsock_conn *c)
{
	struct vsock_conn **at = bucket(c->v, c->host_port, c->guest_port);

	if (!c->hashed)
		return;
	while (*at != c)
		at = &(*at)->chain;
	*at = c->chain;
	c->hashed = false;
}

/*
 * The fewer connections there are, the more may each have under way: half of
 * what is left of half of the pool, the other half being for those that come
 * later. A credit that was given cannot be taken back.
 */
static uint32_t give_credit(struct vsock *v)
{
	const uint64_t half = v->pool_bytes / 2;
	const uint64_t share = half > v->credit ? (half - v->credit) / 2 : 0;
	const uint64_t most = MIN(share, (uint64_t)v->max_credit);
	const uint64_t credit = MAX(most, (uint64_t)VSOCK_BUF_ALLOC);

	v->credit += credit;
	return (uint32_t)credit;
}

/* Last in, first out: the fewest pages are touched. */
struct vsock_conn *vsock_take(struct vsock *v, enum vsock_state state)
{
	struct vsock_conn *c = v->idle;

	if (c)
		v->idle = c->chain;
	else if (v->n_fresh < v->max_conns)
		c = &v->conns[v->n_fresh++];
	else
		return NULL;
	*c = (struct vsock_conn){.v = v,
				 .fd = -1,
				 .state = (uint8_t)state,
				 .buf_alloc = give_credit(v)};
	v->n_used++;
	v->counts.conns_added++;
	return c;
}

void vsock_give_back(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	c->state = VSOCK_FREE;
	c->chain = v->idle;
	v->idle = c;
	v->n_used--;
	v->credit -= c->buf_alloc;
	v->counts.conns_removed++;
	vsock_pool_trim(&v->pool);
}
