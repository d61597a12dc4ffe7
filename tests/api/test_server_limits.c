/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that are slow, deaf or many, and a process short of descriptors. */
#include "tests/api/server_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>

#define FULL                                                               \
	"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\n" \
	"Content-Length: 40\r\n\r\n{ \"error\": \"Too many open "          \
	"connections\" }"

static void slow_client_holds_up_nobody(void **state)
{
	struct fixture *f = fixture(state);
	const char *text = GET("/v");
	int slow = client(f), fd = client(f);

	for (size_t i = 0; text[i]; i++) {
		assert_int_equal(send(slow, text + i, 1, MSG_NOSIGNAL), 1);
		expect_served(f, fd);
	}
	expect(f, slow, REPLY("/v"));
	close(slow);
	close(fd);
}

static void begun_request_has_its_time_however_it_drips(void **state)
{
	struct fixture *f = fixture(state);
	int idle = client(f), slow = client(f), body = client(f);
	uint64_t start = clock_now_ns();
	bool later = false;
	ssize_t n = 1;

	f->server.request_ns = 50 * NS_PER_MS;
	while (n == 1 && clock_now_ns() - start < NS_PER_S) {
		n = send(slow, "G", 1, MSG_NOSIGNAL);
		turns_for(f, 5 * NS_PER_MS);
		if (!later)
			say(body,
			    "PUT /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n{");
		later = true;
	}
	assert_int_equal(n, -1);
	assert_true(clock_now_ns() - start >= 50 * NS_PER_MS);
	expect_closed(f, slow);
	expect_closed(f, body);
	assert_int_equal(f->server.n_conns, 1);
	expect_served(f, idle);
	close(idle);
	close(slow);
	close(body);
}

static void time_runs_only_for_a_begun_request(void **state)
{
	struct fixture *f = fixture(state);
	int fd = client(f);

	f->server.request_ns = 100 * NS_PER_MS;
	expect_served(f, fd);
	expect_silence(f, fd, 130 * NS_PER_MS);
	say(fd, "GET /v HT");
	turns_for(f, 2 * NS_PER_MS);
	say(fd, "TP/1.1\r\n\r\n");
	expect(f, fd, REPLY("/v"));
	expect_silence(f, fd, 130 * NS_PER_MS);

	/* The second has begun, but it is the first that takes so long. */
	say(fd, GET("/hold") "GET /w HT");
	wait_handled(f, 3);
	expect_silence(f, fd, 130 * NS_PER_MS);
	release(f);
	expect(f, fd, REPLY("/h"));
	say(fd, "TP/1.1\r\n\r\n");
	expect(f, fd, REPLY("/w"));
	close(fd);
}

static void open_all(struct fixture *f, int *fds)
{
	for (int i = 0; i < SERVER_MAX_CONNS; i++)
		fds[i] = client(f);
	for (int i = 0; i < 100 && f->server.n_conns < SERVER_MAX_CONNS; i++)
		turn(f, NS_PER_MS);
	assert_int_equal(f->server.n_conns, SERVER_MAX_CONNS);
}

static void close_all(const int *fds)
{
	for (int i = 0; i < SERVER_MAX_CONNS; i++)
		close(fds[i]);
}

static void client_65_is_refused_and_64_go_on(void **state)
{
	struct fixture *f = fixture(state);
	int fds[SERVER_MAX_CONNS], late;

	open_all(f, fds);
	late = client(f);
	expect(f, late, FULL);
	expect_closed(f, late);
	close(late);
	for (int i = 0; i < SERVER_MAX_CONNS; i++)
		expect_served(f, fds[i]);

	/* A place that is left is free at once. */
	close(fds[7]);
	turns_for(f, 5 * NS_PER_MS);
	fds[7] = client(f);
	expect_served(f, fds[7]);
	close_all(fds);
}

