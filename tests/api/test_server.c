/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/api/server_fixture.h"

#define ERROR_TAIL "\nAll previous unanswered requests will be dropped.\" }"

static void replies_are_the_contracts_bytes(void **state)
{
	struct fixture *f = fixture(state);
	int fd = client(f);

	say(fd, GET("/v"));
	expect(f, fd, HEAD_OF("200") JSON("2") "\r\n/v");
	say(fd, "PUT /x HTTP/1.1\r\n\r\n");
	expect(f, fd, HEAD_OF("204") "\r\n");
	say(fd, GET("/old"));
	expect(f, fd,
	       HEAD_OF("400") "Deprecation: true\r\n" JSON("2") "\r\n{}");
	say(fd, GET("/large"));
	expect(f, fd, HEAD_OF("413") JSON("2") "\r\n{}");
	say(fd, "PUT /x HTTP/1.0\r\nContent-Length: 4\r\n\r\n[17]");
	expect(f, fd, HEAD_OF("200") JSON("4") "\r\n[17]");
	expect_silence(f, fd, 2 * NS_PER_MS);
	close(fd);
}

static void thousand_requests_at_once_are_answered_in_order(void **state)
{
	enum { N = 1000 };
	struct fixture *f = fixture(state);
	static char all[N * 32];
	size_t len = 0;
	int fd = client(f);

	for (int i = 0; i < N; i++)
		len += (size_t)snprintf(all + len, sizeof(all) - len,
					GET("/%03d"), i);
	say(fd, all);
	for (int i = 0; i < N; i++) {
		char want[256];

		(void)snprintf(want, sizeof(want),
			       HEAD_OF("200") JSON("4") "\r\n/%03d", i);
		expect(f, fd, want);
	}
	assert_int_equal(f->handled, N);
	close(fd);
}

static void requests_of_all_clients_wait_in_one_line(void **state)
{
	struct fixture *f = fixture(state);
	int a = client(f), b = client(f), c = client(f);

	say(a, GET("/hold"));
	wait_handled(f, 1);
	say(b, GET("/b") GET("/d"));
	turns_for(f, 2 * NS_PER_MS);
	say(c, GET("/c"));
	turns_for(f, 2 * NS_PER_MS);
	assert_int_equal(f->handled, 1);

	release(f);
	/* Never from inside server_reply(). */
	assert_int_equal(f->handled, 1);
	expect(f, a, REPLY("/h"));
	expect(f, b, REPLY("/b") REPLY("/d"));
	expect(f, c, REPLY("/c"));
	close(a);
	close(b);
	close(c);
}

