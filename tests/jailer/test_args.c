/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jailer/args.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"

#define MAX_WORDS 24

/* What every line needs; more stands behind it. */
static const char *const least[] = {"jailer", "--id",	     "vm-1",
				    "--uid",  "1000",	     "--gid",
				    "1001",   "--exec-file", "/bin/fc"};

static int parse(struct args *a, struct err *e, size_t skip, size_t n,
		 const char *const *words)
{
	static char *argv[MAX_WORDS]; /* the words are borrowed */
	int argc = 0;

	for (size_t i = 0; i < ARRAY_LEN(least); i++) {
		if (!skip || (i != skip && i != skip + 1))
			argv[argc++] = (char *)(uintptr_t)least[i];
	}
	for (size_t i = 0; i < n; i++)
		argv[argc++] = (char *)(uintptr_t)words[i];
	return args_parse(a, argc, argv, e);
}

#define MORE(a, e, ...)                                                \
	parse((a), (e), 0, ARRAY_LEN(((const char *[]){__VA_ARGS__})), \
	      (const char *[]){__VA_ARGS__})

static void has_firecrackers_defaults(void **state)
{
	struct args a;
	struct err e;

	(void)state;
	assert_int_equal(MORE(&a, &e, "--", "--id", "x"), 0);
	assert_string_equal(a.chroot_base_dir, "/srv/jailer");
	assert_string_equal(a.exec_name, "fc");
	assert_string_equal(a.parent_cgroup, "fc");
	assert_false(a.parent_given);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.gid, 1001);
	assert_true(a.limit_no_file == 2048);
	assert_true(a.limit_fsize == ARGS_NO_LIMIT);
	assert_int_equal(a.version, 0);
	assert_int_equal(a.extra.n, 2);
	assert_string_equal(a.extra.words[0], "--id");
}

static void takes_every_flag(void **state)
{
	struct args a;
	struct err e;

	(void)state;
	assert_int_equal(MORE(&a, &e, "--cgroup", "io.max=8:0 rbps=1",
			      "--cgroup", "cpuset.cpus=0", "--cgroup-version",
			      "2", "--parent-cgroup", "a/b", "--daemonize",
			      "--new-pid-ns", "--resource-limit", "fsize=7"),
			 0);
	assert_int_equal(a.cgroup.n, 2);
	assert_int_equal(a.version, 2);
	assert_true(a.parent_given && a.daemonize && a.new_pid_ns);
	assert_true(a.limit_fsize == 7);
	assert_int_equal(MORE(&a, &e, "--new-net-ns", "--private-mounts",
			      "--chroot-base-dir", "/x", "--resource-limit",
			      "no-file=1", "--resource-limit", "no-file=2"),
			 0);
	assert_true(a.new_net_ns && a.private_mounts);
	assert_true(a.limit_no_file == 2);
	assert_int_equal(MORE(&a, &e, "--netns", "/n"), 0);
	assert_string_equal(a.netns, "/n");
}

static void the_first_missing_flag_by_name_is_reported(void **state)
{
	static const struct {
		size_t skip; /* in least */
		const char *name;
	} cases[] = {{1, "id"}, {3, "uid"}, {5, "gid"}, {7, "exec-file"}};
	char *none[] = {(char *)(uintptr_t) "jailer", NULL};
	char want[96];
	struct args a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(parse(&a, &e, cases[i].skip, 0, NULL) < 0);
		(void)snprintf(want, sizeof(want),
			       "Failed to parse arguments: Argument '%s' "
			       "required, but not found.",
			       cases[i].name);
		assert_string_equal(e.text, want);
	}
	assert_true(args_parse(&a, 1, none, &e) < 0);
	assert_non_null(strstr(e.text, "'exec-file'"));
}

static void to_remove_takes_an_id_alone(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "jailer",
			(char *)(uintptr_t) "--remove",
			(char *)(uintptr_t) "--id", (char *)(uintptr_t) "x"};
	struct args a;
	struct err e;

	(void)state;
	assert_int_equal(args_parse(&a, 4, argv, &e), 0);
	assert_true(a.remove);
	assert_null(a.exec_name);
	assert_true(args_parse(&a, 2, argv, &e) < 0);
}

static void numbers_are_exact(void **state)
{
	static const char *const bad[] = {
		"",   "01", "+1",	  " 1",		"1 ",
		"-1", "1x", "4294967295", "4294967296", "18446744073709551616",
		"x",  "00", "0x1",	  "1.0",	"18446744073709551617"};
	static const struct {
		const char *text;
		uid_t uid;
	} good[] = {{"0", 0}, {"1", 1}, {"4294967294", 4294967294U}};
	uint64_t n;
	char want[96];
	struct args a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const char *uid[] = {"--uid", bad[i]};
		const char *gid[] = {"--gid", bad[i]};

		assert_false(args_number(bad[i], UINT32_MAX - 1, &n));
		assert_true(parse(&a, &e, 3, 2, uid) < 0);
		(void)snprintf(want, sizeof(want), "Invalid uid: %s", bad[i]);
		assert_string_equal(e.text, want);
		assert_true(parse(&a, &e, 5, 2, gid) < 0);
		(void)snprintf(want, sizeof(want), "Invalid gid: %s", bad[i]);
		assert_string_equal(e.text, want);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		const char *uid[] = {"--uid", good[i].text};

		assert_int_equal(parse(&a, &e, 3, 2, uid), 0);
		assert_true(a.uid == good[i].uid);
	}
	assert_true(args_number("18446744073709551615", UINT64_MAX, &n));
}

