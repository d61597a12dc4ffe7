/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_backend.h: between loop.c and the two backends, private to them.
 *
 * loop.c owns the life of an operation, timers, messages and deferred work; a
 * backend waits for events and says which operation they belong to.
 */
#ifndef BASE_LOOP_BACKEND_H
#define BASE_LOOP_BACKEND_H

#include "base/loop.h"
#include "base/timers.h"

enum op_kind {
	OP_POLL,
	OP_ACCEPT,
	OP_RECV,
	OP_SEND,
	OP_READV, /* the first kind that works on a slot */
	OP_WRITEV,
	OP_FDATASYNC,
	OP_FALLOCATE,
	OP_SLOT_SET,
};

enum op_state {
	OP_IDLE,    /* not active; zeroed memory */
	OP_QUEUED,  /* the backend has not started it yet */
	OP_STARTED, /* the backend will report its result */
	OP_DECIDED, /* op->res is its result, done() comes in this turn */
};

/* Doubly linked, so that any member leaves in O(1). */
struct op_list {
	struct io_op *head;
	struct io_op *tail;
};

struct loop_ops {
	enum loop_backend backend;

	/* On the loop thread, once, before the first wait. */
	int (*enable)(struct loop *l);

	/* Start op; sets op->state. */
	void (*start)(struct loop *l, struct io_op *op);

	/* op is queued or started, op->cancelled is newly set. */
	void (*cancel)(struct loop *l, struct io_op *op);

	/*
	 * Wait at most timeout_ns (UINT64_MAX: for ever) for events and report
	 * them by loop_event(). Returns 0, also when interrupted, or a
	 * negative errno.
	 */
	int (*wait)(struct loop *l, uint64_t timeout_ns);
	void (*free)(struct loop *l);
};

struct loop {
	const struct loop_ops *ops;
	_Atomic(struct loop_msg *) posted; /* newest first; any thread */
	struct loop_msg *deferred;
	struct loop_msg **deferred_end;
	struct op_list decided;
	struct timers timers;
	uint64_t fired_ns; /* when timers were last looked at */
	uint64_t active;   /* operations, with wake */
	struct io_op wake; /* polls FD_WAKE */
	int failed;	   /* no wake-ups any more */
	bool enabled;
	bool stop;
};

int loop_uring_new(struct loop **l, struct err *e);
int loop_epoll_new(struct loop **l, struct worker *w, struct err *e);

/*
 * A backend reports what has happened to op: the result of a one-shot, an
 * event of a multishot (more: it goes on), or the error that ended it. Calls
 * done(), so op may be gone or started again on return.
 */
void loop_event(struct io_op *op, int res, bool more);

/* The same from outside wait(): done() is called later in the turn. */
void loop_decide(struct io_op *op, int res);

void op_list_add(struct op_list *list, struct io_op *op);
void op_list_remove(struct op_list *list, struct io_op *op);

static inline bool op_cancelled(const struct io_op *op)
{
	return atomic_load_explicit(&op->cancelled, memory_order_relaxed);
}

static inline bool op_multishot(const struct io_op *op)
{
	return op->kind <= OP_ACCEPT;
}

#endif
