/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h: the event loop. One thread, one io_uring; one loop a process.
 *
 * Every operation is a struct io_op that lives inside the object it serves; the
 * loop never allocates for one. An operation is active from its start until the
 * call of done() that leaves io_op_active() false; only then may its memory go
 * away, its descriptor be closed, or the operation be started again (from
 * inside done(), if need be). An operation always completes through done(), on
 * the loop thread, never inside the call that starts it.
 *
 * The ring is made disabled, restricted to the opcodes used here, sealed and
 * enabled on the loop thread; where the kernel forbids io_uring, the same
 * header is served by epoll, and file operations run on the helper thread.
 *
 * Results: >= 0 as the system call returns it, or a negative errno.
 * Threads: the loop thread only, except loop_post().
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/msg.h"

struct err;
struct loop;
struct worker;
struct io_op;

#define LOOP_SLOTS 64 /* fixed files: drives */

enum loop_backend {
	LOOP_AUTO, /* io_uring, or epoll where the kernel forbids it */
	LOOP_URING,
	LOOP_EPOLL,
};

/* A one-shot timer; owned by the caller, must be stopped before it is freed. */
struct loop_timer {
	void (*fn)(struct loop_timer *t);
	/* the loop's */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	uint64_t seq;
	struct loop_timer *child;
	struct loop_timer *next;
	struct loop_timer *prev;
	bool armed;
};

/*
 * Make the loop. `w` runs file operations in the epoll backend and may be NULL
 * where none are used; worker_attach() it before the first.
 */
int loop_new(struct loop **l, enum loop_backend backend, struct worker *w,
	     struct err *e);

/*
 * Every operation must have completed, and every thread that posts must have
 * ended (worker_free() first); accepts NULL.
 */
void loop_free(struct loop *l);

/* LOOP_URING or LOOP_EPOLL. */
enum loop_backend loop_backend_of(const struct loop *l);

/*
 * Enable the ring: the last io_uring_register() of the process, so that a
 * filter may forbid it from here on. The calling thread is the loop thread. The
 * first turn does it too. A thread with an enabled ring was measured to need a
 * millisecond more for making a machine: do that first.
 */
int loop_enable(struct loop *l);

/* Serve events until loop_stop(); returns 0 or a negative errno. */
int loop_run(struct loop *l);

/* Wait at most timeout_ns for one batch of events and serve it. */
int loop_turn(struct loop *l, uint64_t timeout_ns);
void loop_stop(struct loop *l);

/*
 * Run m->fn on the loop thread soon, messages of one thread in their order. Any
 * thread; wakes the loop.
 */
void loop_post(struct loop *l, struct loop_msg *m);

/*
 * Run m->fn when the present batch has been served: the place to free an
 * object from inside one of its own callbacks. Loop thread only.
 */
void loop_defer(struct loop *l, struct loop_msg *m);

/*
 * Arm, or move, a timer. Timers fire in the order of their deadlines, never
 * early; one whose deadline has passed fires in the next turn.
 */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns);

/* A timer that is not armed is left alone. */
void loop_timer_stop(struct loop *l, struct loop_timer *t);

/*
 * Embedded in the object that owns the operation; set done once, leave the
 * rest to the loop. Zeroed memory is an idle operation.
 */
struct io_op {
	void (*done)(struct io_op *op, int res);
	/* the loop's */
	struct loop *loop;
	struct io_op *next;
	struct io_op *prev;
	const void *buf; /* data, or the array of iovecs */
	uint64_t offset;
	uint64_t len; /* bytes, or number of iovecs */
	struct job job;
	int fd;
	int res;
	uint32_t slot;
	uint32_t arg; /* poll events, or fallocate mode */
	uint8_t kind;
	uint8_t state;
	bool listed;
	bool fresh;
	atomic_bool cancelled; /* the helper thread reads it */
};

static inline bool io_op_active(const struct io_op *op)
{
	return op->state != 0;
}

/*
 * Multishot: done(revents) each time fd becomes ready, until it is cancelled or
 * ends with an error (-EPERM: a file that cannot be polled). Edge-triggered:
 * the callee must read or write until it would block, and may be called once
 * too often. The state at the start counts as an edge. An eventfd need not be
 * read at all: each write to it is an edge.
 */
void loop_poll(struct loop *l, struct io_op *op, int fd, uint32_t events);

/*
 * Multishot: done(new descriptor, close-on-exec and non-blocking) for each
 * connection; fd is a non-blocking listener. An error ends the operation, so
 * that a full descriptor table cannot make the loop spin: after -EMFILE,
 * -ENFILE, -ENOBUFS and -ENOMEM start it again when descriptors have been
 * closed or after a pause, after -ECONNABORTED at once.
 */
void loop_accept(struct loop *l, struct io_op *op, int fd);

/*
 * One-shot on a socket. buf must live until done(). May complete short. A send
 * to a closed peer is -EPIPE without a signal.
 */
void loop_recv(struct loop *l, struct io_op *op, int fd, void *buf, size_t len);
void loop_send(struct loop *l, struct io_op *op, int fd, const void *buf,
	       size_t len);

/*
 * One-shot on the file in fixed slot `slot`; the array iov and the memory it
 * names must live until done(). May complete short, as the system call. -EBADF
 * if the slot is empty. Operations in flight together have no order: wait for
 * writes before the loop_fdatasync() that is to cover them.
 */
void loop_readv(struct loop *l, struct io_op *op, unsigned int slot,
		const struct iovec *iov, unsigned int n_iov, uint64_t offset);
void loop_writev(struct loop *l, struct io_op *op, unsigned int slot,
		 const struct iovec *iov, unsigned int n_iov, uint64_t offset);
void loop_fdatasync(struct loop *l, struct io_op *op, unsigned int slot);
void loop_fallocate(struct loop *l, struct io_op *op, unsigned int slot,
		    int mode, uint64_t offset, uint64_t len);

/*
 * Put fd (-1: nothing) into a fixed slot: operations started later use it,
 * those started before finish on the old file. fd stays the caller's, who must
 * keep it open until done(0) of the call that replaces it (or for good).
 */
void loop_slot_set(struct loop *l, struct io_op *op, unsigned int slot, int fd);

/*
 * Ask an active operation to end. done() is called once more: with -ECANCELED,
 * or with the result that won the race; events and connections that a multishot
 * operation meets in between are dropped. Idle operations are left alone.
 */
void loop_cancel(struct loop *l, struct io_op *op);

#endif
