/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting, receiving and sending, on both backends. */
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

#define RACES 1000

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

struct canceller {
	struct io_op op;
	struct rec *victims[2];
};

static void cancel_victims(struct io_op *op, int res)
{
	struct canceller *c = container_of(op, struct canceller, op);

	if (res < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(c->victims); i++)
		loop_cancel(op->loop, &c->victims[i]->op);
	loop_cancel(op->loop, op);
}

/* The events are in the same batch as the call that cancels. */
static void events_behind_a_cancel_are_dropped(void **state)
{
	struct env *v = *state;
	struct sockaddr_un addr;
	socklen_t len;
	int lfd = listener(&addr, &len);
	int first = eventfd(0, EFD_NONBLOCK), second = eventfd(0, EFD_NONBLOCK);
	struct rec poll = REC, accept = REC;
	struct canceller c = {{.done = cancel_victims}, {&poll, &accept}};

	loop_poll(v->loop, &c.op, first, POLLIN);
	loop_poll(v->loop, &poll.op, second, POLLIN);
	loop_accept(v->loop, &accept.op, lfd);
	turns(v, 2);
	kick(first);
	kick(second);

	int fd = dial(&addr, len);

	TURN_UNTIL(v, !io_op_active(&c.op) && !io_op_active(&poll.op) &&
			      !io_op_active(&accept.op));
	assert_int_equal(poll.calls, 1);
	assert_int_equal(poll.last, -ECANCELED);
	assert_int_equal(accept.calls, 1);
	assert_int_equal(accept.last, -ECANCELED);
	(void)close(fd);
	(void)close(lfd);
	(void)close(first);
	(void)close(second);
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

/* Records the result; the operation's memory goes away. */
static void spoil(struct io_op *op, int res)
{
	struct rec *r = container_of(op, struct rec, op);

	r->calls++;
	r->last = res;
	memset(op, 0xa5, sizeof(*op));
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
		for (size_t i = 0; i < RACES; i++) {
			r[i] = (struct rec){.op.done = spoil};
			loop_recv(v->loop, &r[i].op, s[i][0], &buf[i], 1);
		}
		turns(v, round);
		/* The last to be cancelled are the first to have a result. */
		for (size_t i = RACES; i-- > 0;)
			assert_int_equal(send(s[i][1], "x", 1, 0), 1);
		for (size_t i = 0; i < RACES; i++)
			if (i % 3)
				loop_cancel(v->loop, &r[i].op);
		for (size_t i = 0; i < RACES; i++) {
			char c;

			TURN_UNTIL(v, r[i].calls);
			assert_int_equal(r[i].calls, 1);
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
	ON(accept_delivers_every_connection, on),                      \
		ON(events_behind_a_cancel_are_dropped, on),            \
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
