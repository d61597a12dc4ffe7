/* SPDX-License-Identifier: Apache-2.0 */
/* Each test runs in a child, whose descriptors it rearranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

/* The line of the check that failed, as far as an exit code can say it. */
#define CHECK(cond)                                \
	do {                                       \
		if (!(cond))                       \
			_exit(1 + __LINE__ % 250); \
	} while (0)

static void in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void limit(rlim_t cur, rlim_t max)
{
	const struct rlimit lim = {cur, max};

	CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
}

static void inherit_and_init(void)
{
	struct err e;

	CHECK(dup2(0, 3) == 3 && dup2(0, 17) == 17 && dup2(0, FD_VM) == FD_VM);
	CHECK(fds_init(&e) == 0);
	CHECK(is_open(0) && is_open(1) && is_open(2));
	for (int fd = 3; fd < FDS_END + 10; fd++)
		CHECK(is_open(fd) == (fd >= FDS_FIRST && fd < FDS_END));
}

/* More descriptors than there are numbers below the fixed ones. */
static void crowd(void)
{
	struct err e;
	int fd;

	CHECK(fds_init(&e) == 0);
	for (int i = 0; i < FDS_END; i++) {
		fd = dup(0);
		CHECK(fd >= 0 && (fd < FDS_FIRST || fd >= FDS_END));
	}
	fds_release(FD_VM);
	fd = dup(0);
	CHECK(fd >= FDS_END);
}

static void fixed_numbers_are_given_to_nobody_else(void **state)
{
	(void)state;
	in_child(crowd);
}

static void init_closes_what_was_inherited(void **state)
{
	(void)state;
	in_child(inherit_and_init);
}

static void close_standard_and_init(void)
{
	struct err e;
	char c;

	CHECK(close(0) == 0 && close(1) == 0);
	CHECK(fds_init(&e) == 0);
	CHECK(is_open(0) && is_open(1) && !is_open(3));
	CHECK(read(0, &c, 1) == 0);
	CHECK(write(1, "x", 1) == -1 && errno == EBADF);
	CHECK(dup(2) == 3);
}

static void init_holds_missing_standard_descriptors(void **state)
{
	(void)state;
	in_child(close_standard_and_init);
}

static void init_with_low_soft_limit(void)
{
	struct rlimit lim;
	struct err e;

	limit(64, FDS_END);
	CHECK(fds_init(&e) == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	CHECK(lim.rlim_cur == FDS_END);
	CHECK(fds_move(dup(0), FDS_END - 1, &e) == FDS_END - 1);
}

static void init_raises_the_soft_limit(void **state)
{
	(void)state;
	in_child(init_with_low_soft_limit);
}

static void init_with_low_hard_limit(void)
{
	char want[96];
	struct err e;

	(void)snprintf(want, sizeof(want),
		       "The limit on open files is %d, at least %d are needed",
		       FDS_END - 1, FDS_END);
	limit(64, FDS_END - 1);
	CHECK(fds_init(&e) == -EMFILE);
	CHECK(e.code == -EMFILE);
	CHECK(!strcmp(e.text, want));
}

static void init_names_a_hard_limit_that_is_too_low(void **state)
{
	(void)state;
	in_child(init_with_low_hard_limit);
}

static void move(void)
{
	struct err e;
	int fd;

	CHECK(fds_init(&e) == 0);
	fd = dup(0);
	CHECK(fds_move(fd, FD_LOOP, &e) == FD_LOOP);
	CHECK(!is_open(fd));
	CHECK(fcntl(FD_LOOP, F_GETFD) == FD_CLOEXEC);
}

static void move_replaces_the_number(void **state)
{
	(void)state;
	in_child(move);
}

static void move_badly(void)
{
	struct err e;
	int fd = dup(0);

	CHECK(fds_move(-1, FD_LOOP, &e) == -EBADF);
	CHECK(e.code == -EBADF && !is_open(FD_LOOP));
	limit(100, 100);
	CHECK(fds_move(fd, FD_LOOP, &e) == -EBADF);
	CHECK(!is_open(fd));
}

static void move_closes_also_when_it_fails(void **state)
{
	(void)state;
	in_child(move_badly);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_closes_what_was_inherited),
		cmocka_unit_test(fixed_numbers_are_given_to_nobody_else),
		cmocka_unit_test(init_holds_missing_standard_descriptors),
		cmocka_unit_test(init_raises_the_soft_limit),
		cmocka_unit_test(init_names_a_hard_limit_that_is_too_low),
		cmocka_unit_test(move_replaces_the_number),
		cmocka_unit_test(move_closes_also_when_it_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
