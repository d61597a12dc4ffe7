/* SPDX-License-Identifier: Apache-2.0 */
/* The agent, as its clients see it: a process of its own behind a socket. */
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

#define FILE_BYTES (300U << 10) /* several messages */

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

static void connect_agent(struct fixture *f)
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
static void disconnect(struct fixture *f)
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
static void assert_all_gone(void)
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

static int setup(void **state)
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

static int teardown(void **state)
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

static void send_bytes(struct fixture *f, const void *data, size_t len)
{
	assert_int_equal(send(f->conn, data, len, MSG_NOSIGNAL), len);
}

static void send_message(struct fixture *f, enum wire_type type,
			 const void *data, size_t len)
{
	if (len)
		memcpy(wire_data(&f->tx), data, len);
	wire_set(&f->tx, type, len);
	assert_int_equal(wire_send(f->conn, &f->tx, 0), 1);
}

/* words end at NULL; they follow three numbers, after the version. */
static void request(struct fixture *f, enum wire_type type, uint32_t a,
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
static void request_sh(struct fixture *f, uint32_t limit_ms, const char *script)
{
	request(f, WIRE_RUN, limit_ms, 3, 1,
		(const char *[]){"/", "sh", "-c", script, "GREETING=hello",
				 NULL});
}

static void request_file(struct fixture *f, enum wire_type type, uint32_t mode,
			 uint64_t size, const char *path)
{
	request(f, type, mode, (uint32_t)size, (uint32_t)(size >> 32),
		(const char *[]){path, NULL});
}

/* ---- answers ---- */

static void take(struct fixture *f)
{
	wire_clear(&f->rx);
	assert_int_equal(wire_take(f->conn, &f->rx, 0), 1);
}

static void keep(char *to, size_t *len, struct wire *w)
{
	size_t n = wire_len(w);

	if (n > 4095 - *len)
		n = 4095 - *len;
	memcpy(to + *len, wire_data(w), n);
	*len += n;
}

/* Take messages up to the last one: its type. */
static uint32_t take_all(struct fixture *f)
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

static void assert_end(struct fixture *f, enum command_end how, uint32_t value)
{
	assert_int_equal(take_all(f), WIRE_EXIT);
	assert_int_equal(wire_len(&f->rx), 8);
	assert_int_equal(wire_get32(wire_data(&f->rx)), how);
	assert_int_equal(wire_get32(wire_data(&f->rx) + 4), value);
}

/* The last message is this error, and its text holds this. */
static void assert_error(struct fixture *f, int error, const char *text)
{
	assert_int_equal(take_all(f), WIRE_ERROR);
	size_t len = wire_len(&f->rx);

	assert_int_equal(wire_get32(wire_data(&f->rx)), error);
	wire_data(&f->rx)[len] = 0;
	assert_non_null(strstr((char *)wire_data(&f->rx) + 4, text));
	assert_non_null(strstr((char *)wire_data(&f->rx) + 4, strerror(error)));
}

static void assert_closed(struct fixture *f)
{
	char c;

	assert_int_equal(recv(f->conn, &c, 1, 0), 0);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- framing ---- */

static void messages_have_the_documented_bytes(void **state)
{
	struct fixture *f = *state;
	static const uint8_t ask[] = {1,   0,	0,   0,	  39,  0,
				      0,   0,		/* RUN, 39 bytes */
				      1,   0,	0,   0, /* version */
				      0,   0,	0,   0, /* no time limit */
				      3,   0,	0,   0,	  0,   0,
				      0,   0, /* 3 arguments, no variable */
				      '/', 0,	's', 'h', 0,   '-',
				      'c', 0,	'e', 'c', 'h', 'o',
				      ' ', 'h', 'i', ';', 'e', 'x',
				      'i', 't', ' ', '7', 0};
	static const uint8_t answer[] = {16,  0,    0, 0, 3, 0, 0, 0, 'h',
					 'i', '\n',		      /* OUT */
					 19,  0,    0, 0, 8, 0, 0, 0, /* EXIT */
					 0,   0,    0, 0, 7, 0, 0, 0};
	uint8_t got[sizeof(answer)];

	send_bytes(f, ask, sizeof(ask));
	assert_int_equal(recv(f->conn, got, sizeof(got), MSG_WAITALL),
			 sizeof(got));
	assert_memory_equal(got, answer, sizeof(got));
	assert_closed(f);
}

static void request_may_come_a_byte_at_a_time(void **state)
{
	struct fixture *f = *state;
	static const char ask[] = "\1\0\0\0\33\0\0\0"
				  "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
				  "/tmp\0false";

	for (size_t i = 0; i < sizeof(ask); i++) {
		send_bytes(f, ask + i, 1);
		(void)usleep(1000);
	}
	assert_end(f, COMMAND_EXITED, 1);
}

static void malformed_requests_are_refused(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t bytes[40];
		size_t len;
		int error;
	} bad[] = {
		/* too long, by one and by all; short; no such type */
		{{1, 0, 0, 0, 1, 0, 1, 0}, 8, EMSGSIZE},
		{{1, 0, 0, 0, 255, 255, 255, 255}, 8, EMSGSIZE},
		{{1, 0, 0, 0, 0, 0, 0, 0}, 8, EPROTO},
		{{2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0}, 12, EPROTO},
		{{9, 0, 0, 0, 16, 0, 0, 0, 1}, 24, EPROTO},
		{{4, 0, 0, 0, 0, 0, 0, 0}, 8, EPROTO},
		/* another version */
		{{2, 0, 0, 0, 18, 0, 0, 0, 2, [24] = '/', 0},
		 26,
		 EPROTONOSUPPORT},
		/* GET: no string, one without an end, two strings */
		{{2, 0, 0, 0, 16, 0, 0, 0, 1}, 24, EPROTO},
		{{2, 0, 0, 0, 17, 0, 0, 0, 1, [24] = '/'}, 25, EPROTO},
		{{2, 0, 0, 0, 20, 0, 0, 0, 1, [24] = '/', 0, '/', 0},
		 28,
		 EPROTO},
		/* RUN: no argument; too many; fewer than said; more */
		{{1, 0, 0, 0, 18, 0, 0, 0, 1, [24] = '/', 0}, 26, E2BIG},
		{{1, 0, 0, 0, 18, 0, 0, 0, 1, [16] = 1, 4, [24] = '/', 0},
		 26,
		 E2BIG},
		{{1, 0, 0, 0, 18, 0, 0, 0, 1, [16] = 1, [23] = 128, '/', 0},
		 26,
		 E2BIG},
		{{1, 0, 0, 0, 18, 0, 0, 0, 1, [16] = 1, [24] = '/', 0},
		 26,
		 EPROTO},
		{{1, 0, 0, 0, 20, 0, 0, 0, 1, [16] = 1, [24] = 0, 'a', 0, 0},
		 28,
		 EPROTO},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		send_bytes(f, bad[i].bytes, bad[i].len);
		assert_error(f, bad[i].error, "");
		assert_closed(f);
		disconnect(f);
		connect_agent(f);
	}
	/* Nothing, or half a head. */
	disconnect(f);
	connect_agent(f);
	send_bytes(f, "\1\0\0\0\1", 5);
}

/* ---- commands ---- */

static void run_streams_both_outputs(void **state)
{
	struct fixture *f = *state;

	request_sh(f, 0, "echo out; echo err >&2; exit 42");
	assert_end(f, COMMAND_EXITED, 42);
	assert_string_equal(f->out, "out\n");
	assert_string_equal(f->err, "err\n");
	assert_closed(f);
}

static void run_gives_environment_and_directory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(setenv("INHERITED", "yes", 1), 0);
	disconnect(f);
	connect_agent(f);
	request(f, WIRE_RUN, 0, 3, 2,
		(const char *[]){"/usr/bin", "sh", "-c",
				 "echo $A $INHERITED $B `pwd` $#", "A=x y",
				 "B=", NULL});
	assert_end(f, COMMAND_EXITED, 0);
	assert_string_equal(f->out, "x y yes /usr/bin 0\n");
}

