/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent makes of bytes and of commands. */
#include "tests/guest/agent_fixture.h"

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
		connect_again(f);
	}
	/* Nothing, or half a head. */
	connect_again(f);
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
	connect_again(f);
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
	connect_again(f);
	request(f, WIRE_RUN, 0, 1, 0,
		(const char *[]){"/no/dir", "true", NULL});
	assert_error(f, ENOENT, "chdir '/no/dir'");
	connect_again(f);
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
	connect_again(f);
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
	connect_again(f);
	request_sh(f, 0, "sleep 60");
	send_bytes(f, "\4\0\0\0\1\0\1\0", 8);
	assert_error(f, EPROTO, "no DATA message");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
