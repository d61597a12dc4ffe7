/* SPDX-License-Identifier: Apache-2.0 */
#include "api/args.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"

#define MAX_WORDS 8

/* Parse words (ended by NULL) behind a program name. */
static int parse(struct args *a, struct args_fault *f,
		 const char *const words[MAX_WORDS])
{
	char *argv[MAX_WORDS + 1] = {(char *)(uintptr_t) "mayfly"};
	int argc = 1;

	while (argc <= MAX_WORDS && words[argc - 1]) {
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
		argc++;
	}
	memset(f, 0, sizeof(*f));
	return args_parse(a, argc, argv, f);
}

#define PARSE(a, f, ...) \
	parse((a), (f), (const char *const[MAX_WORDS]){__VA_ARGS__})

static void defaults_are_firecrackers(void **state)
{
	struct args_fault f;
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, &f, NULL), 0);
	assert_int_equal(a.action, ARGS_RUN);
	assert_string_equal(a.api_sock, "/run/firecracker.socket");
	assert_string_equal(a.id, "anonymous-instance");
	assert_null(a.config_file);
	assert_false(a.no_api);
	assert_int_equal(args_check_identity(&a, &f), 0);
	assert_false(a.has_log_level);
	assert_int_equal(args_check_numbers(&a, &f), 0);
	assert_int_equal(a.max_payload_bytes, 51200);
	assert_int_equal(a.max_mmds_bytes, 51200);
}

static void values_reach_their_fields(void **state)
{
	static const struct {
		const char *flag;
		size_t offset;
	} rows[] = {
		{"--api-sock", offsetof(struct args, api_sock)},
		{"--config-file", offsetof(struct args, config_file)},
		{"--describe-snapshot",
		 offsetof(struct args, describe_snapshot)},
		{"--http-api-max-payload-size",
		 offsetof(struct args, http_api_max_payload_size)},
		{"--id", offsetof(struct args, id)},
		{"--level", offsetof(struct args, level)},
		{"--log-path", offsetof(struct args, log_path)},
		{"--metadata", offsetof(struct args, metadata)},
		{"--metrics-path", offsetof(struct args, metrics_path)},
		{"--mmds-size-limit", offsetof(struct args, mmds_size_limit)},
		{"--module", offsetof(struct args, module)},
		{"--parent-cpu-time-us",
		 offsetof(struct args, parent_cpu_time_us)},
		{"--seccomp-filter", offsetof(struct args, seccomp_filter)},
		{"--start-time-cpu-us",
		 offsetof(struct args, start_time_cpu_us)},
		{"--start-time-us", offsetof(struct args, start_time_us)},
	};
	struct args_fault f;
	struct args a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(PARSE(&a, &f, rows[i].flag, "-v"), 0);
		assert_string_equal(
			*(const char **)(void *)((char *)&a + rows[i].offset),
			"-v");
	}
}

static void switches_reach_their_fields(void **state)
{
	static const struct {
		const char *flag;
		size_t offset;
	} rows[] = {
		{"--boot-timer", offsetof(struct args, boot_timer)},
		{"--no-api", offsetof(struct args, no_api)},
		{"--no-seccomp", offsetof(struct args, no_seccomp)},
		{"--show-level", offsetof(struct args, show_level)},
		{"--show-log-origin", offsetof(struct args, show_log_origin)},
		{"--snapshot-version", offsetof(struct args, snapshot_version)},
	};
	struct args_fault f;
	struct args a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(
			PARSE(&a, &f, rows[i].flag, "--config-file", "c"), 0);
		assert_true(*(bool *)(void *)((char *)&a + rows[i].offset));
		assert_string_equal(a.config_file, "c");
	}
}