static void run_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;

	request(f, WIRE_RUN, 0, 1, 0, (const char *[]){"", "/no/such", NULL});
	assert_error(f, ENOENT, "run '/no/such'");
	disconnect(f);
	connect_agent(f);
	request(f, WIRE_RUN, 0, 1, 0,
		(const char *[]){"/no/dir", "true", NULL});
	assert_error(f, ENOENT, "chdir '/no/dir'");
	disconnect(f);
	connect_agent(f);
	request(f, WIRE_RUN, 0, 1, 0, (const char *[]){"", "/tmp", NULL});
	assert_error(f, EACCES, "run '/tmp'");
}

static void run_reports_a_signal(void **state)
{
	struct fixture *f = *state;

	request_sh(f, 0, "kill -TERM $$");
	assert_end(f, COMMAND_KILLED, SIGTERM);
}

static void run_starts_with_clean_signals(void **state)
{
	struct fixture *f = *state;

	/* The agent itself ignores it. */
	request_sh(f, 0, "kill -PIPE $$");
	assert_end(f, COMMAND_KILLED, SIGPIPE);
	disconnect(f);
	connect_agent(f);
	request_sh(f, 0, "grep SigBlk /proc/self/status");
	assert_end(f, COMMAND_EXITED, 0);
	assert_string_equal(f->out, "SigBlk:\t0000000000000000\n");
}