/* Less than the reply arrives. */
static void expect_cut_off(struct fixture *f, int fd)
{
	static char got[BIG_BYTES];

	assert_in_range(hear(f, fd, got, sizeof(got)), 1, BIG_BYTES - 1);
	expect_closed(f, fd);
}

static void longest_idle_makes_room(void **state)
{
	struct fixture *f = fixture(state);
	int fds[SERVER_MAX_CONNS], late;

	f->server.idle_ns = 20 * NS_PER_MS;
	open_all(f, fds);
	say(fds[0], "GET /");	  /* begun, so not idle */
	say(fds[1], GET("/big")); /* does not take its reply */
	wait_handled(f, 1);
	for (int i = 3; i < SERVER_MAX_CONNS; i++)
		expect_served(f, fds[i]);
	say(fds[2], GET("/hold")); /* not its fault */
	turns_for(f, 25 * NS_PER_MS);

	late = client(f);
	turns_for(f, 5 * NS_PER_MS);
	assert_int_equal(f->server.n_conns, SERVER_MAX_CONNS);
	release(f);
	expect(f, fds[2], REPLY("/h"));
	expect_served(f, late);
	for (int i = 3; i < SERVER_MAX_CONNS; i++)
		expect_served(f, fds[i]);
	say(fds[0], " HTTP/1.1\r\n\r\n");
	expect(f, fds[0], HEAD_OF("200") JSON("1") "\r\n/");
	expect_cut_off(f, fds[1]);
	close(late);
	close_all(fds);
}

static void deaf_client_costs_one_reply(void **state)
{
	enum { N = 40 };
	struct fixture *f = fixture(state);
	static char got[BIG_BYTES];
	static const char head[] = HEAD_OF("200") JSON("1048576") "\r\n";
	int deaf = client(f), fd = client(f);

	for (int i = 0; i < N; i++)
		say(deaf, GET("/big"));
	turns_for(f, 50 * NS_PER_MS);
	assert_int_equal(f->handled, 1);
	expect_served(f, fd);

	/* Nothing is lost when it listens at last. */
	for (int i = 0; i < N; i++) {
		expect(f, deaf, head);
		assert_int_equal(hear(f, deaf, got, sizeof(got)), sizeof(got));
	}
	expect_served(f, deaf);
	close(deaf);
	close(fd);
}

static void accept_waits_for_descriptors(void **state)
{
	struct fixture *f = fixture(state);
	int old = client(f), late = client(f), hog = -1;
	struct rlimit limit, tight;
	unsigned int n = 0;

	/* Accept neither yet, then let no further descriptor be made. */
	hog = fcntl(old, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = (rlim_t)hog;
	close(hog);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);

	/* No busy loop: a turn is an attempt, or the end of its wait. */
	uint64_t end = clock_now_ns() + 250 * NS_PER_MS;

	while (clock_now_ns() < end) {
		turn(f, 250 * NS_PER_MS);
		n++;
	}
	assert_int_equal(f->server.n_conns, 0);
	assert_true(n < 20);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_served(f, old);
	expect_served(f, late);
	close(old);
	close(late);
}

static void clients_come_and_go_and_leave_nothing(void **state)
{
	struct fixture *f = fixture(state);
	size_t before = count_fds();

	for (int i = 0; i < 500; i++) {
		int fd = client(f);

		expect_served(f, fd);
		close(fd);
	}
	turns_for(f, 5 * NS_PER_MS);
	assert_int_equal(f->server.n_conns, 0);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(slow_client_holds_up_nobody),
		ON_BOTH(begun_request_has_its_time_however_it_drips),
		ON_BOTH(time_runs_only_for_a_begun_request),
		ON_BOTH(client_65_is_refused_and_64_go_on),
		ON_BOTH(longest_idle_makes_room),
		ON_BOTH(deaf_client_costs_one_reply),
		ON_BOTH(accept_waits_for_descriptors),
		ON_BOTH(clients_come_and_go_and_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