static const struct {
	const char *words[MAX_WORDS];
	const char *text;
	const char *debug;
} wrong_lines[] = {
	{{"--foo", "bar"},
	 "Found argument 'foo' which wasn't expected, or isn't valid "
	 "in this context.",
	 "UnexpectedArgument(\"foo\")"},
	{{""},
	 "Found argument '' which wasn't expected, or isn't valid in "
	 "this context.",
	 "UnexpectedArgument(\"\")"},
	{{"-x"},
	 "Found argument '-x' which wasn't expected, or isn't valid in "
	 "this context.",
	 "UnexpectedArgument(\"-x\")"},
	{{"--ID", "x"},
	 "Found argument 'ID' which wasn't expected, or isn't valid in "
	 "this context.",
	 "UnexpectedArgument(\"ID\")"},
	{{"--id=x"},
	 "Found argument 'id=x' which wasn't expected, or isn't valid "
	 "in this context.",
	 "UnexpectedArgument(\"id=x\")"},
	{{"--enable-pci"},
	 "Found argument 'enable-pci' which wasn't expected, or isn't "
	 "valid in this context.",
	 "UnexpectedArgument(\"enable-pci\")"},
	{{"--a\"b\\\n"},
	 "Found argument 'a\"b\\\n' which wasn't expected, or isn't "
	 "valid in this context.",
	 "UnexpectedArgument(\"a\\\"b\\\\\\u{a}\")"},
	{{"--id", "--level", "Info"},
	 "The argument 'id' requires a value, but none was supplied.",
	 "MissingValue(\"id\")"},
	{{"--api-sock"},
	 "The argument 'api-sock' requires a value, but none was "
	 "supplied.",
	 "MissingValue(\"api-sock\")"},
	{{"--id", "--", "x"},
	 "The argument 'id' requires a value, but none was supplied.",
	 "MissingValue(\"id\")"},
	{{"--no-api", "x"},
	 "Found argument 'x' which wasn't expected, or isn't valid in "
	 "this context.",
	 "UnexpectedArgument(\"x\")"},
	{{"--snapshot-version", "x"},
	 "Found argument 'x' which wasn't expected, or isn't valid in "
	 "this context.",
	 "UnexpectedArgument(\"x\")"},
	{{"--id", "a", "--id", "b"},
	 "The argument 'id' was provided more than once.",
	 "DuplicateArgument(\"id\")"},
	{{"--no-seccomp", "--no-seccomp"},
	 "The argument 'no-seccomp' was provided more than once.",
	 "DuplicateArgument(\"no-seccomp\")"},
	{{"--no-api"},
	 "Argument 'config-file' required, but not found.",
	 "MissingArgument(\"config-file\")"},
	{{"--seccomp-filter", "f", "--no-seccomp"},
	 "Argument 'seccomp-filter' cannot be used together with "
	 "argument 'no-seccomp'.",
	 "ForbiddenArgument(\"no-seccomp\", \"seccomp-filter\")"},
	{{"--no-seccomp", "--seccomp-filter", "f", "--no-api"},
	 "Argument 'config-file' required, but not found.",
	 "MissingArgument(\"config-file\")"},
};

static void wrong_lines_are_named(void **state)
{
	char text[ARGS_FAULT_BYTES], debug[ARGS_FAULT_BYTES];
	struct args_fault f;
	struct args a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong_lines); i++) {
		(void)snprintf(text, sizeof(text),
			       "Arguments parsing error: %s "
			       "\\n\\nFor more information try --help.",
			       wrong_lines[i].text);
		(void)snprintf(debug, sizeof(debug), "ParseArguments(%s)",
			       wrong_lines[i].debug);
		assert_int_equal(parse(&a, &f, wrong_lines[i].words), -EINVAL);
		assert_int_equal(f.exit_code, 153);
		assert_string_equal(f.text, text);
		assert_string_equal(f.debug, debug);
	}
}

static void long_words_are_cut(void **state)
{
	char word[4096];
	struct args_fault f;
	struct args a;

	(void)state;
	memset(word, '\n', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	assert_int_equal(PARSE(&a, &f, word), -EINVAL);
	assert_non_null(strstr(f.text, "try --help."));
	assert_non_null(strstr(f.debug, "\\u{a}\"))"));
}

static void help_and_version_win(void **state)
{
	struct args_fault f;
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, &f, "--version", "--foo"), 0);
	assert_int_equal(a.action, ARGS_VERSION);
	assert_int_equal(PARSE(&a, &f, "x", "-h", "--version"), 0);
	assert_int_equal(a.action, ARGS_HELP);
	assert_int_equal(PARSE(&a, &f, "--id", "--help"), 0);
	assert_int_equal(a.action, ARGS_HELP);
	assert_int_equal(PARSE(&a, &f, "--snapshot-version", "--id", "a b"), 0);
	assert_int_equal(a.action, ARGS_SNAPSHOT_VERSION);
	assert_int_equal(PARSE(&a, &f, "--describe-snapshot", ""), 0);
	assert_int_equal(a.action, ARGS_DESCRIBE_SNAPSHOT);
}