static void run_echoes_a_stream_of_input(void **state)
{
	struct fixture *f = *state;
	char block[1000];

	memset(block, 'x', sizeof(block));
	request_sh(f, 0, "cat");
	for (int i = 0; i < 50; i++)
		send_message(f, WIRE_DATA, block, sizeof(block));
	/* It comes back before there is an end. */
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_OUT);
	f->out_bytes = wire_len(&f->rx);
	send_message(f, WIRE_DATA, NULL, 0);
	assert_end(f, COMMAND_EXITED, 0);
	assert_int_equal(f->out_bytes, 50 * sizeof(block));
}

static void run_throws_away_input_that_nobody_reads(void **state)
{
	struct fixture *f = *state;
	static const char block[60000];

	request_sh(f, 0, "exec <&-; echo closed; sleep 0.3");
	take(f);
	for (int i = 0; i < 20; i++)
		send_message(f, WIRE_DATA, block, sizeof(block));
	send_message(f, WIRE_DATA, NULL, 0);
	assert_end(f, COMMAND_EXITED, 0);
}

static void run_keeps_output_for_a_slow_client(void **state)
{
	struct fixture *f = *state;

	request_sh(f, 0, "head -c 3000000 /dev/zero; echo end >&2");
	(void)usleep(200000);
	assert_end(f, COMMAND_EXITED, 0);
	assert_int_equal(f->out_bytes, 3000000);
	assert_string_equal(f->err, "end\n");
}

static void run_starves_no_stream(void **state)
{
	struct fixture *f = *state;

	request_sh(f, 0, "yes & sleep 0.1; echo here >&2; sleep 0.1; kill $!");
	assert_end(f, COMMAND_EXITED, 0);
	assert_string_equal(f->err, "here\n");
}

static void run_ends_at_its_time(void **state)
{
	struct fixture *f = *state;
	int64_t begin = now_ms();

	/* The child of the shell is in its group, and holds its output. */
	request_sh(f, 300, "echo begun; sleep 60; echo never");
	assert_end(f, COMMAND_TIMED_OUT, SIGKILL);
	assert_true(now_ms() - begin >= 300 && now_ms() - begin < 30000);
	assert_string_equal(f->out, "begun\n");
}

static void run_ends_at_its_time_under_a_flood(void **state)
{
	struct fixture *f = *state;

	/* Nobody takes the output meanwhile. */
	request_sh(f, 200, "yes");
	(void)usleep(400000);
	assert_end(f, COMMAND_TIMED_OUT, SIGKILL);
	assert_true(f->out_bytes > 65536);
}

