/* SPDX-License-Identifier: Apache-2.0 */
/* Polling, accepting, receiving and sending, on both backends. */
#include "tests/base/loop_env.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fds.h"

#define MANY  10000
#define RACES 1000

static void kick(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

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

/* As many descriptors as the machine allows; returns how many these are. */
static size_t raise_limit(void)
{
	struct rlimit lim;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = lim.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
	return lim.rlim_max;
}

/* Far more than the queues of a ring hold, in both directions. */
static void poll_serves_ten_thousand_descriptors(void **state)
{
	struct env *v = *state;
	const size_t n = MIN((size_t)MANY, raise_limit() - FDS_END - 20);
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

/* A non-blocking listener on an abstract address that the kernel chooses. */
static int listener(struct sockaddr_un *addr, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(sa_family_t)),
			 0);
	*len = sizeof(*addr);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static int dial(const struct sockaddr_un *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)addr, len), 0);
	return fd;
}

static void accept_delivers_every_connection(void **state)
{
	struct env *v = *state;
	struct sockaddr_un addr;
	socklen_t len;
	int lfd = listener(&addr, &len);
	struct rec r = REC;

	loop_accept(v->loop, &r.op, lfd);
	turns(v, 2);
	assert_int_equal(r.calls, 0);
	for (unsigned int i = 1; i <= 30; i++) {
		int fd = dial(&addr, len);

		TURN_UNTIL(v, r.calls == i);
		assert_true(r.last >= 0);
		assert_true(fcntl(r.last, F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(r.last, F_GETFL) & O_NONBLOCK);
		assert_int_equal(send(fd, "x", 1, 0), 1);
		char c;
		assert_int_equal(read(r.last, &c, 1), 1);
		(void)close(r.last);
		(void)close(fd);
	}
	assert_true(io_op_active(&r.op));
	loop_cancel(v->loop, &r.op);

	int fd = dial(&addr, len);

	TURN_UNTIL(v, !io_op_active(&r.op));
	assert_int_equal(r.last, -ECANCELED);
	turns(v, 3);
	assert_int_equal(r.calls, 31);
	(void)close(fd);
	(void)close(lfd);
}

static void accept_ends_when_the_descriptor_table_is_full(void **state)
{
	struct env *v = *state;
	struct sockaddr_un addr;
	socklen_t len;
	int lfd = listener(&addr, &len);
	int fd = dial(&addr, len);
	struct rlimit lim, none;
	struct rec r = REC;

	turns(v, 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = lim.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	loop_accept(v->loop, &r.op, lfd);
	TURN_UNTIL(v, r.calls);
	turns(v, 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
	assert_int_equal(r.calls, 1);
	assert_int_equal(r.last, -EMFILE);
	assert_false(io_op_active(&r.op));

	loop_accept(v->loop, &r.op, lfd);
	TURN_UNTIL(v, r.calls == 2);
	assert_true(r.last >= 0);
	(void)close(r.last);
	rec_end(v, &r);
	(void)close(fd);
	(void)close(lfd);
}

static void recv_waits_for_data_and_end(void **state)
{
	struct env *v = *state;
	struct rec r = REC;
	char buf[16];
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s),
			 0);
	loop_recv(v->loop, &r.op, s[0], buf, sizeof(buf));
	turns(v, 3);
	assert_int_equal(r.calls, 0);
	assert_int_equal(send(s[1], "hello", 5, 0), 5);
	TURN_UNTIL(v, r.calls == 1);
	assert_int_equal(r.last, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_false(io_op_active(&r.op));

	/* Data that is there already still goes through done(). */
	assert_int_equal(send(s[1], "again", 5, 0), 5);
	loop_recv(v->loop, &r.op, s[0], buf, 2);
	assert_int_equal(r.calls, 1);
	TURN_UNTIL(v, r.calls == 2);
	assert_int_equal(r.last, 2);

	loop_recv(v->loop, &r.op, s[0], buf, sizeof(buf));
	TURN_UNTIL(v, r.calls == 3);
	assert_int_equal(r.last, 3);
	loop_recv(v->loop, &r.op, s[0], buf, sizeof(buf));
	turns(v, 2);
	(void)close(s[1]);
	TURN_UNTIL(v, r.calls == 4);
	assert_int_equal(r.last, 0);

	loop_send(v->loop, &r.op, s[0], buf, 1);
	TURN_UNTIL(v, r.calls == 5);
	assert_int_equal(r.last, -EPIPE);
	(void)close(s[0]);
}

static void recv_can_be_cancelled(void **state)
{
	struct env *v = *state;
	struct rec r = REC;
	char buf[16];
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	for (unsigned int turned = 0; turned < 3; turned++) {
		r.calls = 0;
		loop_recv(v->loop, &r.op, s[0], buf, sizeof(buf));
		turns(v, turned);
		rec_end(v, &r);
		assert_int_equal(r.last, -ECANCELED);
		assert_int_equal(r.calls, 1);
	}
	/* What comes now belongs to the next one. */
	assert_int_equal(send(s[1], "hello", 5, 0), 5);
	loop_recv(v->loop, &r.op, s[0], buf, sizeof(buf));
	TURN_UNTIL(v, r.calls == 2);
	assert_int_equal(r.last, 5);

	/* The result wins, or the cancel does: then nothing is lost. */
	for (unsigned int i = 0; i < 200; i++) {
		loop_recv(v->loop, &r.op, s[0], buf, sizeof(buf));
		if (i % 3)
			turns(v, 1);
		assert_int_equal(send(s[1], "x", 1, 0), 1);
		rec_end(v, &r);
		if (r.last == -ECANCELED)
			assert_int_equal(recv(s[0], buf, 2, MSG_DONTWAIT), 1);
		else
			assert_int_equal(r.last, 1);
	}
	(void)close(s[0]);
	(void)close(s[1]);
}

/* More results and cancels at once than the queues of a ring hold. */
static void cancels_and_results_race(void **state)
{
	struct env *v = *state;
	struct rec *r = rec_new(RACES);
	int(*s)[2] = calloc(RACES, sizeof(*s));
	char buf[RACES];

	assert_non_null(s);
	raise_limit();
	for (size_t i = 0; i < RACES; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]), 0);
	for (unsigned int round = 0; round < 8; round++) {
		for (size_t i = 0; i < RACES; i++)
			loop_recv(v->loop, &r[i].op, s[i][0], &buf[i], 1);
		turns(v, round);
		for (size_t i = 0; i < RACES; i++) {
			assert_int_equal(send(s[i][1], "x", 1, 0), 1);
			if (i % 3)
				loop_cancel(v->loop, &r[i].op);
		}
		for (size_t i = 0; i < RACES; i++) {
			char c;

			TURN_UNTIL(v, !io_op_active(&r[i].op));
			assert_int_equal(r[i].calls, round + 1);
			assert_true(r[i].last == 1 ||
				    (i % 3 && r[i].last == -ECANCELED));
			assert_int_equal(recv(s[i][0], &c, 1, MSG_DONTWAIT),
					 r[i].last == 1 ? -1 : 1);
		}
	}
	for (size_t i = 0; i < RACES; i++) {
		(void)close(s[i][0]);
		(void)close(s[i][1]);
	}
	free(s);
	free(r);
}