static void words_after_two_dashes_are_left_alone(void **state)
{
	struct args_fault f;
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, &f, "--id", "a", "--", "--foo", "--version"),
			 0);
	assert_int_equal(a.action, ARGS_RUN);
	assert_int_equal(a.extra.n, 2);
	assert_string_equal(a.extra.words[0], "--foo");
	assert_string_equal(a.extra.words[1], "--version");
}

static void ids_are_checked(void **state)
{
	static const struct {
		const char *id;
		const char *text; /* NULL: good */
	} rows[] = {
		{"a", NULL},
		{"A-0", NULL},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 NULL},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 "InvalidLen(65, 1, 64)"},
		{"", "InvalidLen(0, 1, 64)"},
		{"a/b", "InvalidChar('/', 1)"},
		{"a.b", "InvalidChar('.', 1)"},
		{"ab_", "InvalidChar('_', 2)"},
		{"'", "InvalidChar('\\'', 0)"},
		{"a\xc3\xa9", "InvalidChar('\xc3\xa9', 1)"},
		{"a\xf0", "InvalidChar('\xf0', 1)"},
	};
	char text[128];
	struct args_fault f;
	struct args a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(PARSE(&a, &f, "--id", rows[i].id), 0);
		if (!rows[i].text) {
			assert_int_equal(args_check_identity(&a, &f), 0);
			continue;
		}
		(void)snprintf(text, sizeof(text), "Invalid instance ID: %s",
			       rows[i].text);
		assert_int_equal(args_check_identity(&a, &f), -EINVAL);
		assert_int_equal(f.exit_code, ARGS_ABORT);
		assert_string_equal(f.text, text);
		assert_string_equal(f.debug, "");
	}
}

static void levels_are_checked_after_the_id(void **state)
{
	struct args_fault f;
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, &f, "--level", "wArNing"), 0);
	assert_int_equal(args_check_identity(&a, &f), 0);
	assert_true(a.has_log_level);
	assert_int_equal(a.log_level, LOG_WARN);

	assert_int_equal(PARSE(&a, &f, "--level", "fo\"o"), 0);
	assert_int_equal(args_check_identity(&a, &f), -EINVAL);
	assert_int_equal(f.exit_code, 152);
	assert_string_equal(
		f.text,
		"Invalid value for logger level: Failed to parse string to "
		"level filter: fo\"o.Possible values: [Error, Warning, Info, "
		"Debug]");
	assert_string_equal(f.debug, "InvalidLogLevel(LevelFilterFromStrError("
				     "\"fo\\\"o\"))");

	assert_int_equal(PARSE(&a, &f, "--level", "x", "--id", "a b"), 0);
	assert_int_equal(args_check_identity(&a, &f), -EINVAL);
	assert_string_equal(f.text, "Invalid instance ID: InvalidChar(' ', 1)");
}

static void numbers_are_read_as_rust_does(void **state)
{
	static const struct {
		const char *flag;
		const char *value;
		const char *type; /* NULL: good */
		const char *kind;
	} rows[] = {
		{"http-api-max-payload-size", "x", "usize", "InvalidDigit"},
		{"http-api-max-payload-size", "-1", "usize", "InvalidDigit"},
		{"http-api-max-payload-size", "", "usize", "Empty"},
		{"http-api-max-payload-size", "+", "usize", "InvalidDigit"},
		{"http-api-max-payload-size", " 1", "usize", "InvalidDigit"},
		{"http-api-max-payload-size", "18446744073709551616", "usize",
		 "PosOverflow"},
		{"http-api-max-payload-size", "18446744073709551615", NULL,
		 NULL},
		{"http-api-max-payload-size", "+007", NULL, NULL},
		{"mmds-size-limit", "-1", "usize", "InvalidDigit"},
		{"start-time-us", "x", "u64", "InvalidDigit"},
		{"start-time-cpu-us", "1x", "u64", "InvalidDigit"},
		{"parent-cpu-time-us", "99999999999999999999", "u64",
		 "PosOverflow"},
	};
	char flag[64], text[256];
	struct args_fault f;
	struct args a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)snprintf(flag, sizeof(flag), "--%s", rows[i].flag);
		assert_int_equal(PARSE(&a, &f, flag, rows[i].value), 0);
		if (!rows[i].type) {
			assert_int_equal(args_check_numbers(&a, &f), 0);
			assert_int_equal(a.max_payload_bytes,
					 strtoull(rows[i].value, NULL, 10));
			continue;
		}
		(void)snprintf(text, sizeof(text),
			       "'%s' parameter expected to be of '%s' type.: "
			       "ParseIntError { kind: %s }",
			       rows[i].flag, rows[i].type, rows[i].kind);
		assert_int_equal(args_check_numbers(&a, &f), -EINVAL);
		assert_int_equal(f.exit_code, ARGS_ABORT);
		assert_string_equal(f.text, text);
	}
}