static void run_does_not_wait_for_what_is_left_behind(void **state)
{
	struct fixture *f = *state;
	char script[128];

	assert_int_equal(mkfifo(f->file, 0600), 0);
	(void)snprintf(script, sizeof(script), "(read x <%s) & echo started",
		       f->file);
	request_sh(f, 0, script);
	assert_end(f, COMMAND_EXITED, 0);
	assert_string_equal(f->out, "started\n");
	disconnect(f);
	/* It goes on, as a child of ours now, until it reads. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
	int fd = open(f->file, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
}

static void run_dies_with_its_client(void **state)
{
	struct fixture *f = *state;

	/* With output that nobody takes, and input that it does not take. */
	request_sh(f, 0, "sleep 60 & yes");
	send_message(f, WIRE_DATA, f->out, sizeof(f->out));
	take(f);
}

static void run_dies_with_half_its_client(void **state)
{
	struct fixture *f = *state;

	request_sh(f, 0, "sleep 60");
	(void)usleep(100000);
	assert_int_equal(shutdown(f->conn, SHUT_WR), 0);
	assert_closed(f);
}

static void run_dies_of_a_wrong_message(void **state)
{
	struct fixture *f = *state;

	request_sh(f, 0, "sleep 60");
	send_message(f, WIRE_GET, "x", 1);
	assert_error(f, EPROTO, "no DATA message");
	disconnect(f);
	connect_agent(f);
	request_sh(f, 0, "sleep 60");
	send_bytes(f, "\4\0\0\0\1\0\1\0", 8);
	assert_error(f, EPROTO, "no DATA message");
}

/* ---- files ---- */

static void fill(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(close(fd), 0);
}

static void assert_file(const char *path, const uint8_t *data, size_t len)
{
	uint8_t *got = malloc(len + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_non_null(got);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, len + 1), len);
	assert_memory_equal(got, data, len);
	(void)close(fd);
	free(got);
}

static void get_sends_mode_size_and_bytes(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[FILE_BYTES], got[FILE_BYTES];
	size_t n = 0;

	fill(data, sizeof(data));
	write_file(f->file, data, sizeof(data));
	assert_int_equal(chmod(f->file, 04751), 0);
	request_file(f, WIRE_GET, 0, 0, f->file);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_FILE);
	assert_int_equal(wire_len(&f->rx), 12);
	assert_int_equal(wire_get32(wire_data(&f->rx)), 04751);
	assert_int_equal(wire_get32(wire_data(&f->rx) + 4), FILE_BYTES);
	assert_int_equal(wire_get32(wire_data(&f->rx) + 8), 0);
	for (;;) {
		take(f);
		if (wire_type(&f->rx) != WIRE_DATA)
			break;
		assert_true(wire_len(&f->rx) <= sizeof(got) - n);
		memcpy(got + n, wire_data(&f->rx), wire_len(&f->rx));
		n += wire_len(&f->rx);
	}
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
	assert_int_equal(n, sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
}

static void get_reads_files_of_proc(void **state)
{
	struct fixture *f = *state;

	request_file(f, WIRE_GET, 0, 0, "/proc/self/status");
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_FILE);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DATA);
	assert_true(wire_len(&f->rx) > 100);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
}

static void get_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;

	request_file(f, WIRE_GET, 0, 0, f->file);
	assert_error(f, ENOENT, f->file);
	disconnect(f);
	assert_int_equal(mkfifo(f->file, 0600), 0);
	connect_agent(f);
	request_file(f, WIRE_GET, 0, 0, f->file);
	assert_error(f, EINVAL, "is no regular file");
	disconnect(f);
	connect_agent(f);
	request_file(f, WIRE_GET, 0, 0, "/tmp");
	assert_error(f, EINVAL, "is no regular file");
}

