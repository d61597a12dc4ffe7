/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/flags.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

struct values {
	const char *path;
	const char *file;
	bool quick;
	struct flag_list many;
};

static const struct flag table[] = {
	{.name = "file",
	 .value = "F",
	 .offset = offsetof(struct values, file),
	 .forbids = "path"},
	{.name = "many",
	 .value = "M",
	 .offset = offsetof(struct values, many),
	 .is_list = true},
	{.name = "path", .value = "P", .offset = offsetof(struct values, path)},
	{.name = "quick",
	 .offset = offsetof(struct values, quick),
	 .requires = "path"},
};

#define MAX_WORDS (2 * FLAG_LIST_MAX + 4)

/* words end with NULL; the program's name is put in front. */
static int parse(struct values *v, struct flags_rest *rest,
		 struct flags_fault *f, const char *const *words)
{
	static char *argv[MAX_WORDS]; /* the words are borrowed */
	int argc = 1;

	argv[0] = (char *)(uintptr_t) "prog";
	while (words[argc - 1]) {
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
		argc++;
	}
	*v = (struct values){0};
	return flags_parse(table, ARRAY_LEN(table), v, argc, argv, rest, f);
}

#define PARSE(v, rest, f, ...) \
	parse((v), (rest), (f), (const char *[]){__VA_ARGS__, NULL})

static void takes_values_switches_lists_and_the_rest(void **state)
{
	struct flags_rest rest;
	struct flags_fault f;
	struct values v;

	(void)state;
	assert_int_equal(PARSE(&v, &rest, &f, "--many", "a", "--path", "-p",
			       "--many", "b", "--quick", "--", "--help", "--"),
			 FLAGS_RUN);
	assert_string_equal(v.path, "-p");
	assert_true(v.quick);
	assert_int_equal(v.many.n, 2);
	assert_string_equal(v.many.items[1], "b");
	assert_int_equal(rest.n, 2);
	assert_string_equal(rest.words[0], "--help");
	assert_int_equal(PARSE(&v, &rest, &f, NULL), FLAGS_RUN);
	assert_int_equal(rest.n, 0);
}

static void help_and_version_win(void **state)
{
	struct flags_rest rest;
	struct flags_fault f;
	struct values v;

	(void)state;
	assert_int_equal(PARSE(&v, &rest, &f, "--no", "-h"), FLAGS_HELP);
	assert_int_equal(PARSE(&v, &rest, &f, "--version", "--help"),
			 FLAGS_HELP);
	assert_int_equal(PARSE(&v, &rest, &f, "x", "--version"), FLAGS_VERSION);
}

static void says_what_is_wrong(void **state)
{
	static const struct {
		const char *words[5];
		const char *kind;
		const char *text;
	} cases[] = {
		{{"x"}, "UnexpectedArgument", "Found argument 'x' which"},
		{{"--x"}, "UnexpectedArgument", "Found argument 'x' which"},
		{{"--path=a"}, "UnexpectedArgument", "Found argument 'path=a'"},
		{{"--path"}, "MissingValue", "The argument 'path' requires a"},
		{{"--path", "--quick"}, "MissingValue", "The argument 'path'"},
		{{"--path", "a", "--path", "b"},
		 "DuplicateArgument",
		 "The argument 'path' was provided more than once."},
		{{"--quick"},
		 "MissingArgument",
		 "Argument 'path' required, but not found."},
		{{"--path", "a", "--file", "b"},
		 "ForbiddenArgument",
		 "Argument 'path' cannot be used together with argument "
		 "'file'."},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct flags_rest rest;
		struct flags_fault f;
		struct values v;

		assert_int_equal(parse(&v, &rest, &f, cases[i].words), -EINVAL);
		assert_string_equal(f.kind, cases[i].kind);
		assert_ptr_equal(strstr(f.text, cases[i].text), f.text);
	}
}

static void a_list_that_is_too_long_is_refused(void **state)
{
	const char *words[2 * (FLAG_LIST_MAX + 1) + 1] = {NULL};
	struct flags_rest rest;
	struct flags_fault f;
	struct values v;

	(void)state;
	for (int i = 0; i <= FLAG_LIST_MAX; i++) {
		words[2 * i] = "--many";
		words[2 * i + 1] = "x";
	}
	assert_int_equal(parse(&v, &rest, &f, words), -EINVAL);
	words[2 * FLAG_LIST_MAX] = NULL;
	assert_int_equal(parse(&v, &rest, &f, words), 0);
}

static void knows_the_name_it_was_started_under(void **state)
{
	(void)state;
	assert_true(flags_started_as("jailer", "jailer"));
	assert_true(flags_started_as("/a/jailer", "jailer"));
	assert_false(flags_started_as("/jailer/x", "jailer"));
	assert_false(flags_started_as("xjailer", "jailer"));
	assert_false(flags_started_as(NULL, "jailer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_values_switches_lists_and_the_rest),
		cmocka_unit_test(help_and_version_win),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(a_list_that_is_too_long_is_refused),
		cmocka_unit_test(knows_the_name_it_was_started_under),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
