/* SPDX-License-Identifier: Apache-2.0 */
/* What needs a process in the jail, or a mount, is in tests/boot/jailer.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jailer/remove.h"

#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "base/err.h"
#include "jailer/args.h"
#include "tests/jailer/tree.h"

struct base {
	char path[32];
	int top;
	struct args args;
	struct err e;
};

static void make_base(struct base *b)
{
	*b = (struct base){0};
	b->top = tree_new(b->path);
	b->args.id = "vm";
	b->args.chroot_base_dir = b->path;
	tree_dir(b->top, "no-such-program");
	tree_dir(b->top, "no-such-program/vm");
	tree_dir(b->top, "no-such-program/vm/root");
}

/*
 * In place of the C library's: another jailer removes the jail just before and
 * a third makes it anew.
 */
static const struct base *others_are_quick;

int flock(int fd, int operation)
{
	const struct base *b = others_are_quick;

	if (b) {
		others_are_quick = NULL;
		assert_int_equal(
			renameat(b->top, "no-such-program/vm", b->top, "gone"),
			0);
		tree_dir(b->top, "no-such-program/vm");
	}
	return (int)syscall(SYS_flock, fd, operation);
}

/* A program of the name is not needed: names alone decide. */
static int take(struct base *b)
{
	b->args.exec_name = NULL;
	return remove_jail(&b->args, &b->e);
}

static void removes_all_and_follows_no_link(void **state)
{
	struct base b;
	int root;

	(void)state;
	make_base(&b);
	root = openat(b.top, "no-such-program/vm/root",
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(root >= 0);
	tree_dir(b.top, "outside");
	tree_file(b.top, "outside/file", "whole");
	tree_dir(root, "dev");
	tree_dir(root, "dev/net");
	tree_file(root, "dev/net/file", "");
	tree_file(root, "no-such-program.pid", "1");
	assert_int_equal(symlinkat("../../../outside", root, "link"), 0);
	assert_int_equal(symlinkat("/", root, "dev/link"), 0);
	assert_int_equal(linkat(b.top, "outside/file", root, "hard", 0), 0);
	assert_int_equal(mkfifoat(root, "fifo", 0), 0);
	assert_int_equal(take(&b), 0);
	assert_false(tree_has(b.top, "no-such-program/vm"));
	assert_true(tree_has(b.top, "no-such-program"));
	tree_is(b.top, "outside/file", "whole");
	(void)close(root);
	tree_free(b.top, b.path);
}

static void what_stands_beside_the_root_stays(void **state)
{
	struct base b;

	(void)state;
	make_base(&b);
	tree_file(b.top, "no-such-program/vm/notes", "x");
	assert_int_equal(take(&b), 0);
	assert_false(tree_has(b.top, "no-such-program/vm/root"));
	assert_true(tree_has(b.top, "no-such-program/vm/notes"));
	assert_int_equal(take(&b), 0);
	tree_free(b.top, b.path);
}

static void two_programs_jails_need_a_name(void **state)
{
	struct base b;

	(void)state;
	make_base(&b);
	tree_dir(b.top, "other");
	tree_dir(b.top, "other/vm");
	assert_int_equal(take(&b), -EINVAL);
	assert_non_null(strstr(b.e.text, "--exec-file"));
	b.args.exec_name = "other";
	assert_int_equal(remove_jail(&b.args, &b.e), 0);
	assert_false(tree_has(b.top, "other/vm"));
	assert_true(tree_has(b.top, "no-such-program/vm"));
	tree_free(b.top, b.path);
}

static void no_jail_is_an_error(void **state)
{
	struct base b;

	(void)state;
	make_base(&b);
	b.args.id = "none";
	assert_int_equal(take(&b), -ENOENT);
	b.args.exec_name = "no-such-program";
	assert_int_equal(remove_jail(&b.args, &b.e), -ENOENT);
	b.args.chroot_base_dir = "/no/such/folder";
	assert_int_equal(take(&b), -ENOENT);
	tree_free(b.top, b.path);
}

static void links_are_no_jails(void **state)
{
	struct base b;

	(void)state;
	make_base(&b);
	tree_dir(b.top, "outside");
	tree_file(b.top, "outside/file", "whole");
	assert_int_equal(symlinkat("../outside", b.top, "no-such-program/l"),
			 0);
	b.args.id = "l";
	assert_int_equal(take(&b), -ENOENT);
	b.args.id = "vm";
	assert_int_equal(
		unlinkat(b.top, "no-such-program/vm/root", AT_REMOVEDIR), 0);
	assert_int_equal(
		symlinkat("../../outside", b.top, "no-such-program/vm/root"),
		0);
	assert_true(take(&b) < 0);
	tree_is(b.top, "outside/file", "whole");
	tree_free(b.top, b.path);
}

static void a_jail_that_is_being_made_is_left_alone(void **state)
{
	struct base b;
	int maker;

	(void)state;
	make_base(&b);
	maker = openat(b.top, "no-such-program/vm", O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(maker, LOCK_EX), 0);
	assert_int_equal(take(&b), -EAGAIN);
	assert_true(tree_has(b.top, "no-such-program/vm/root"));
	(void)close(maker);
	assert_int_equal(take(&b), 0);
	tree_free(b.top, b.path);
}

static void a_bottomless_tree_is_refused_whole(void **state)
{
	struct base b;
	int dir, next;

	(void)state;
	make_base(&b);
	tree_file(b.top, "no-such-program/vm/root/a-file", "");
	dir = openat(b.top, "no-such-program/vm/root",
		     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 200; i++) {
		tree_dir(dir, "d");
		next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		(void)close(dir);
		dir = next;
	}
	(void)close(dir);
	assert_int_equal(take(&b), -ELOOP);
	assert_true(tree_has(b.top, "no-such-program/vm/root/a-file"));
	tree_free(b.top, b.path);
}

static void a_jail_made_meanwhile_is_another(void **state)
{
	struct base b;

	(void)state;
	make_base(&b);
	others_are_quick = &b;
	assert_int_equal(take(&b), -EBUSY);
	assert_true(tree_has(b.top, "no-such-program/vm"));
	assert_true(tree_has(b.top, "gone/root"));
	tree_free(b.top, b.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(removes_all_and_follows_no_link),
		cmocka_unit_test(what_stands_beside_the_root_stays),
		cmocka_unit_test(two_programs_jails_need_a_name),
		cmocka_unit_test(no_jail_is_an_error),
		cmocka_unit_test(links_are_no_jails),
		cmocka_unit_test(a_jail_that_is_being_made_is_left_alone),
		cmocka_unit_test(a_bottomless_tree_is_refused_whole),
		cmocka_unit_test(a_jail_made_meanwhile_is_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
