/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"

static int fds[2];
static char got[65536];

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	log_init();
	log_set_fd(fds[1]);
	log_set_id("id-1");
	log_set_thread("main");
	log_set_level(LOG_INFO);
	log_set_show_level(false);
	log_set_show_origin(false);
	log_set_module(NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	log_set_fd(1);
	(void)close(fds[0]);
	(void)close(fds[1]);
	return 0;
}

static const char *line(void)
{
	ssize_t n = read(fds[0], got, sizeof(got) - 1);

	got[n > 0 ? n : 0] = '\0';
	return got;
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&re, text, 0, NULL, 0) != 0)
		fail_msg("'%s' does not match '%s'", text, pattern);
	regfree(&re);
}

#define TIME \
	"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9} "

static void lines_have_firecrackers_form(void **state)
{
	(void)state;
	log_info("Running %s", "x");
	assert_matches(line(), TIME "\\[id-1:main\\] Running x\n$");
	log_set_show_level(true);
	log_set_show_origin(false);
	log_warn("w");
	assert_matches(line(), TIME "\\[id-1:main:WARN\\] w\n$");
	log_set_show_level(true);
	log_set_show_origin(true);
	log_err("e");
	assert_matches(line(), TIME "\\[id-1:main:ERROR:tests/base/test_log.c:"
				    "[0-9]+\\] e\n$");
	log_set_show_level(false);
	log_set_show_origin(false);
	log_line(LOG_INFO, "fc_api", "api/x.c", 1, "y");
	assert_matches(line(), TIME "\\[id-1:fc_api\\] y\n$");
}

static void the_date_is_the_local_one(void **state)
{
	char want[32];
	struct tm tm;
	time_t now;

	(void)state;
	now = time(NULL);
	(void)localtime_r(&now, &tm);
	(void)strftime(want, sizeof(want), "%Y-%m-%dT%H:", &tm);
	log_info("x");
	assert_memory_equal(line(), want, strlen(want));
}

static void levels_filter(void **state)
{
	(void)state;
	log_debug("no");
	assert_string_equal(line(), "");
	log_set_level(LOG_OFF);
	log_err("no");
	assert_string_equal(line(), "");
	log_set_level(LOG_DEBUG);
	log_debug("yes");
	assert_matches(line(), "yes\n$");
}

static void level_names_are_read_in_any_case(void **state)
{
	static const struct {
		const char *text;
		enum log_level level;
	} good[] = {{"Off", LOG_OFF},	 {"error", LOG_ERROR},
		    {"WARN", LOG_WARN},	 {"Warning", LOG_WARN},
		    {"iNfO", LOG_INFO},	 {"Debug", LOG_DEBUG},
		    {"TRACE", LOG_TRACE}};
	enum log_level level;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(log_level_parse(good[i].text, &level));
		assert_int_equal(level, good[i].level);
	}
	assert_false(log_level_parse("", &level));
	assert_false(log_level_parse("Fatal", &level));
	assert_false(log_level_parse("info ", &level));
}

static void modules_filter_by_prefix(void **state)
{
	(void)state;
	log_set_module("firecracker");
	log_line(LOG_INFO, NULL, "vmm/vm.c", 1, "no");
	assert_string_equal(line(), "");
	log_line(LOG_INFO, NULL, "api/main.c", 1, "yes");
	assert_matches(line(), "yes\n$");
	log_set_module("nothing");
	log_line(LOG_INFO, NULL, "api/main.c", 1, "no");
	assert_string_equal(line(), "");
}

static void long_lines_are_whole(void **state)
{
	char *text = test_calloc(1, 9001);

	(void)state;
	memset(text, 'l', 9000);
	log_info("%s", text);
	(void)line();
	assert_non_null(strstr(got, text));
	assert_int_equal(got[strlen(got) - 1], '\n');
	test_free(text);
}

static void a_full_target_loses_lines_and_counts_them(void **state)
{
	uint64_t before = log_counts().missed;

	(void)state;
	for (int i = 0; i < 5000; i++)
		log_info("a line that fills the pipe before long, again");
	assert_true(log_counts().missed > before);
}

static void a_site_logs_ten_lines_then_counts(void **state)
{
	uint64_t before = log_counts().rate_limited;
	unsigned int lines = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		log_limited(LOG_INFO, "flood");
	for (const char *p = line(); (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, LOG_BURST);
	assert_int_equal(log_counts().rate_limited - before, 1000 - LOG_BURST);
}

static void a_site_may_log_again_after_its_window(void **state)
{
	struct log_limit limit = {0};

	(void)state;
	for (int i = 0; i < LOG_BURST; i++)
		assert_true(log_allowed(&limit));
	assert_false(log_allowed(&limit));
	limit.start_ns -= LOG_BURST_NS;
	assert_true(log_allowed(&limit));
}

static void a_line_is_one_line(void **state)
{
	(void)state;
	log_info("file '%s'", "a\n2026 [x] b\r\x1b[2J\x7f\xc3\xa4");
	assert_matches(line(), "\\] file 'a\\?2026 \\[x\\] "
			       "b\\?\\?\\[2J\\?\xc3\xa4'\n$");
	/* Those of ours may have more. */
	log_info("at:\n%s", "b");
	assert_matches(line(), "\\] at:\nb\n$");
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(lines_have_firecrackers_form),
		T(the_date_is_the_local_one),
		T(levels_filter),
		T(level_names_are_read_in_any_case),
		T(modules_filter_by_prefix),
		T(long_lines_are_whole),
		T(a_line_is_one_line),
		T(a_full_target_loses_lines_and_counts_them),
		T(a_site_logs_ten_lines_then_counts),
		T(a_site_may_log_again_after_its_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
