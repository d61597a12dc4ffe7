/* SPDX-License-Identifier: Apache-2.0 */
/* Polling, on both backends. */
#include "tests/base/loop_env.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fds.h"

#define MANY 10000

static void drain(int fd)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
}

static void poll_reports_every_edge_until_cancelled(void **state)
{
	struct env *v = *state;
	struct rec r = REC;
	int fd = eventfd(0, EFD_NONBLOCK);

	loop_poll(v->loop, &r.op, fd, POLLIN);
	turns(v, 3);
	assert_int_equal(r.calls, 0);
	for (unsigned int i = 1; i <= 50; i++) {
		const unsigned int before = r.calls;

		kick(fd);
		TURN_UNTIL(v, r.calls > before);
		assert_int_equal(r.last, POLLIN);
		drain(fd);
	}
	assert_true(io_op_active(&r.op));

	const unsigned int before = r.calls;

	loop_cancel(v->loop, &r.op);
	loop_cancel(v->loop, &r.op);
	kick(fd);
	TURN_UNTIL(v, !io_op_active(&r.op));
	assert_int_equal(r.calls, before + 1);
	assert_int_equal(r.last, -ECANCELED);
	kick(fd);
	loop_cancel(v->loop, &r.op);
	turns(v, 3);
	assert_int_equal(r.calls, before + 1);
	(void)close(fd);
}

static void poll_reports_the_state_at_its_start(void **state)
{
	struct env *v = *state;
	struct rec r = REC;
	int fd = eventfd(1, EFD_NONBLOCK);

	loop_poll(v->loop, &r.op, fd, POLLIN | POLLOUT);
	assert_int_equal(r.calls, 0);
	TURN_UNTIL(v, r.seen == (POLLIN | POLLOUT));
	/* Unread, it is no new edge. */
	turns(v, 20);
	assert_true(r.calls <= 3);
	rec_end(v, &r);
	(void)close(fd);
}

static void poll_of_a_hangup_does_not_spin(void **state)
{
	struct env *v = *state;
	struct rec r = REC, err = REC;
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_NONBLOCK) + pipe2(out, O_NONBLOCK), 0);
	loop_poll(v->loop, &r.op, in[0], POLLIN);
	loop_poll(v->loop, &err.op, out[1], POLLIN);
	turns(v, 2);
	(void)close(in[1]);
	(void)close(out[0]);
	TURN_UNTIL(v, r.seen & POLLHUP);
	TURN_UNTIL(v, err.seen & POLLERR);
	turns(v, 50);
	assert_true(r.calls <= 3);
	assert_true(err.calls <= 3);
	rec_end(v, &r);
	rec_end(v, &err);
	(void)close(in[0]);
	(void)close(out[1]);
}

static void poll_refuses_what_cannot_be_polled(void **state)
{
	struct env *v = *state;
	struct rec file = REC, closed = REC, null = REC;
	FILE *f = tmpfile();
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	loop_poll(v->loop, &file.op, fileno(f), POLLIN);
	loop_poll(v->loop, &null.op, fd, POLLIN);
	loop_poll(v->loop, &closed.op, -1, POLLIN);
	TURN_UNTIL(v, file.calls && null.calls && closed.calls);
	assert_int_equal(file.last, -EPERM);
	assert_int_equal(null.last, -EPERM);
	assert_int_equal(closed.last, -EBADF);
	assert_false(io_op_active(&file.op) || io_op_active(&null.op));
	(void)fclose(f);
	(void)close(fd);
}

static void every_operation_on_a_descriptor_is_told(void **state)
{
	struct env *v = *state;
	struct rec *r = rec_new(20);
	int fd = eventfd(0, EFD_NONBLOCK);

	for (size_t i = 0; i < 20; i++)
		loop_poll(v->loop, &r[i].op, fd, i % 2 ? POLLIN : POLLOUT);
	for (size_t i = 0; i < 20; i += 2)
		TURN_UNTIL(v, r[i].seen == POLLOUT);
	for (size_t i = 0; i < 10; i++)
		rec_end(v, &r[i]);
	kick(fd);
	for (size_t i = 11; i < 20; i += 2)
		TURN_UNTIL(v, r[i].seen == POLLIN);
	for (size_t i = 10; i < 20; i++)
		rec_end(v, &r[i]);
	for (size_t i = 1; i < 10; i += 2)
		assert_int_equal(r[i].seen, 0);
	free(r);
	(void)close(fd);
}

/* Far more than the queues of a ring hold, in both directions. */
static void poll_serves_ten_thousand_descriptors(void **state)
{
	struct env *v = *state;
	size_t n = raise_limit() - FDS_END - 20;

	if (n > MANY)
		n = MANY;

	struct rec *r = rec_new(n);
	unsigned int before = 0;

	for (size_t i = 0; i < n; i++) {
		int fd = eventfd(0, EFD_NONBLOCK);

		assert_true(fd >= 0);
		loop_poll(v->loop, &r[i].op, fd, POLLIN);
	}
	turns(v, 3);
	for (unsigned int round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++)
			kick(r[i].op.fd);
		for (size_t i = 0; i < n; i++) {
			TURN_UNTIL(v, r[i].calls > before);
			assert_int_equal(r[i].last, POLLIN);
			drain(r[i].op.fd);
		}
		before = 1;
	}
	for (size_t i = 0; i < n; i++) {
		kick(r[i].op.fd);
		loop_cancel(v->loop, &r[i].op);
	}
	for (size_t i = 0; i < n; i++) {
		TURN_UNTIL(v, !io_op_active(&r[i].op));
		assert_int_equal(r[i].last, -ECANCELED);
		(void)close(r[i].op.fd);
	}
	free(r);
}

#define TESTS(on)                                                \
	ON(poll_reports_every_edge_until_cancelled, on),         \
		ON(poll_reports_the_state_at_its_start, on),     \
		ON(poll_of_a_hangup_does_not_spin, on),          \
		ON(poll_refuses_what_cannot_be_polled, on),      \
		ON(every_operation_on_a_descriptor_is_told, on), \
		ON(poll_serves_ten_thousand_descriptors, on)

int main(void)
{
	const struct CMUnitTest uring[] = {TESTS(uring)};
	const struct CMUnitTest epoll[] = {TESTS(epoll)};

	return RUN_ON_BOTH(uring, epoll);
}
