/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The epoll backend, for hosts that forbid io_uring. An operation on a socket
 * is tried at once, and again when the socket becomes ready; one on a slot is a
 * job of the helper thread.
 *
 * Several operations may wait for one descriptor, epoll knows it once: so there
 * is a table of the waiting operations by descriptor number.
 */
#include "base/loop_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "base/worker.h"

#define BATCH	  128
#define MIN_TABLE 256

struct epoll {
	struct loop loop;
	struct worker *worker;
	struct op_list *waiting; /* by descriptor, n_waiting of them */
	size_t n_waiting;
	int slots[LOOP_SLOTS];
	struct epoll_event events[BATCH];
};

static struct epoll *to_epoll(struct loop *l)
{
	return container_of(l, struct epoll, loop);
}

static uint32_t interest(const struct io_op *op)
{
	switch ((enum op_kind)op->kind) {
	case OP_POLL:
		return op->arg | EPOLLET;
	case OP_SEND:
		return EPOLLOUT | EPOLLET;
	case OP_RECV:
		return EPOLLIN | EPOLLET;
	default: /* one connection an event: no edge may be missed */
		return EPOLLIN;
	}
}

static int set_interest(const struct op_list *list, int fd, int how)
{
	struct epoll_event ev = {.data.fd = fd};
	bool edge = true;

	for (const struct io_op *op = list->head; op; op = op->next) {
		ev.events |= interest(op);
		edge = edge && (interest(op) & EPOLLET);
	}
	if (!edge)
		ev.events &= ~(uint32_t)EPOLLET;
	return epoll_ctl(FD_LOOP, how, fd, &ev) < 0 ? -errno : 0;
}

static int grow(struct epoll *p, size_t min)
{
	size_t n = MAX(p->n_waiting, (size_t)MIN_TABLE);

	while (n < min)
		n *= 2;
	if (n == p->n_waiting)
		return 0;

	struct op_list *waiting = reallocarray(p->waiting, n, sizeof(*waiting));

	if (!waiting)
		return -ENOMEM;
	for (size_t i = p->n_waiting; i < n; i++)
		waiting[i] = (struct op_list){0};
	p->waiting = waiting;
	p->n_waiting = n;
	return 0;
}

/* Let op wait for its descriptor; returns a negative errno if it cannot. */
static int watch(struct epoll *p, struct io_op *op)
{
	if (op->fd < 0)
		return -EBADF;

	int ret = grow(p, (size_t)op->fd + 1);

	if (ret < 0)
		return ret;

	struct op_list *list = &p->waiting[op->fd];
	const int how = list->head ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	op->res = 0;
	op->state = OP_STARTED;
	op_list_add(list, op);
	ret = set_interest(list, op->fd, how);
	if (ret < 0)
		op_list_remove(list, op);
	return ret;
}

/*
 * What is left on the descriptor keeps an interest that may be too wide: edges
 * that nobody waits for cost one event each.
 */
static void unwatch(struct epoll *p, struct io_op *op)
{
	struct op_list *list = &p->waiting[op->fd];

	op_list_remove(list, op);
	if (!list->head || op->kind == OP_ACCEPT)
		(void)set_interest(list, op->fd,
				   list->head ? EPOLL_CTL_MOD : EPOLL_CTL_DEL);
}

/*
 * recvmsg() and sendmsg() in place of recv() and send(): vsock needs these, and
 * what a filter allows is to be little.
 */
