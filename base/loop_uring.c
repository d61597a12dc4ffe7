/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The io_uring backend. user_data is the io_op; 0 marks a cancel request, whose
 * own completion says nothing: the operation's counts.
 *
 * Submission and waiting are one io_uring_enter() a turn. An operation that
 * finds the submission queue full waits on `queue` for the next turn.
 */
#include "base/loop_backend.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"

#define SQ_ENTRIES  256
#define CQ_ENTRIES  1024
#define MAX_WORKERS 8 /* kernel threads for I/O that would block */

struct uring {
	struct loop loop;
	struct io_uring ring;
	struct op_list queue;	/* state OP_QUEUED */
	struct op_list cancels; /* started and listed: to be cancelled */
	bool overflow;		/* completions come from beyond the queue */
};

static struct uring *to_uring(struct loop *l)
{
	return container_of(l, struct uring, loop);
}

static void prepare(struct io_uring_sqe *sqe, struct io_op *op)
{
	const int slot = (int)op->slot;
	const unsigned int len = (unsigned int)op->len;

	switch ((enum op_kind)op->kind) {
	case OP_POLL:
		op->fresh = true;
		io_uring_prep_poll_multishot(sqe, op->fd, op->arg);
		break;
	case OP_ACCEPT:
		io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL,
					       SOCK_CLOEXEC | SOCK_NONBLOCK);
		break;
	case OP_RECV:
		io_uring_prep_rw(IORING_OP_RECV, sqe, op->fd, op->buf, len, 0);
		break;
	case OP_SEND:
		io_uring_prep_send(sqe, op->fd, op->buf, len, MSG_NOSIGNAL);
		break;
	case OP_READV:
		io_uring_prep_readv(sqe, slot, op->buf, len, op->offset);
		break;
	case OP_WRITEV:
		io_uring_prep_writev(sqe, slot, op->buf, len, op->offset);
		break;
	case OP_FDATASYNC:
		io_uring_prep_fsync(sqe, slot, IORING_FSYNC_DATASYNC);
		break;
	case OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, slot, (int)op->arg,
					(off_t)op->offset, (off_t)op->len);
		break;
	case OP_SLOT_SET:
		io_uring_prep_files_update(sqe, &op->fd, 1, slot);
		break;
	}
	if (op->kind >= OP_READV && op->kind != OP_SLOT_SET)
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
}

static void submit(struct io_uring_sqe *sqe, struct io_op *op)
{
	prepare(sqe, op);
	op->state = OP_STARTED;
}

static void submit_cancel(struct io_uring_sqe *sqe, struct io_op *op)
{
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data64(sqe, 0);
}

static void start(struct loop *l, struct io_op *op)
{
	struct uring *u = to_uring(l);
	struct io_uring_sqe *sqe = NULL;

	if (!u->queue.head)
		sqe = io_uring_get_sqe(&u->ring);
	if (sqe) {
		submit(sqe, op);
		return;
	}
	op->state = OP_QUEUED;
	op_list_add(&u->queue, op);
}

static void cancel(struct loop *l, struct io_op *op)
{
	struct uring *u = to_uring(l);
	struct io_uring_sqe *sqe = NULL;

	if (op->state == OP_QUEUED) {
		op_list_remove(&u->queue, op);
		loop_decide(op, -ECANCELED);
		return;
	}
	if (!u->cancels.head)
		sqe = io_uring_get_sqe(&u->ring);
	if (sqe) {
		/*
		 * The kernel takes entries in order, so a later operation at
		 * the same address cannot be hit.
		 */
		submit_cancel(sqe, op);
		return;
	}
	op->listed = true;
	op_list_add(&u->cancels, op);
}

/* Move what waits into the submission queue, as far as there is room. */
static void refill(struct uring *u)
{
	struct io_uring_sqe *sqe;
	struct io_op *op;

	while ((op = u->cancels.head) && (sqe = io_uring_get_sqe(&u->ring))) {
		op_list_remove(&u->cancels, op);
		op->listed = false;
		submit_cancel(sqe, op);
	}
	while ((op = u->queue.head) && (sqe = io_uring_get_sqe(&u->ring))) {
		op_list_remove(&u->queue, op);
		submit(sqe, op);
	}
}

/* Show the kernel the new entries; returns how many it has not taken yet. */
static unsigned int publish(struct io_uring_sq *sq)
{
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

static unsigned int completions(const struct io_uring_cq *cq)
{
	return io_uring_smp_load_acquire(cq->ktail) - *cq->khead;
}

static bool overflow(const struct io_uring_sq *sq)
{
	return IO_URING_READ_ONCE(*sq->kflags) & IORING_SQ_CQ_OVERFLOW;
}

static int enter(struct uring *u, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = (long long)(timeout_ns / NS_PER_S),
		.tv_nsec = (long long)(timeout_ns % NS_PER_S),
	};
	struct io_uring_getevents_arg arg = {
		.ts = timeout_ns == UINT64_MAX ? 0 : (uintptr_t)&ts,
	};
	unsigned int wait = timeout_ns ? 1 : 0;

	refill(u);
	/* Do not sleep on what is there already or could not be submitted. */
	if (u->queue.head || u->cancels.head || completions(&u->ring.cq))
		wait = 0;

	int ret = io_uring_enter2(FD_LOOP, publish(&u->ring.sq), wait,
				  IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
				  (void *)&arg, sizeof(arg));

	/* Out of requests or of room for completions: reap, then try again. */
	if (ret == -ETIME || ret == -EINTR || ret == -EAGAIN || ret == -EBUSY)
		return 0;
	return MIN(ret, 0);
}

