/* SPDX-License-Identifier: Apache-2.0 */
#include "base/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"

#define RETURN(what)                          \
	{                                     \
		BPF_RET | BPF_K, 0, 0, (what) \
	}

/* A file of three filters of one, two and three instructions. */
struct file {
	struct filter_header h;
	struct sock_filter code[6];
};

static void set_sum(struct file *f)
{
	const size_t at = offsetof(struct filter_header, n);

	f->h.crc = crc32c(0, (const uint8_t *)f + at, sizeof(*f) - at);
}

static struct file *make_file(void)
{
	struct file *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	memcpy(f->h.magic, FILTER_MAGIC, sizeof(f->h.magic));
	f->h.version = FILTER_VERSION;
	for (uint32_t i = 0; i < 3; i++)
		f->h.n[i] = i + 1;
	for (uint32_t i = 0; i < 6; i++)
		f->code[i] = (struct sock_filter)RETURN(i);
	set_sum(f);
	return f;
}

static void parse_finds_the_filters(void **state)
{
	struct filter filter[FILTER_ROLES] = {{NULL, 0}};
	struct file *f = make_file();
	struct err e;

	(void)state;
	assert_int_equal(filter_parse(filter, f, sizeof(*f), &e), 0);
	assert_int_equal(filter[FILTER_START].n, 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(filter[FILTER_MAIN + i].n, i + 1);
	assert_int_equal(filter[FILTER_MAIN].code[0].k, 0);
	assert_int_equal(filter[FILTER_HELPER].code[0].k, 1);
	assert_int_equal(filter[FILTER_VCPU].code[2].k, 5);
	free(f);
}

static void parse_refuses_every_shorter_file(void **state)
{
	struct filter filter[FILTER_ROLES];
	struct file *f = make_file();
	struct err e;

	(void)state;
	for (size_t len = 0; len < sizeof(*f); len++)
		assert_int_equal(filter_parse(filter, f, len, &e), -EINVAL);
	free(f);
}

static void parse_refuses_every_flipped_bit(void **state)
{
	struct filter filter[FILTER_ROLES];
	struct file *f = make_file();
	struct err e;

	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof(*f); bit++) {
		uint8_t *at = (uint8_t *)f + bit / 8;

		*at ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(filter_parse(filter, f, sizeof(*f), &e),
				 -EINVAL);
		*at ^= (uint8_t)(1u << bit % 8);
	}
	free(f);
}

static void parse_refuses_lengths_out_of_bounds(void **state)
{
	static const uint32_t bad[][3] = {
		{0, 3, 3},
		{3, 0, 3},
		{3, 3, 0},
		{UINT32_MAX, 4, 3},
		{FILTER_MAX_CODE + 1, 1, 1},
		{2, 2, 1},
	};
	struct filter filter[FILTER_ROLES];
	struct file *f = make_file();
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(f->h.n, bad[i], sizeof(f->h.n));
		set_sum(f);
		assert_int_equal(filter_parse(filter, f, sizeof(*f), &e),
				 -EINVAL);
		assert_non_null(strstr(e.text, "wrong lengths"));
	}
	free(f);
}

static void no_filter_is_added_for_none(void **state)
{
	const struct filter none = {NULL, 0};

	(void)state;
	assert_int_equal(filter_add(&none), 0);
}

static void what_the_kernel_refuses_is_an_error(void **state)
{
	const struct sock_filter code[] = {{0xffff, 0, 0, 0}};
	const struct filter f = {code, 1};

	(void)state;
	assert_int_equal(filter_add(&f), -EINVAL);
}

static void a_filter_that_was_added_holds(void **state)
{
	const struct sock_filter code[] = {RETURN(SECCOMP_RET_KILL_PROCESS)};
	const struct filter f = {code, 1};
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		(void)filter_first(&f);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_finds_the_filters),
		cmocka_unit_test(parse_refuses_every_shorter_file),
		cmocka_unit_test(parse_refuses_every_flipped_bit),
		cmocka_unit_test(parse_refuses_lengths_out_of_bounds),
		cmocka_unit_test(no_filter_is_added_for_none),
		cmocka_unit_test(what_the_kernel_refuses_is_an_error),
		cmocka_unit_test(a_filter_that_was_added_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