static int try(const struct io_op *op)
{
	/* io_op keeps one pointer for both directions. */
	struct iovec v = {.iov_base = (void *)(uintptr_t)op->buf,
			  .iov_len = op->len};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t n;

	switch ((enum op_kind)op->kind) {
	case OP_RECV:
		n = recvmsg(op->fd, &m, MSG_DONTWAIT);
		break;
	case OP_SEND:
		n = sendmsg(op->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	default:
		n = accept4(op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	return n < 0 ? -errno : (int)n;
}

static int work_on_file(const struct io_op *op)
{
	const int n_iov = (int)op->len;
	const off_t offset = (off_t)op->offset;
	ssize_t n;

	switch ((enum op_kind)op->kind) {
	case OP_READV:
		n = preadv(op->fd, op->buf, n_iov, offset);
		break;
	case OP_WRITEV:
		n = pwritev(op->fd, op->buf, n_iov, offset);
		break;
	case OP_FDATASYNC:
		n = fdatasync(op->fd);
		break;
	case OP_FALLOCATE:
		n = fallocate(op->fd, (int)op->arg, offset, (off_t)op->len);
		break;
	default: /* a slot changes when all before it is done */
		n = 0;
	}
	return n < 0 ? -errno : (int)n;
}

/* On the helper thread. */
static void job_work(struct job *j)
{
	struct io_op *op = container_of(j, struct io_op, job);

	if (op_cancelled(op) && op->kind != OP_SLOT_SET)
		op->res = -ECANCELED;
	else
		op->res = work_on_file(op);
}

static void job_done(struct job *j)
{
	struct io_op *op = container_of(j, struct io_op, job);

	loop_event(op, op->res, false);
}

static void start_on_slot(struct epoll *p, struct io_op *op)
{
	if (!p->worker) {
		loop_decide(op, -EOPNOTSUPP);
		return;
	}
	if (op->slot >= LOOP_SLOTS) {
		loop_decide(op, op->kind == OP_SLOT_SET ? -EINVAL : -EBADF);
		return;
	}
	if (op->kind == OP_SLOT_SET)
		p->slots[op->slot] = op->fd;
	else
		op->fd = p->slots[op->slot];
	op->state = OP_STARTED;
	op->job.work = job_work;
	op->job.done = job_done;
	worker_submit(p->worker, &op->job);
}

static void start(struct loop *l, struct io_op *op)
{
	struct epoll *p = to_epoll(l);

	if (op->kind >= OP_READV) {
		start_on_slot(p, op);
		return;
	}

	int ret = op_multishot(op) ? -EAGAIN : try(op);

	if (ret == -EAGAIN)
		ret = watch(p, op);
	else if (ret >= 0) {
		loop_decide(op, ret);
		return;
	}
	if (ret < 0)
		loop_decide(op, ret);
}

static void cancel(struct loop *l, struct io_op *op)
{
	/* Before a job runs it looks at op->cancelled. */
	if (op->kind >= OP_READV)
		return;
	unwatch(to_epoll(l), op);
	loop_decide(op, -ECANCELED);
}

/* The descriptor that op waits for is ready. */
static void serve(struct epoll *p, struct io_op *op, uint32_t events)
{
	int res = (int)events;

	if (op->kind != OP_POLL)
		res = try(op);
	if (op->kind != OP_POLL && res == -EAGAIN)
		return;
	if (!op_multishot(op) || res < 0)
		unwatch(p, op);
	loop_event(op, res, true);
}

/* The first operation on fd with events that it has not seen. */
static struct io_op *next_ready(const struct epoll *p, int fd)
{
	struct io_op *op = p->waiting[fd].head;

	while (op && !op->res)
		op = op->next;
	return op;
}

/* done() may change the list, so the events are marked before all calls. */
static void dispatch(struct epoll *p, const struct epoll_event *ev)
{
	const uint32_t always = EPOLLERR | EPOLLHUP;
	const int fd = ev->data.fd;
	struct io_op *op;

	for (op = p->waiting[fd].head; op; op = op->next)
		op->res = (int)(ev->events & (interest(op) | always));
	while ((op = next_ready(p, fd))) {
		const uint32_t events = (uint32_t)op->res;

		op->res = 0;
		serve(p, op, events);
	}
}

static int wait_events(struct loop *l, uint64_t timeout_ns)
{
	struct epoll *p = to_epoll(l);
	const struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / NS_PER_S),
		.tv_nsec = (long)(timeout_ns % NS_PER_S),
	};
	int n = epoll_pwait2(FD_LOOP, p->events, BATCH,
			     timeout_ns == UINT64_MAX ? NULL : &ts, NULL);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		dispatch(p, &p->events[i]);
	return 0;
}

static int enable(struct loop *l)
{
	(void)l;
	return 0;
}

static void free_epoll(struct loop *l)
{
	struct epoll *p = to_epoll(l);

	free(p->waiting);
	free(p);
	(void)close(FD_LOOP);
}

static const struct loop_ops ops = {
	.backend = LOOP_EPOLL,
	.enable = enable,
	.start = start,
	.cancel = cancel,
	.wait = wait_events,
	.free = free_epoll,
};

int loop_epoll_new(struct loop **l, struct worker *w, struct err *e)
{
	const int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "Failed to create an epoll descriptor");

	int ret = fds_move(fd, FD_LOOP, e);

	if (ret < 0)
		return ret;

	struct epoll *p = calloc(1, sizeof(*p));

	if (!p) {
		ret = err_sys(e, "Failed to create the event loop");
		(void)close(FD_LOOP);
		return ret;
	}
	p->loop.ops = &ops;
	p->worker = w;
	for (size_t i = 0; i < LOOP_SLOTS; i++)
		p->slots[i] = -1;
	*l = &p->loop;
	return 0;
}
