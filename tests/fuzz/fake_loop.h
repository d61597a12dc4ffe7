/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_loop.h: base/loop.h over memory, so that the fuzzer decides when, in
 * which order and how well operations end.
 *
 * A program that includes it has all of the loop's functions, so that the real
 * ones are not linked.
 */
#ifndef TESTS_FUZZ_FAKE_LOOP_H
#define TESTS_FUZZ_FAKE_LOOP_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/num.h"

#define FAKE_OPS   600
#define FAKE_POLLS 64
#define FAKE_DISK  0x4000

enum fake_kind {
	FAKE_POLL,
	FAKE_ACCEPT,
	FAKE_READ,
	FAKE_WRITE,
	FAKE_SYNC,
	FAKE_SLOT
};

struct loop {
	struct io_op *op[FAKE_OPS]; /* active, but not polls */
	unsigned int n_ops;
	struct io_op *poll[FAKE_POLLS]; /* and accepts */
	unsigned int n_polls;
	struct loop_msg *deferred;
	struct loop_msg **deferred_end;
	struct loop_timer *timer;   /* armed, the last one first */
	uint8_t disk[2][FAKE_DISK]; /* the old file and the new one */
	unsigned int used;	    /* which of them is in the slot */
	bool read_only;
};

static inline void fake_loop_init(struct loop *l)
{
	memset(l, 0, sizeof(*l));
	l->deferred_end = &l->deferred;
}

static inline void fake_start(struct loop *l, struct io_op *op,
			      enum fake_kind kind)
{
	if (op->state != 0 || l->n_ops == FAKE_OPS)
		abort();
	op->loop = l;
	op->kind = (uint8_t)kind;
	op->state = 1;
	if (kind <= FAKE_ACCEPT && l->n_polls == FAKE_POLLS)
		abort();
	if (kind <= FAKE_ACCEPT)
		l->poll[l->n_polls++] = op;
	else
		l->op[l->n_ops++] = op;
}

/* Move at most `most` bytes between disk and guest, checking every access. */
static inline int fake_move(struct loop *l, struct io_op *op, uint64_t most)
{
	const struct iovec *v = op->buf;
	uint64_t bytes = 0;

	if (op->kind == FAKE_WRITE && l->read_only)
		abort();
	for (uint64_t i = 0; i < op->len; i++) {
		uint8_t *at = l->disk[l->used] + op->offset + bytes;
		uint64_t n = v[i].iov_len;

		if (!num_inside(op->offset + bytes, n, FAKE_DISK))
			abort();
		n = MIN(n, most - bytes);
		if (op->kind == FAKE_READ)
			memcpy(v[i].iov_base, at, n);
		else
			memcpy(at, v[i].iov_base, n);
		bytes += n;
	}
	return (int)bytes;
}

/* End operation i: res < 0 fails it, otherwise it moves up to res bytes. */
static inline void fake_end(struct loop *l, unsigned int i, int res)
{
	struct io_op *op = l->op[i];

	l->op[i] = l->op[--l->n_ops];
	if (res >= 0 && (op->kind == FAKE_READ || op->kind == FAKE_WRITE))
		res = fake_move(l, op, (uint64_t)res);
	else if (res >= 0)
		res = 0;
	if (res == 0 && op->kind == FAKE_SLOT)
		l->used = !l->used;
	op->state = 0;
	op->done(op, res);
}

static inline void fake_run_deferred(struct loop *l)
{
	struct loop_msg *m = l->deferred;

	l->deferred = NULL;
	l->deferred_end = &l->deferred;
	while (m) {
		struct loop_msg *next = m->next;

		m->fn(m);
		m = next;
	}
}

static inline void fake_ring(struct loop *l)
{
	for (unsigned int i = 0; i < l->n_polls; i++)
		if (l->poll[i]->state && l->poll[i]->kind == FAKE_POLL)
			l->poll[i]->done(l->poll[i], 1);
}

static inline void fake_fire(struct loop *l)
{
	struct loop_timer *t = l->timer;

	if (t) {
		loop_timer_stop(l, t);
		t->fn(t);
	}
}

/* ---- base/loop.h ---- */

void loop_post(struct loop *l, struct loop_msg *m)
{
	loop_defer(l, m);
}

void loop_defer(struct loop *l, struct loop_msg *m)
{
	m->next = NULL;
	*l->deferred_end = m;
	l->deferred_end = &m->next;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	loop_timer_stop(l, t);
	t->deadline_ns = deadline_ns;
	t->armed = true;
	t->next = l->timer;
	l->timer = t;
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
	struct loop_timer **p = &l->timer;

	if (!t->armed)
		return;
	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	t->armed = false;
}

void loop_poll(struct loop *l, struct io_op *op, int fd, uint32_t events)
{
	op->fd = fd;
	op->arg = events;
	fake_start(l, op, FAKE_POLL);
}

void loop_accept(struct loop *l, struct io_op *op, int fd)
{
	op->fd = fd;
	fake_start(l, op, FAKE_ACCEPT);
}

void loop_recv(struct loop *l, struct io_op *op, int fd, void *buf, size_t len)
{
	(void)l;
	(void)op;
	(void)fd;
	(void)buf;
	(void)len;
	abort();
}

void loop_send(struct loop *l, struct io_op *op, int fd, const void *buf,
	       size_t len)
{
	(void)l;
	(void)op;
	(void)fd;
	(void)buf;
	(void)len;
	abort();
}

void loop_readv(struct loop *l, struct io_op *op, unsigned int slot,
		const struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	op->slot = slot;
	op->buf = iov;
	op->len = n_iov;
	op->offset = offset;
	fake_start(l, op, FAKE_READ);
}

void loop_writev(struct loop *l, struct io_op *op, unsigned int slot,
		 const struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	loop_readv(l, op, slot, iov, n_iov, offset);
	op->kind = FAKE_WRITE;
}

void loop_fdatasync(struct loop *l, struct io_op *op, unsigned int slot)
{
	op->slot = slot;
	fake_start(l, op, FAKE_SYNC);
}

void loop_fallocate(struct loop *l, struct io_op *op, unsigned int slot,
		    int mode, uint64_t offset, uint64_t len)
{
	(void)mode;
	if (l->read_only || len == 0 || !num_inside(offset, len, FAKE_DISK))
		abort();
	loop_fdatasync(l, op, slot);
}

void loop_slot_set(struct loop *l, struct io_op *op, unsigned int slot, int fd)
{
	(void)fd;
	op->slot = slot;
	fake_start(l, op, FAKE_SLOT);
}

void loop_cancel(struct loop *l, struct io_op *op)
{
	if (!op->state)
		return;
	for (unsigned int i = 0; i < l->n_polls; i++)
		if (l->poll[i] == op)
			l->poll[i] = l->poll[--l->n_polls];
	op->state = 0;
	op->done(op, -ECANCELED); /* only polls are cancelled here */
}

#endif