struct transfer {
	struct io_op op;
	int fd;
	char *buf;
	size_t size;
	size_t moved;
};

static void sent(struct io_op *op, int res)
{
	struct transfer *t = container_of(op, struct transfer, op);

	assert_true(res > 0);
	t->moved += (size_t)res;
	if (t->moved < t->size)
		loop_send(op->loop, op, t->fd, t->buf + t->moved,
			  t->size - t->moved);
}

static void received(struct io_op *op, int res)
{
	struct transfer *t = container_of(op, struct transfer, op);

	assert_true(res > 0);
	t->moved += (size_t)res;
	if (t->moved < t->size)
		loop_recv(op->loop, op, t->fd, t->buf + t->moved,
			  t->size - t->moved);
}

/* Both directions of one pair at once, with more than its buffers hold. */
static void a_socket_sends_and_receives_at_once(void **state)
{
	struct env *v = *state;
	struct transfer t[4] = {0};
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s),
			 0);
	for (unsigned int i = 0; i < 4; i++) {
		t[i].fd = s[i % 2];
		t[i].size = 4 * MIB;
		t[i].buf = calloc(1, t[i].size);
		assert_non_null(t[i].buf);
	}
	for (size_t i = 0; i < t[0].size; i++) {
		t[0].buf[i] = (char)(i * 7);
		t[1].buf[i] = (char)(i * 13);
	}
	for (unsigned int i = 0; i < 4; i++) {
		t[i].op.done = i < 2 ? sent : received;
		if (i < 2)
			loop_send(v->loop, &t[i].op, t[i].fd, t[i].buf,
				  t[i].size);
		else
			loop_recv(v->loop, &t[i].op, t[i].fd, t[i].buf,
				  t[i].size);
	}
	for (unsigned int i = 0; i < 4; i++)
		TURN_UNTIL(v, t[i].moved == t[i].size);
	assert_memory_equal(t[0].buf, t[3].buf, t[0].size);
	assert_memory_equal(t[1].buf, t[2].buf, t[0].size);
	for (unsigned int i = 0; i < 4; i++)
		free(t[i].buf);
	(void)close(s[0]);
	(void)close(s[1]);
}

#define TESTS(on)                                                      \
	ON(poll_reports_every_edge_until_cancelled, on),               \
		ON(poll_reports_the_state_at_its_start, on),           \
		ON(poll_of_a_hangup_does_not_spin, on),                \
		ON(poll_refuses_what_cannot_be_polled, on),            \
		ON(every_operation_on_a_descriptor_is_told, on),       \
		ON(poll_serves_ten_thousand_descriptors, on),          \
		ON(accept_delivers_every_connection, on),              \
		ON(accept_ends_when_the_descriptor_table_is_full, on), \
		ON(recv_waits_for_data_and_end, on),                   \
		ON(recv_can_be_cancelled, on),                         \
		ON(cancels_and_results_race, on),                      \
		ON(a_socket_sends_and_receives_at_once, on)

int main(void)
{
	const struct CMUnitTest uring[] = {TESTS(uring)};
	const struct CMUnitTest epoll[] = {TESTS(epoll)};

	return RUN_ON_BOTH(uring, epoll);
}
