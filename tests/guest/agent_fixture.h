/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_fixture.h: the agent in a process of its own, and a client that speaks
 * to it over a socket.
 */
#ifndef TESTS_GUEST_AGENT_FIXTURE_H
#define TESTS_GUEST_AGENT_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/init/agent.h"
#include "guest/init/command.h"
#include "guest/init/wire.h"

struct fixture {
	char dir[40], file[64];
	int conn;
	pid_t agent;
	struct wire tx, rx;
	/* What a command said, and how it ended. */
	char out[4096], err[4096];
	size_t out_len, err_len;
	uint64_t out_bytes;
};

static inline void connect_agent(struct fixture *f)
{
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->agent = fork();
	assert_true(f->agent >= 0);
	if (!f->agent) {
		(void)close(pair[0]);
		agent_serve(pair[1]);
		_exit(0);
	}
	(void)close(pair[1]);
	f->conn = pair[0];
}

/* The agent ends, and well, once its client has gone. */
static inline void disconnect(struct fixture *f)
{
	int status;

	if (f->conn < 0)
		return;
	(void)close(f->conn);
	f->conn = -1;
	assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
	assert_int_equal(status, 0);
}

/* What the agent started must end long before any sleep here does. */
static inline void assert_all_gone(void)
{
	for (int i = 0; i < 3000; i++) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return;
		if (!pid)
			(void)usleep(10000);
	}
	fail_msg("a process is left");
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	/* Orphans come to us, as they come to PID 1. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/mayfly-agent.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->file, sizeof(f->file), "%s/file", f->dir);
	connect_agent(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	disconnect(f);
	assert_all_gone();
	(void)unlink(f->file);
	/* Fails if something else was left there. */
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* ---- requests ---- */

static inline void send_bytes(struct fixture *f, const void *data, size_t len)
{
	assert_int_equal(send(f->conn, data, len, MSG_NOSIGNAL), len);
}

static inline void send_message(struct fixture *f, enum wire_type type,
				const void *data, size_t len)
{
	if (len)
		memcpy(wire_data(&f->tx), data, len);
	wire_set(&f->tx, type, len);
	assert_int_equal(wire_send(f->conn, &f->tx, 0), 1);
}

/* words end at NULL; they follow three numbers, after the version. */
static inline void request(struct fixture *f, enum wire_type type, uint32_t a,
			   uint32_t b, uint32_t c, const char *const *words)
{
	uint8_t text[8192];
	size_t n = 16;

	wire_put32(text, WIRE_VERSION);
	wire_put32(text + 4, a);
	wire_put32(text + 8, b);
	wire_put32(text + 12, c);
	for (; *words; words++) {
		size_t len = strlen(*words) + 1;

		assert_true(n + len <= sizeof(text));
		memcpy(text + n, *words, len);
		n += len;
	}
	send_message(f, type, text, n);
}

/* sh -c script, with one variable. */
static inline void request_sh(struct fixture *f, uint32_t limit_ms,
			      const char *script)
{
	request(f, WIRE_RUN, limit_ms, 3, 1,
		(const char *[]){"/", "sh", "-c", script, "GREETING=hello",
				 NULL});
}

static inline void request_file(struct fixture *f, enum wire_type type,
				uint32_t mode, uint64_t size, const char *path)
{
	request(f, type, mode, (uint32_t)size, (uint32_t)(size >> 32),
		(const char *[]){path, NULL});
}

/* ---- answers ---- */

static inline void take(struct fixture *f)
{
	wire_clear(&f->rx);
	assert_int_equal(wire_take(f->conn, &f->rx, 0), 1);
}

static inline void keep(char *to, size_t *len, struct wire *w)
{
	size_t n = wire_len(w);

	if (n > 4095 - *len)
		n = 4095 - *len;
	memcpy(to + *len, wire_data(w), n);
	*len += n;
}

/* Take messages up to the last one: its type. */
static inline uint32_t take_all(struct fixture *f)
{
	for (;;) {
		take(f);
		switch (wire_type(&f->rx)) {
		case WIRE_OUT:
			f->out_bytes += wire_len(&f->rx);
			keep(f->out, &f->out_len, &f->rx);
			break;
		case WIRE_ERR:
			keep(f->err, &f->err_len, &f->rx);
			break;
		default:
			return wire_type(&f->rx);
		}
	}
}

static inline void assert_end(struct fixture *f, enum command_end how,
			      uint32_t value)
{
	assert_int_equal(take_all(f), WIRE_EXIT);
	assert_int_equal(wire_len(&f->rx), 8);
	assert_int_equal(wire_get32(wire_data(&f->rx)), how);
	assert_int_equal(wire_get32(wire_data(&f->rx) + 4), value);
}

/* The last message is this error, and its text holds this. */
static inline void assert_error(struct fixture *f, int error, const char *text)
{
	assert_int_equal(take_all(f), WIRE_ERROR);
	size_t len = wire_len(&f->rx);

	assert_int_equal(wire_get32(wire_data(&f->rx)), error);
	wire_data(&f->rx)[len] = 0;
	assert_non_null(strstr((char *)wire_data(&f->rx) + 4, text));
	assert_non_null(strstr((char *)wire_data(&f->rx) + 4, strerror(error)));
}

static inline void assert_closed(struct fixture *f)
{
	char c;

	assert_int_equal(recv(f->conn, &c, 1, 0), 0);
}

static inline int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Something went wrong with the last request: another client comes. */
static inline void connect_again(struct fixture *f)
{
	disconnect(f);
	connect_agent(f);
}

#endif
