/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/loop_backend.h"
#include "base/num.h"

/* Most that one system call moves. */
#define IO_MAX_BYTES ((uint64_t)INT_MAX & ~(uint64_t)4095)

void op_list_add(struct op_list *list, struct io_op *op)
{
	op->next = NULL;
	op->prev = list->tail;
	if (list->tail)
		list->tail->next = op;
	else
		list->head = op;
	list->tail = op;
}

void op_list_remove(struct op_list *list, struct io_op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		list->head = op->next;
	if (op->next)
		op->next->prev = op->prev;
	else
		list->tail = op->prev;
}

/*
 * FD_WAKE is never read: it is polled for edges, and each write is one. The
 * message that makes the list non-empty pays for the write.
 */
void loop_post(struct loop *l, struct loop_msg *m)
{
	struct loop_msg *head =
		atomic_load_explicit(&l->posted, memory_order_relaxed);

	do {
		m->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&l->posted, &head, m,
							memory_order_release,
							memory_order_relaxed));
	/* From here on m, and with it l, may be gone. */
	if (!head) {
		const uint64_t one = 1;

		(void)!write(FD_WAKE, &one, sizeof(one));
	}
}

void loop_defer(struct loop *l, struct loop_msg *m)
{
	m->next = NULL;
	*l->deferred_end = m;
	l->deferred_end = &m->next;
}

static void run_messages(struct loop_msg *m)
{
	while (m) {
		struct loop_msg *next = m->next;

		m->fn(m);
		m = next;
	}
}

