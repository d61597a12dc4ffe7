/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seal on the ring, and what happens where the kernel forbids io_uring.
 *
 * The seal is tested as an intruder would try it: by a second mapping of the
 * loop's ring, from the loop thread. Its geometry is that of any ring made with
 * the same parameters.
 */
#include "tests/base/loop_env.h"

#include <errno.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fds.h"

#define SQ_ENTRIES 256
#define CQ_ENTRIES 1024
#define OPCODES	   256

struct intruder {
	struct loop *loop;
	struct io_uring ring;
};

static int setup(void **state)
{
	static struct intruder in;
	struct io_uring_params p = {
		.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	struct err e;

	if (loop_new(&in.loop, LOOP_URING, NULL, &e) < 0 ||
	    loop_turn(in.loop, 0) < 0)
		return -1;

	int fd = io_uring_setup(SQ_ENTRIES, &p);

	if (fd < 0)
		return -1;
	(void)close(fd);
	memset(&in.ring, 0, sizeof(in.ring));
	if (io_uring_queue_mmap(FD_LOOP, &p, &in.ring) < 0)
		return -1;
	in.ring.sq.sqe_tail = *in.ring.sq.ktail;
	in.ring.sq.sqe_head = in.ring.sq.sqe_tail;
	*state = &in;
	return 0;
}

static int teardown(void **state)
{
	struct intruder *in = *state;

	/* Closes FD_LOOP, which both mappings are of. */
	io_uring_queue_exit(&in->ring);
	(void)dup2(2, FD_LOOP);
	loop_free(in->loop);
	return 0;
}

static int run(struct io_uring *ring, unsigned char op, unsigned char flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	if (!sqe)
		return -EAGAIN;
	*sqe = (struct io_uring_sqe){
		.opcode = op,
		.fd = -1,
		.flags = flags,
		.user_data = 1,
	};
	assert_int_equal(io_uring_submit_and_wait(ring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->user_data, 1);

	int res = cqe->res;

	io_uring_cqe_seen(ring, cqe);
	return res;
}

static bool used_by_the_loop(unsigned int op)
{
	static const unsigned int used[] = {
		IORING_OP_POLL_ADD,	IORING_OP_ACCEPT,
		IORING_OP_RECV,		IORING_OP_SEND,
		IORING_OP_READV,	IORING_OP_WRITEV,
		IORING_OP_FSYNC,	IORING_OP_FALLOCATE,
		IORING_OP_FILES_UPDATE, IORING_OP_ASYNC_CANCEL,
	};

	for (size_t i = 0; i < ARRAY_LEN(used); i++)
		if (used[i] == op)
			return true;
	return false;
}

static void other_opcodes_are_refused(void **state)
{
	struct intruder *in = *state;

	for (unsigned int op = 0; op < OPCODES; op++) {
		int res = run(&in->ring, (unsigned char)op, 0);

		if (used_by_the_loop(op))
			assert_int_not_equal(res, -EACCES);
		else
			assert_true(res == -EACCES || res == -EINVAL);
		/* The kernel knows these, so it is the seal that refuses. */
		if (op <= IORING_OP_SENDMSG_ZC && !used_by_the_loop(op))
			assert_int_equal(res, -EACCES);
	}
}

static void other_flags_are_refused(void **state)
{
	struct intruder *in = *state;

	/* The eighth bit means nothing to any kernel so far. */
	for (unsigned int bit = 0; bit < 7; bit++) {
		int res = run(&in->ring, IORING_OP_READV,
			      (unsigned char)(1U << bit));

		if (1U << bit == IOSQE_FIXED_FILE)
			assert_int_equal(res, -EBADF);
		else
			assert_int_equal(res, -EACCES);
	}
}

static void every_register_call_is_refused(void **state)
{
	struct intruder *in = *state;
	struct io_uring_restriction r = {0};
	char probe[sizeof(struct io_uring_probe) +
		   256 * sizeof(struct io_uring_probe_op)] = {0};
	int fd = 0;

	(void)in;
	assert_int_equal(io_uring_register(
				 FD_LOOP, IORING_REGISTER_FILES_UPDATE, &fd, 1),
			 -EACCES);
	assert_int_equal(
		io_uring_register(FD_LOOP, IORING_REGISTER_PROBE, probe, 256),
		-EACCES);
	assert_int_equal(
		io_uring_register(FD_LOOP, IORING_REGISTER_RESTRICTIONS, &r, 1),
		-EACCES);
	for (unsigned int op = 0; op < IORING_REGISTER_LAST; op++)
		assert_true(io_uring_register(FD_LOOP, op, NULL, 0) < 0);
}

/*
 * A poll is ended by the kernel, without an error, by the wake-up that another
 * ring makes: the loop goes on with it.
 */
static void a_poll_that_the_kernel_ends_goes_on(void **state)
{
	struct env v = {0};
	struct rec r = REC;
	struct io_uring other;
	struct err e;
	int fd = eventfd(1, EFD_NONBLOCK);

	(void)state;
	assert_int_equal(loop_new(&v.loop, LOOP_URING, NULL, &e), 0);
	assert_int_equal(io_uring_queue_init(8, &other, 0), 0);
	assert_int_equal(io_uring_register_eventfd(&other, fd), 0);
	loop_poll(v.loop, &r.op, fd, POLLIN);
	TURN_UNTIL(&v, r.calls);
	for (unsigned int i = 0; i < 8; i++) {
		const unsigned int before = r.calls;

		assert_int_equal(run(&other, IORING_OP_NOP, 0), 0);
		TURN_UNTIL(&v, r.calls > before);
		turns(&v, 3);
		assert_int_equal(r.last, POLLIN);
	}
	rec_end(&v, &r);
	io_uring_queue_exit(&other);
	loop_free(v.loop);
	(void)close(fd);
}

/* A system call that is refused, for this second argument unless it is -1. */
struct refused {
	unsigned int nr;
	int arg;
	int err;
};

/* In a child, from now on. */
static void forbid(const struct refused *r)
{
	const unsigned short test = r->arg < 0 ? BPF_JGE : BPF_JEQ;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r->nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | test | BPF_K,
			 r->arg < 0 ? 0 : (unsigned int)r->arg, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)r->err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {ARRAY_LEN(code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(3);
}

/* What loop_new() makes: 0 is epoll, 1 the refusal as an error. */
static int outcome_of(enum loop_backend want, const struct refused *r)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct loop *l;
		struct err e;

		forbid(r);
		if (loop_new(&l, want, NULL, &e) < 0)
			_exit(e.code == -r->err && strstr(e.text, "io_uring")
				      ? 1
				      : 2);
		if (loop_turn(l, 0) < 0)
			_exit(3);
		_exit(loop_backend_of(l) == LOOP_EPOLL ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int outcome(enum loop_backend want, int err)
{
	return outcome_of(want, &(struct refused){SYS_io_uring_setup, -1, err});
}

static void auto_falls_back_where_io_uring_is_forbidden(void **state)
{
	(void)state;
	assert_int_equal(outcome(LOOP_AUTO, ENOSYS), 0);
	assert_int_equal(outcome(LOOP_AUTO, EPERM), 0);
	assert_int_equal(outcome(LOOP_AUTO, EACCES), 0);
	assert_int_equal(outcome(LOOP_EPOLL, EPERM), 0);
	assert_int_equal(outcome(LOOP_URING, EPERM), 1);
	/* Out of memory is an error, not a policy. */
	assert_int_equal(outcome(LOOP_AUTO, ENOMEM), 1);
}

/* A ring that could not be sealed is none. */
static void an_unsealed_ring_is_not_used(void **state)
{
	static const int calls[] = {-1, IORING_REGISTER_IOWQ_MAX_WORKERS,
				    IORING_REGISTER_FILES2,
				    IORING_REGISTER_RESTRICTIONS};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct refused r = {SYS_io_uring_register, calls[i], EPERM};

		assert_int_equal(outcome_of(LOOP_AUTO, &r), 0);
		assert_int_equal(outcome_of(LOOP_URING, &r), 1);
		r.err = EIO;
		assert_int_equal(outcome_of(LOOP_AUTO, &r), 1);
	}
}

int main(void)
{
	const struct CMUnitTest sealed[] = {
		cmocka_unit_test_setup_teardown(other_opcodes_are_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(other_flags_are_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(every_register_call_is_refused,
						setup, teardown),
		cmocka_unit_test(a_poll_that_the_kernel_ends_goes_on),
		cmocka_unit_test(an_unsealed_ring_is_not_used),
	};
	const struct CMUnitTest fallback[] = {
		cmocka_unit_test(auto_falls_back_where_io_uring_is_forbidden),
	};

	return (uring_allowed() ? cmocka_run_group_tests(sealed, NULL, NULL)
				: 0) +
	       cmocka_run_group_tests(fallback, NULL, NULL);
}