static void limits_follow_one_another(void **state)
{
	struct args_fault f;
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, &f, "--http-api-max-payload-size", "100"),
			 0);
	assert_int_equal(args_check_numbers(&a, &f), 0);
	assert_int_equal(a.max_mmds_bytes, 100);
	assert_int_equal(PARSE(&a, &f, "--mmds-size-limit", "7",
			       "--start-time-us", "1", "--parent-cpu-time-us",
			       "3"),
			 0);
	assert_int_equal(args_check_numbers(&a, &f), 0);
	assert_int_equal(a.max_payload_bytes, 51200);
	assert_int_equal(a.max_mmds_bytes, 7);
	assert_int_equal(a.process_start_us, 1);
	assert_int_equal(a.parent_cpu_us, 3);
}

static void times_are_not_read_without_an_api(void **state)
{
	struct args_fault f;
	struct args a;

	(void)state;
	assert_int_equal(PARSE(&a, &f, "--no-api", "--config-file", "c",
			       "--start-time-us", "x"),
			 0);
	assert_int_equal(args_check_numbers(&a, &f), 0);
}

/* What print writes for a program of this name; freed by the caller. */
static char *printed(void (*print)(FILE *, const char *), const char *argv0)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	print(out, argv0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void version_depends_on_the_name(void **state)
{
	static const struct {
		const char *name;
		const char *text;
	} rows[] = {
		{"firecracker", "Firecracker v1.16.1\n\n"},
		{"/usr/bin/firecracker", "Firecracker v1.16.1\n\n"},
		{"mayfly", "mayfly v0.1.0 (Firecracker API v1.16.1)\n\n"},
		{"firecracker/mayfly",
		 "mayfly v0.1.0 (Firecracker API v1.16.1)\n\n"},
		{NULL, "mayfly v0.1.0 (Firecracker API v1.16.1)\n\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = printed(args_print_version, rows[i].name);

		assert_string_equal(text, rows[i].text);
		free(text);
	}
}

static void help_names_flags_in_the_order_of_checks(void **state)
{
	char *text = printed(args_print_help, "mayfly");
	char last[64] = "", name[64];
	char *save = NULL;
	int seen = 0;

	(void)state;
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		assert_true(strlen(line) <= 100);
		if (sscanf(line, "  --%63[a-z-]", name) != 1)
			continue;
		if (!strcmp(name, "version"))
			continue;
		assert_true(strcmp(last, name) < 0);
		memcpy(last, name, sizeof(last));
		seen++;
	}
	assert_int_equal(seen, 21);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_firecrackers),
		cmocka_unit_test(values_reach_their_fields),
		cmocka_unit_test(switches_reach_their_fields),
		cmocka_unit_test(wrong_lines_are_named),
		cmocka_unit_test(long_words_are_cut),
		cmocka_unit_test(help_and_version_win),
		cmocka_unit_test(words_after_two_dashes_are_left_alone),
		cmocka_unit_test(ids_are_checked),
		cmocka_unit_test(levels_are_checked_after_the_id),
		cmocka_unit_test(numbers_are_read_as_rust_does),
		cmocka_unit_test(limits_follow_one_another),
		cmocka_unit_test(times_are_not_read_without_an_api),
		cmocka_unit_test(version_depends_on_the_name),
		cmocka_unit_test(help_names_flags_in_the_order_of_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