static void complete(struct uring *u, const struct io_uring_cqe *cqe)
{
	struct io_op *op = io_uring_cqe_get_data(cqe);
	const bool more = cqe->flags & IORING_CQE_F_MORE;
	int res = cqe->res;

	/* The entry is copied: done() may take long, the kernel needs room. */
	io_uring_cq_advance(&u->ring, 1);
	if (!op)
		return;
	if (op->listed && !more) {
		op_list_remove(&u->cancels, op);
		op->listed = false;
	}
	if (op->kind == OP_SLOT_SET)
		res = MIN(res, 0);
	/*
	 * A multishot poll ends without an error when its event finds no room,
	 * and with the first when the file has nothing to wait for: to go on
	 * would report it ready for ever. Same answer as from epoll.
	 */
	if (op->kind == OP_POLL && op->fresh && !more && res >= 0 &&
	    !u->overflow)
		res = -EPERM;
	op->fresh = false;
	loop_event(op, res, more);
}

static int wait_events(struct loop *l, uint64_t timeout_ns)
{
	struct uring *u = to_uring(l);
	struct io_uring_cq *cq = &u->ring.cq;
	bool before = overflow(&u->ring.sq);
	int ret = enter(u, timeout_ns);

	if (ret < 0)
		return ret;
	u->overflow = before || overflow(&u->ring.sq);
	/* Only what is there now, so that timers have their turn. */
	for (unsigned int n = completions(cq); n; n--)
		complete(u, &cq->cqes[*cq->khead & cq->ring_mask]);
	return 0;
}

/* The shared object of liburing 2.3 has no call of its own for this. */
static int enable(struct loop *l)
{
	return io_uring_register((unsigned int)to_uring(l)->ring.ring_fd,
				 IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static void free_uring(struct loop *l)
{
	struct uring *u = to_uring(l);

	io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct loop_ops ops = {
	.backend = LOOP_URING,
	.enable = enable,
	.start = start,
	.cancel = cancel,
	.wait = wait_events,
	.free = free_uring,
};

/*
 * Linux 6.1 has the first set of flags, 5.19 the second (and multishot accept);
 * anything older is left to epoll.
 */
static int create(struct io_uring *ring)
{
	static const unsigned int flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
	};
	int ret = -EINVAL;

	for (size_t i = 0; i < ARRAY_LEN(flags) && ret == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_R_DISABLED |
				 IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
				 IORING_SETUP_CQSIZE,
			.cq_entries = CQ_ENTRIES,
		};

		ret = io_uring_queue_init_params(SQ_ENTRIES, ring, &p);
	}
	return ret;
}

/* From the enabling on, all that this process can ever ask of its ring. */
static int restrict_ops(struct io_uring *ring)
{
	static const unsigned char allowed[] = {
		IORING_OP_POLL_ADD,	IORING_OP_ACCEPT,
		IORING_OP_RECV,		IORING_OP_SEND,
		IORING_OP_READV,	IORING_OP_WRITEV,
		IORING_OP_FSYNC,	IORING_OP_FALLOCATE,
		IORING_OP_FILES_UPDATE, IORING_OP_ASYNC_CANCEL,
	};
	struct io_uring_restriction r[ARRAY_LEN(allowed) + 1] = {0};

	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		r[i].opcode = IORING_RESTRICTION_SQE_OP;
		r[i].sqe_op = allowed[i];
	}
	r[ARRAY_LEN(allowed)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[ARRAY_LEN(allowed)].sqe_flags = IOSQE_FIXED_FILE;
	return io_uring_register((unsigned int)ring->ring_fd,
				 IORING_REGISTER_RESTRICTIONS, r, ARRAY_LEN(r));
}

static int seal(struct io_uring *ring)
{
	unsigned int workers[] = {MAX_WORKERS, MAX_WORKERS};
	int ret = io_uring_register_iowq_max_workers(ring, workers);

	if (!ret)
		ret = io_uring_register_files_sparse(ring, LOOP_SLOTS);
	if (!ret)
		ret = restrict_ops(ring);
	return ret;
}

static int init(struct uring *u, struct err *e)
{
	int ret = fds_move(u->ring.ring_fd, FD_LOOP, e);

	/* fds_move() has closed the old number in any case. */
	u->ring.ring_fd = ret < 0 ? -1 : FD_LOOP;
	u->ring.enter_ring_fd = u->ring.ring_fd;
	if (ret < 0)
		return ret;
	/* The index array stays the identity: entries are never reordered. */
	for (unsigned int i = 0; i < u->ring.sq.ring_entries; i++)
		u->ring.sq.array[i] = i;
	ret = seal(&u->ring);
	if (ret < 0)
		return err_code(e, ret, "Failed to restrict the io_uring");
	return 0;
}

int loop_uring_new(struct loop **l, struct err *e)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return err_sys(e, "Failed to create the event loop");

	int ret = create(&u->ring);

	if (ret < 0) {
		free(u);
		return err_code(e, ret, "Failed to create an io_uring");
	}
	u->loop.ops = &ops;
	ret = init(u, e);
	if (ret < 0) {
		free_uring(&u->loop);
		return ret;
	}
	*l = &u->loop;
	return 0;
}