static void put_makes_a_file(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[FILE_BYTES];
	struct stat st;

	fill(data, sizeof(data));
	write_file(f->file, "old", 3);
	request_file(f, WIRE_PUT, 02711, sizeof(data), f->file);
	for (size_t i = 0; i < sizeof(data); i += 60 << 10)
		send_message(f, WIRE_DATA, data + i, 60 << 10);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
	assert_closed(f);
	assert_file(f->file, data, sizeof(data));
	assert_int_equal(stat(f->file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02711);
}

static void put_makes_an_empty_file(void **state)
{
	struct fixture *f = *state;

	request_file(f, WIRE_PUT, 0600, 0, f->file);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
	assert_file(f->file, (const uint8_t *)"", 0);
}

/* The folder holds nothing else afterwards: teardown looks. */
static void put_that_breaks_off_leaves_the_old_file(void **state)
{
	struct fixture *f = *state;

	write_file(f->file, "old", 3);
	request_file(f, WIRE_PUT, 0600, 4, f->file);
	send_message(f, WIRE_DATA, "new", 3);
	disconnect(f);
	assert_file(f->file, (const uint8_t *)"old", 3);
}

static void put_refuses_wrong_data(void **state)
{
	static const struct {
		enum wire_type type;
		size_t len;
	} bad[] = {{WIRE_DATA, 5}, {WIRE_DATA, 0}, {WIRE_OUT, 4}};
	struct fixture *f = *state;

	write_file(f->file, "old", 3);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		request_file(f, WIRE_PUT, 0600, 4, f->file);
		send_message(f, bad[i].type, "12345", bad[i].len);
		assert_error(f, EPROTO, f->file);
		disconnect(f);
		connect_agent(f);
	}
	assert_file(f->file, (const uint8_t *)"old", 3);
}

static void put_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	char path[80];

	request_file(f, WIRE_PUT, 0600, 4, "/no/such/file");
	assert_error(f, ENOENT, "/no/such/file");
	disconnect(f);
	connect_agent(f);
	request_file(f, WIRE_PUT, 010644, 4, f->file);
	assert_error(f, EINVAL, "mode 010644");
	disconnect(f);
	connect_agent(f);
	/* A folder stands there. */
	(void)snprintf(path, sizeof(path), "%s/folder", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	request_file(f, WIRE_PUT, 0600, 1, path);
	send_message(f, WIRE_DATA, "x", 1);
	assert_error(f, EISDIR, path);
	assert_int_equal(rmdir(path), 0);
}

/* The client sends all before it looks, and the agent has failed long before.
 */
static void put_error_outlives_the_data(void **state)
{
	struct fixture *f = *state;
	static const char block[60000];

	request_file(f, WIRE_PUT, 0600, 40 * sizeof(block), "/proc/self/file");
	for (int i = 0; i < 40; i++)
		send_message(f, WIRE_DATA, block, sizeof(block));
	assert_error(f, ENOENT, "/proc/self/file");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(messages_have_the_documented_bytes),
		TEST(request_may_come_a_byte_at_a_time),
		TEST(malformed_requests_are_refused),
		TEST(run_streams_both_outputs),
		TEST(run_gives_environment_and_directory),
		TEST(run_says_what_is_wrong),
		TEST(run_reports_a_signal),
		TEST(run_starts_with_clean_signals),
		TEST(run_echoes_a_stream_of_input),
		TEST(run_throws_away_input_that_nobody_reads),
		TEST(run_keeps_output_for_a_slow_client),
		TEST(run_starves_no_stream),
		TEST(run_ends_at_its_time),
		TEST(run_ends_at_its_time_under_a_flood),
		TEST(run_does_not_wait_for_what_is_left_behind),
		TEST(run_dies_with_its_client),
		TEST(run_dies_with_half_its_client),
		TEST(run_dies_of_a_wrong_message),
		TEST(get_sends_mode_size_and_bytes),
		TEST(get_reads_files_of_proc),
		TEST(get_says_what_is_wrong),
		TEST(put_makes_a_file),
		TEST(put_makes_an_empty_file),
		TEST(put_that_breaks_off_leaves_the_old_file),
		TEST(put_refuses_wrong_data),
		TEST(put_says_what_is_wrong),
		TEST(put_error_outlives_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