static void ids_are_held_to_firecrackers_rule(void **state)
{
	static const struct {
		const char *id;
		const char *text; /* NULL: good */
	} cases[] = {
		{"",
		 "Invalid instance ID: Invalid len (0);  the length must be "
		 "between 1 and 64"},
		{"a_b", "Invalid instance ID: Invalid char (_) at position 1"},
		{"..", "Invalid instance ID: Invalid char (.) at position 0"},
		{"a/b", "Invalid instance ID: Invalid char (/) at position 1"},
		{"-", NULL},
		{"0123456789012345678901234567890123456789012345678901234567890"
		 "123",
		 NULL},
		{"0123456789012345678901234567890123456789012345678901234567890"
		 "1234",
		 "Invalid instance ID: Invalid len (65);  the length must be "
		 "between 1 and 64"},
	};
	struct args a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *id[] = {"--id", cases[i].id};
		int ret = parse(&a, &e, 1, 2, id);

		assert_int_equal(ret == 0, cases[i].text == NULL);
		if (cases[i].text)
			assert_string_equal(e.text, cases[i].text);
	}
}

static void bad_values_are_named(void **state)
{
	static const struct {
		const char *flag, *value, *text;
	} cases[] = {
		{"--cgroup", "cpu.shares", "Invalid format for cgroups: "},
		{"--cgroup", "cpu.shares=", "Invalid format for cgroups: "},
		{"--cgroup", "shares=1", "Cgroup invalid file: shares"},
		{"--cgroup", "../a.b=1", "Cgroup invalid file: ../a.b"},
		{"--cgroup", ".a=1", "Cgroup invalid file: .a"},
		{"--cgroup", "a.=1", "Cgroup invalid file: a."},
		{"--cgroup", "=1", "Cgroup invalid file: "},
		{"--cgroup-version", "3",
		 "3 is an invalid cgroup version specifier"},
		{"--cgroup-version", "01", "01 is an invalid cgroup version"},
		{"--parent-cgroup", "/a", "Parent cgroup path is invalid."},
		{"--parent-cgroup", "a/../b", "Parent cgroup path is invalid."},
		{"--parent-cgroup", ".", "Parent cgroup path is invalid."},
		{"--parent-cgroup", "a//b", "Parent cgroup path is invalid."},
		{"--parent-cgroup", "a/", "Parent cgroup path is invalid."},
		{"--parent-cgroup", "", "Parent cgroup path is invalid."},
		{"--resource-limit", "no-file",
		 "Invalid format for resources limits: no-file"},
		{"--resource-limit", "no-file=-1",
		 "Invalid limit value for resource: -1: "},
		{"--resource-limit", "nofile=1",
		 "Invalid resource argument: nofile"},
		{"--resource-limit", "=1", "Invalid resource argument: "},
		{"--resource-limit", "fsize=18446744073709551615",
		 "Invalid limit value for resource: "},
	};
	struct args a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(MORE(&a, &e, cases[i].flag, cases[i].value) < 0);
		assert_ptr_equal(strstr(e.text, cases[i].text), e.text);
	}
	assert_int_equal(MORE(&a, &e, "--parent-cgroup", "a/..b/.c/..."), 0);
	assert_true(MORE(&a, &e, "--netns", "x", "--new-net-ns") < 0);
}

static void the_programs_name_is_the_last_component(void **state)
{
	static const struct {
		const char *path;
		const char *name; /* NULL: refused */
	} cases[] = {
		{"fc", "fc"},  {"./fc", "fc"},	{"/a/b.c", "b.c"},
		{"/a/", NULL}, {"/a/..", NULL}, {".", NULL},
		{"", NULL},
	};
	struct args a;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *words[] = {"--exec-file", cases[i].path};
		int ret = parse(&a, &e, 7, 2, words);

		assert_int_equal(ret == 0, cases[i].name != NULL);
		if (cases[i].name)
			assert_string_equal(a.exec_name, cases[i].name);
	}
}

static void prints(void (*print)(FILE *, const char *), const char *argv0,
		   const char *begin)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	print(f, argv0);
	assert_int_equal(fclose(f), 0);
	assert_ptr_equal(strstr(text, begin), text);
	free(text);
}

static void version_has_firecrackers_form_under_its_name(void **state)
{
	(void)state;
	prints(args_print_version, "/usr/bin/jailer", "Jailer v1.16.1\n");
	prints(args_print_version, "mayfly-jailer", "mayfly-jailer v");
	prints(args_print_help, "mayfly-jailer", "mayfly-jailer v");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_firecrackers_defaults),
		cmocka_unit_test(takes_every_flag),
		cmocka_unit_test(the_first_missing_flag_by_name_is_reported),
		cmocka_unit_test(to_remove_takes_an_id_alone),
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(ids_are_held_to_firecrackers_rule),
		cmocka_unit_test(bad_values_are_named),
		cmocka_unit_test(the_programs_name_is_the_last_component),
		cmocka_unit_test(version_has_firecrackers_form_under_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
