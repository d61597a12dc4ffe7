/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jailer/paths.h"

#include <errno.h>

#include "base/num.h"
#include "tests/jailer/tree.h"

static void makes_a_folder_once_and_takes_note(void **state)
{
	struct made made = {0};
	char path[32];
	int top = tree_new(path);
	int a, b;

	(void)state;
	a = path_make_dir(top, "a", 0700, &made);
	assert_true(a >= 0);
	assert_int_equal(made.n, 1);
	b = path_make_dir(top, "a", 0700, &made);
	assert_true(b >= 0);
	assert_int_equal(made.n, 1);
	(void)close(a);
	(void)close(b);
	made_undo(&made);
	assert_false(tree_has(top, "a"));
	tree_free(top, path);
}

static void what_was_there_is_not_undone(void **state)
{
	struct made made = {0};
	char path[32];
	int top = tree_new(path);
	int a;

	(void)state;
	tree_dir(top, "a");
	a = path_make_dir(top, "a", 0700, &made);
	assert_true(a >= 0);
	(void)close(a);
	made_undo(&made);
	assert_true(tree_has(top, "a"));
	tree_free(top, path);
}

static void a_folder_with_more_in_it_is_not_undone(void **state)
{
	struct made made = {0};
	char path[32];
	int top = tree_new(path);
	int a = path_make_dir(top, "a", 0700, &made);
	int b = path_make_dir(a, "b", 0700, &made);

	(void)state;
	assert_true(a >= 0 && b >= 0);
	tree_file(a, "theirs", "x");
	made_undo(&made);
	assert_false(tree_has(a, "b"));
	assert_true(tree_has(a, "theirs"));
	(void)close(a);
	(void)close(b);
	tree_free(top, path);
}

static void links_and_files_are_no_folders(void **state)
{
	static const char *const names[] = {"link", "broken", "file", "fifo"};
	struct made made = {0};
	char path[32];
	int top = tree_new(path);

	(void)state;
	tree_dir(top, "dir");
	assert_int_equal(symlinkat("dir", top, "link"), 0);
	assert_int_equal(symlinkat("none", top, "broken"), 0);
	tree_file(top, "file", "");
	assert_int_equal(mkfifoat(top, "fifo", 0600), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(path_open_dir(top, names[i]), -ENOTDIR);
		assert_int_equal(path_make_dir(top, names[i], 0700, &made),
				 -ENOTDIR);
	}
	assert_int_equal(made.n, 0);
	assert_false(tree_has(top, "none"));
	tree_free(top, path);
}

static void only_a_single_component_is_a_name(void **state)
{
	static const char *const names[] = {"",	 ".",	 "..",	"a/b",
					    "/", "/tmp", "../x"};
	char path[32];
	int top = tree_new(path);

	(void)state;
	tree_dir(top, "a");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(path_open_dir(top, names[i]), -EINVAL);
		assert_int_equal(path_make_dir(top, names[i], 0700, NULL),
				 -EINVAL);
	}
	tree_free(top, path);
}

static void tells_hard_links(void **state)
{
	char path[32];
	int top = tree_new(path);

	(void)state;
	tree_file(top, "one", "");
	tree_file(top, "two", "");
	tree_dir(top, "dir");
	assert_int_equal(linkat(top, "two", top, "three", 0), 0);
	assert_int_equal(symlinkat("two", top, "soft"), 0);
	assert_false(path_is_hard_link(top, "one"));
	assert_true(path_is_hard_link(top, "two"));
	assert_false(path_is_hard_link(top, "dir"));
	assert_false(path_is_hard_link(top, "soft"));
	assert_false(path_is_hard_link(top, "none"));
	tree_free(top, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_a_folder_once_and_takes_note),
		cmocka_unit_test(what_was_there_is_not_undone),
		cmocka_unit_test(a_folder_with_more_in_it_is_not_undone),
		cmocka_unit_test(links_and_files_are_no_folders),
		cmocka_unit_test(only_a_single_component_is_a_name),
		cmocka_unit_test(tells_hard_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