static void bodies_come_whole_however_they_are_cut(void **state)
{
	struct fixture *f = fixture(state);
	static char body[MAX_BODY], got[MAX_BODY];
	static const char head[] = HEAD_OF("200") JSON("51200") "\r\n";
	int fd = client(f);

	memset(body, 'b', sizeof(body));
	say(fd, "PUT /x HTTP/1.1\r\nContent-Length: 51200\r\n\r\n");
	for (size_t at = 0; at < sizeof(body); at += 5120) {
		assert_int_equal(send(fd, body + at, 5120, MSG_NOSIGNAL), 5120);
		turns_for(f, NS_PER_MS);
	}
	expect(f, fd, head);
	assert_int_equal(hear(f, fd, got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, body, sizeof(body));
	expect_served(f, fd);
	close(fd);
}

static void bad_line_takes_back_requests_of_the_same_read(void **state)
{
	struct fixture *f = fixture(state);
	int fd = client(f);

	say(fd, GET("/v") "GET / HTTP/3\r\n\r\n" GET("/v"));
	expect(f, fd,
	       HEAD_OF("400") JSON(
		       "112") "\r\n{ \"error\": \"Invalid HTTP "
			      "Version: Unsupported HTTP version." ERROR_TAIL);
	expect_silence(f, fd, 5 * NS_PER_MS);
	assert_int_equal(f->handled, 0);
	expect_served(f, fd);
	close(fd);
}

static void bad_header_closes_after_the_reply(void **state)
{
	struct fixture *f = fixture(state);
	int fd = client(f);

	say(fd, GET("/v") "GET /v HTTP/1.1\r\nFoo\r\n\r\n" GET("/v"));
	expect(f, fd,
	       HEAD_OF("400") JSON("130") "\r\n{ \"error\": \"Invalid header. "
					  "Reason: Header is incorrectly "
					  "formatted. Key: Foo" ERROR_TAIL);
	expect_closed(f, fd);
	assert_int_equal(f->handled, 0);
	close(fd);
}

static void client_that_still_sends_hears_why_it_is_closed(void **state)
{
	struct fixture *f = fixture(state);
	static char body[1 << 18];
	size_t left = sizeof(body);
	int fd = client(f);

	say(fd, "PUT /x HTTP/1.1\r\nContent-Length: 262144\r\n\r\n");
	while (left) {
		ssize_t n = send(fd, body, left, MSG_NOSIGNAL);

		assert_true(n > 0 || errno == EAGAIN);
		if (n > 0)
			left -= (size_t)n;
		turn(f, NS_PER_MS);
	}
	expect(f, fd,
	       HEAD_OF("400") JSON("150") "\r\n{ \"error\": \"Request payload "
					  "with size 262144 is larger than the "
					  "limit of 51200 allowed by "
					  "server." ERROR_TAIL);
	expect_closed(f, fd);
	close(fd);
}

static void expect_gets_its_100_in_order(void **state)
{
#define EXPECTING \
	"PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
	struct fixture *f = fixture(state);
	int fd = client(f);

	say(fd, EXPECTING);
	expect(f, fd, CONTINUE);
	expect_silence(f, fd, 2 * NS_PER_MS);
	say(fd, "{}");
	expect(f, fd, REPLY("{}"));

	say(fd, GET("/v") EXPECTING);
	expect(f, fd, REPLY("/v") CONTINUE);
	say(fd, "[]" GET("/w"));
	expect(f, fd, REPLY("[]") REPLY("/w"));

	say(fd, EXPECTING "{}" GET("/v"));
	expect(f, fd, CONTINUE REPLY("{}") REPLY("/v"));
	close(fd);
}

static void half_closed_client_gets_its_replies(void **state)
{
	struct fixture *f = fixture(state);
	int fd = client(f);

	say(fd, GET("/v") GET("/w"));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect(f, fd, REPLY("/v") REPLY("/w"));
	expect_closed(f, fd);
	close(fd);
}

static void clients_may_die_at_any_moment(void **state)
{
	struct fixture *f = fixture(state);
	int fd = client(f);

	close(fd); /* before it was accepted */
	fd = client(f);
	say(fd, "GET /v HT");
	turns_for(f, 2 * NS_PER_MS);
	close(fd); /* in a request */
	fd = client(f);
	say(fd, GET("/hold"));
	wait_handled(f, 1);
	close(fd); /* while it is handled */
	turns_for(f, 2 * NS_PER_MS);
	release(f);
	fd = client(f);
	say(fd, GET("/big"));
	wait_handled(f, 2);
	turns_for(f, 2 * NS_PER_MS);
	close(fd); /* while the reply is on its way */

	fd = client(f);
	expect_served(f, fd);
	assert_int_equal(f->server.n_conns, 1);
	close(fd);
}

static void descriptors_sent_along_are_dropped(void **state)
{
	struct fixture *f = fixture(state);
	char control[CMSG_SPACE(sizeof(int))] = {0};
	char text[] = GET("/v");
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd = client(f), pipes[2];
	char byte;

	expect_served(f, fd);
	assert_int_equal(pipe(pipes), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &pipes[1], sizeof(int));
	assert_int_equal(sendmsg(fd, &msg, 0), iov.iov_len);
	close(pipes[1]);

	size_t before = count_fds();

	expect(f, fd, REPLY("/v"));
	assert_int_equal(count_fds(), before);
	/* Nobody holds the other end any more. */
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	close(fd);
}

static void stop_ends_whatever_is_going_on(void **state)
{
	struct fixture *f = fixture(state);
	int idle = client(f), begun = client(f), held = client(f);
	int queued = client(f), deaf = client(f), got = client(f);

	say(deaf, GET("/big"));
	wait_handled(f, 1);
	say(begun, "GET /");
	say(held, GET("/hold"));
	wait_handled(f, 2);
	say(queued, GET("/v"));
	turns_for(f, 2 * NS_PER_MS);
	release(f);
	say(got, GET("/hold"));
	wait_handled(f, 4);

	stop(f);
	/* Nobody is there to be answered. */
	server_reply(&f->server, 204, false, NULL, 0);
	expect(f, held, REPLY("/h"));
	expect_closed(f, held);
	expect_closed(f, idle);
	expect_closed(f, begun);
	expect_closed(f, got);
	close(idle);
	close(begun);
	close(held);
	close(queued);
	close(deaf);
	close(got);
}

static void last_reply_arrives_although_the_server_stops(void **state)
{
	static char got[BIG_BYTES];
	struct fixture *f = fixture(state);
	int fd = client(f);

	say(fd, GET("/big"));
	wait_handled(f, 1);
	server_stop(&f->server, on_stopped);
	expect(f, fd, HEAD_OF("200") JSON("1048576") "\r\n");
	assert_int_equal(hear(f, fd, got, sizeof(got)), sizeof(got));
	wait_stopped(f);
	expect_closed(f, fd);
	close(fd);
}

static void bind_tells_what_clients_expect(void **state)
{
	struct fixture *f = fixture(state);
	struct err e = {0};
	char path[256];
	struct stat st;

	assert_int_equal(server_bind(f->path, &e), -EADDRINUSE);
	assert_string_equal(e.text, "Address in use (os error 98)");
	assert_int_equal(server_bind(f->dir, &e), -EADDRINUSE);
	assert_int_equal(server_bind("/tmp/missing-dir/s", &e), -ENOENT);
	assert_string_equal(e.text, "No such file or directory (os error 2)");

	memset(path, 'a', sizeof(path));
	memcpy(path, f->dir, strlen(f->dir));
	path[strlen(f->dir)] = '/';
	path[108] = '\0';
	assert_int_equal(server_bind(path, &e), -ENAMETOOLONG);

	/* The failures above left the server's own descriptor alone. */
	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	int fd = client(f);

	expect_served(f, fd);
	close(fd);

	stop(f);
	path[107] = '\0';
	fd = server_bind(path, &e);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(replies_are_the_contracts_bytes),
		ON_BOTH(thousand_requests_at_once_are_answered_in_order),
		ON_BOTH(requests_of_all_clients_wait_in_one_line),
		ON_BOTH(bodies_come_whole_however_they_are_cut),
		ON_BOTH(bad_line_takes_back_requests_of_the_same_read),
		ON_BOTH(bad_header_closes_after_the_reply),
		ON_BOTH(client_that_still_sends_hears_why_it_is_closed),
		ON_BOTH(expect_gets_its_100_in_order),
		ON_BOTH(half_closed_client_gets_its_replies),
		ON_BOTH(clients_may_die_at_any_moment),
		ON_BOTH(descriptors_sent_along_are_dropped),
		ON_BOTH(stop_ends_whatever_is_going_on),
		ON_BOTH(last_reply_arrives_although_the_server_stops),
		ON_BOTH(bind_tells_what_clients_expect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