static void run_posted(struct loop *l)
{
	if (!atomic_load_explicit(&l->posted, memory_order_relaxed))
		return;

	struct loop_msg *newest = atomic_exchange_explicit(
		&l->posted, NULL, memory_order_acquire);
	struct loop_msg *oldest = NULL;

	while (newest) {
		struct loop_msg *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	run_messages(oldest);
}

static void run_deferred(struct loop *l)
{
	struct loop_msg *m = l->deferred;

	l->deferred = NULL;
	l->deferred_end = &l->deferred;
	run_messages(m);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	loop_timer_stop(l, t);
	/*
	 * None goes before those that were due already, or a timer that always
	 * arms itself in the past would starve them.
	 */
	t->deadline_ns = MAX(deadline_ns, l->fired_ns);
	t->armed = true;
	timers_add(&l->timers, t);
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
	if (!t->armed)
		return;
	t->armed = false;
	timers_remove(&l->timers, t);
}

static void run_timers(struct loop *l)
{
	/* What is armed from here on has to wait for the next turn. */
	const uint64_t end = l->timers.seq;
	struct loop_timer *t = l->timers.first;

	if (!t)
		return;
	l->fired_ns = clock_now_ns();
	while (t && t->deadline_ns <= l->fired_ns && t->seq < end) {
		loop_timer_stop(l, t);
		t->fn(t);
		t = l->timers.first;
	}
}

/* The operation is over. */
static void finish(struct io_op *op, int res)
{
	op->state = OP_IDLE;
	op->loop->active--;
	op->done(op, res);
}

void loop_decide(struct io_op *op, int res)
{
	op->res = res;
	op->state = OP_DECIDED;
	op_list_add(&op->loop->decided, op);
}

void loop_event(struct io_op *op, int res, bool more)
{
	struct loop *l = op->loop;

	if (!op_multishot(op) || res < 0) {
		finish(op, res);
		return;
	}
	if (op_cancelled(op)) {
		if (op->kind == OP_ACCEPT)
			(void)close(res);
		if (!more)
			finish(op, -ECANCELED);
		return;
	}
	if (!more)
		l->ops->start(l, op);
	op->done(op, res);
}

static void run_decided(struct loop *l)
{
	struct op_list list = l->decided;
	struct io_op *op;

	l->decided = (struct op_list){0};
	while ((op = list.head)) {
		op_list_remove(&list, op);
		finish(op, op->res);
	}
}

static uint64_t wait_ns(const struct loop *l, uint64_t timeout_ns)
{
	const struct loop_timer *t = l->timers.first;

	if (l->deferred || l->decided.head)
		return 0;
	if (!t || !timeout_ns)
		return timeout_ns;

	const uint64_t now = clock_now_ns();

	return MIN(timeout_ns, t->deadline_ns > now ? t->deadline_ns - now : 0);
}

int loop_enable(struct loop *l)
{
	int ret = l->enabled ? 0 : l->ops->enable(l);

	l->enabled = ret >= 0;
	return ret;
}

int loop_turn(struct loop *l, uint64_t timeout_ns)
{
	int ret = loop_enable(l);

	if (ret < 0)
		return ret;
	ret = l->ops->wait(l, wait_ns(l, timeout_ns));
	if (ret < 0)
		return ret;
	run_posted(l);
	run_timers(l);
	run_decided(l);
	run_deferred(l);
	return l->failed;
}

int loop_run(struct loop *l)
{
	int ret = 0;

	while (!l->stop && ret >= 0)
		ret = loop_turn(l, UINT64_MAX);
	l->stop = false;
	return ret;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

static void start(struct loop *l, struct io_op *op, enum op_kind kind)
{
	assert(!io_op_active(op));
	op->loop = l;
	op->kind = (uint8_t)kind;
	op->listed = false;
	atomic_store_explicit(&op->cancelled, false, memory_order_relaxed);
	l->active++;
	l->ops->start(l, op);
}

void loop_poll(struct loop *l, struct io_op *op, int fd, uint32_t events)
{
	op->fd = fd;
	op->arg = events;
	start(l, op, OP_POLL);
}

void loop_accept(struct loop *l, struct io_op *op, int fd)
{
	op->fd = fd;
	start(l, op, OP_ACCEPT);
}

void loop_recv(struct loop *l, struct io_op *op, int fd, void *buf, size_t len)
{
	op->fd = fd;
	op->buf = buf;
	op->len = MIN(len, IO_MAX_BYTES);
	start(l, op, OP_RECV);
}

void loop_send(struct loop *l, struct io_op *op, int fd, const void *buf,
	       size_t len)
{
	op->fd = fd;
	op->buf = buf;
	op->len = MIN(len, IO_MAX_BYTES);
	start(l, op, OP_SEND);
}

void loop_readv(struct loop *l, struct io_op *op, unsigned int slot,
		const struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	op->slot = slot;
	op->buf = iov;
	op->len = n_iov;
	op->offset = offset;
	start(l, op, OP_READV);
}

void loop_writev(struct loop *l, struct io_op *op, unsigned int slot,
		 const struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	op->slot = slot;
	op->buf = iov;
	op->len = n_iov;
	op->offset = offset;
	start(l, op, OP_WRITEV);
}

void loop_fdatasync(struct loop *l, struct io_op *op, unsigned int slot)
{
	op->slot = slot;
	start(l, op, OP_FDATASYNC);
}

void loop_fallocate(struct loop *l, struct io_op *op, unsigned int slot,
		    int mode, uint64_t offset, uint64_t len)
{
	op->slot = slot;
	op->arg = (uint32_t)mode;
	op->offset = offset;
	op->len = len;
	start(l, op, OP_FALLOCATE);
}

void loop_slot_set(struct loop *l, struct io_op *op, unsigned int slot, int fd)
{
	op->slot = slot;
	op->fd = fd;
	start(l, op, OP_SLOT_SET);
}

void loop_cancel(struct loop *l, struct io_op *op)
{
	if (op->state != OP_QUEUED && op->state != OP_STARTED)
		return;
	if (op_cancelled(op))
		return;
	atomic_store_explicit(&op->cancelled, true, memory_order_relaxed);
	l->ops->cancel(l, op);
}

/* Only there to end the wait: posted messages are looked at in every turn. */
static void on_wake(struct io_op *op, int res)
{
	if (!io_op_active(op))
		op->loop->failed = res;
}

static int init(struct loop *l, struct err *e)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return err_sys(e, "Failed to create an eventfd");

	int ret = fds_move(fd, FD_WAKE, e);

	if (ret < 0)
		return ret;
	l->deferred_end = &l->deferred;
	l->wake.done = on_wake;
	loop_poll(l, &l->wake, FD_WAKE, EPOLLIN);
	return 0;
}

static int new_backend(struct loop **l, enum loop_backend backend,
		       struct worker *w, struct err *e)
{
	if (backend != LOOP_EPOLL) {
		int ret = loop_uring_new(l, e);
		bool refused = ret == -ENOSYS || ret == -EPERM ||
			       ret == -EACCES || ret == -EINVAL;

		if (!refused || backend == LOOP_URING)
			return ret;
	}
	return loop_epoll_new(l, w, e);
}

int loop_new(struct loop **l, enum loop_backend backend, struct worker *w,
	     struct err *e)
{
	struct loop *made;
	int ret = new_backend(&made, backend, w, e);

	if (ret < 0)
		return ret;
	ret = init(made, e);
	if (ret < 0) {
		made->ops->free(made);
		return ret;
	}
	*l = made;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	assert(l->active == io_op_active(&l->wake));
	l->ops->free(l);
	(void)close(FD_WAKE);
}

enum loop_backend loop_backend_of(const struct loop *l)
{
	return l->ops->backend;
}
