/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_fixture.h: a server on a real socket, driven turn by turn from the
 * thread that also plays its clients. Each test runs on both loop backends.
 */
#ifndef TESTS_API_SERVER_FIXTURE_H
#define TESTS_API_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/server.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"

#define PATIENCE_NS (10 * NS_PER_S)
#define BIG_BYTES   ((size_t)1 << 20)
#define MAX_BODY    51200

#define HEAD_OF(code)                                       \
	"HTTP/1.1 " code " \r\nServer: Firecracker API\r\n" \
	"Connection: keep-alive\r\n"
#define JSON(n)	    "Content-Type: application/json\r\nContent-Length: " n "\r\n"
#define NO_CONTENT  HEAD_OF("204") "\r\n"
#define CONTINUE    HEAD_OF("100") "\r\n"
#define GET(path)   "GET " path " HTTP/1.1\r\n\r\n"
#define REPLY(path) HEAD_OF("200") JSON("2") "\r\n" path

struct fixture {
	struct server server;
	struct loop *loop;
	char dir[32], path[64];
	unsigned int handled; /* requests so far */
	unsigned int waiting; /* for release(): 0 or 1 */
	bool running, stopped;
	size_t fds;
};

static inline size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* What the owner does: the path says what to answer. */
static inline void handle(struct server *s, struct http_request *r)
{
	struct fixture *f = container_of(s, struct fixture, server);

	f->handled++;
	if (strcmp(r->path, "/hold") == 0) {
		f->waiting++;
	} else if (strcmp(r->path, "/big") == 0) {
		char *big = malloc(BIG_BYTES);

		assert_non_null(big);
		memset(big, 'x', BIG_BYTES);
		server_reply(s, 200, false, big, BIG_BYTES);
		free(big);
	} else if (strcmp(r->path, "/old") == 0) {
		server_reply(s, 400, true, "{}", 2);
	} else if (strcmp(r->path, "/large") == 0) {
		server_reply(s, 413, false, "{}", 2);
	} else if (r->body) {
		server_reply(s, 200, false, r->body, r->body_len);
	} else if (r->method == HTTP_GET) {
		server_reply(s, 200, false, r->path, r->path_len);
	} else {
		server_reply(s, 204, false, NULL, 0);
	}
}

/* The reply to "/hold". */
static inline void release(struct fixture *f)
{
	assert_int_equal(f->waiting, 1);
	f->waiting = 0;
	server_reply(&f->server, 200, false, "/h", 2);
}

static inline void turn(struct fixture *f, uint64_t timeout_ns)
{
	assert_true(loop_turn(f->loop, timeout_ns) >= 0);
}

/* Also on a busy machine the loop gets as far as it would on an idle one. */
static inline void turns_for(struct fixture *f, uint64_t ns)
{
	uint64_t end = clock_now_ns() + ns;

	for (int i = 0; i < 8 || clock_now_ns() < end; i++)
		turn(f, NS_PER_MS);
}

static inline void wait_handled(struct fixture *f, unsigned int n)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (f->handled < n && clock_now_ns() < end)
		turn(f, NS_PER_MS);
	assert_int_equal(f->handled, n);
}

static inline int client(const struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	memcpy(addr.sun_path, f->path, strlen(f->path) + 1);
	assert_int_equal(
		connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
}

/* Read len bytes; returns how many came before the end of the stream. */
static inline size_t hear(struct fixture *f, int fd, char *buf, size_t len)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	size_t have = 0;

	while (have < len && clock_now_ns() < end) {
		ssize_t n = recv(fd, buf + have, len - have, 0);

		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		if (n == 0 || errno != EAGAIN)
			break;
		turn(f, NS_PER_MS);
	}
	return have;
}

static inline void expect(struct fixture *f, int fd, const char *text)
{
	char buf[4096];
	size_t len = strlen(text);

	assert_true(len < sizeof(buf));
	buf[hear(f, fd, buf, len)] = '\0';
	assert_string_equal(buf, text);
}

/* The end of the stream, or a reset: closed in either case. */
static inline void expect_closed(struct fixture *f, int fd)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	char c;
	ssize_t n = recv(fd, &c, 1, 0);

	while (n < 0 && errno == EAGAIN && clock_now_ns() < end) {
		turn(f, NS_PER_MS);
		n = recv(fd, &c, 1, 0);
	}
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static inline void expect_silence(struct fixture *f, int fd, uint64_t ns)
{
	char c;

	turns_for(f, ns);
	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void expect_served(struct fixture *f, int fd)
{
	say(fd, GET("/v"));
	expect(f, fd, REPLY("/v"));
}

static inline void on_stopped(struct server *s)
{
	container_of(s, struct fixture, server)->stopped = true;
}

static inline void wait_stopped(struct fixture *f)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (!f->stopped && clock_now_ns() < end)
		turn(f, NS_PER_MS);
	assert_true(f->stopped);
	f->running = false;
}

static inline void stop(struct fixture *f)
{
	server_stop(&f->server, on_stopped);
	assert_false(f->stopped);
	wait_stopped(f);
}

static inline int setup(void **state, enum loop_backend backend)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	if (!f)
		return -1;
	log_set_level(LOG_OFF);
	f->fds = count_fds();
	if (loop_new(&f->loop, backend, NULL, &e) < 0) {
		(void)fprintf(stderr, "skipped: %s\n", e.text);
		free(f);
		*state = NULL;
		return 0;
	}
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/mayfly-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/api.sock", f->dir);

	int fd = server_bind(f->path, &e);

	assert_true(fd >= 0);
	server_start(&f->server, f->loop, fd, MAX_BODY, handle);
	f->running = true;
	*state = f;
	return 0;
}

static inline int setup_uring(void **state)
{
	return setup(state, LOOP_URING);
}

static inline int setup_epoll(void **state)
{
	return setup(state, LOOP_EPOLL);
}

/* Every test ends with as many descriptors as it began with. */
static inline int teardown(void **state)
{
	struct fixture *f = *state;
	size_t before;

	if (!f)
		return 0;
	if (f->running)
		stop(f);
	loop_free(f->loop);
	(void)unlink(f->path);
	(void)rmdir(f->dir);
	before = f->fds;
	free(f);
	return count_fds() == before ? 0 : -1;
}

static inline struct fixture *fixture(void **state)
{
	if (!*state) {
		skip(); /* does not return, but nobody says so */
		abort();
	}
	return *state;
}

#define ON_BOTH(test)                                               \
	{#test " (io_uring)", test, setup_uring, teardown, NULL},   \
	{                                                           \
#test " (epoll)", test, setup_epoll, teardown, NULL \
	}

#endif
