/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchies made of ordinary files. The kernel fills a new cgroup with files;
 * here the leaf is made beforehand, with what the test expects to be written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jailer/cgroup.h"

#include <errno.h>

#include "base/err.h"
#include "tests/jailer/tree.h"

struct host {
	char path[32];
	char mounts[64];
	int top;
	struct cgroups c;
	struct cgroup_plan plan;
	struct flag_list set;
	struct err e;
};

static void add_mount(const struct host *h, const char *dir, const char *type,
		      const char *options)
{
	FILE *f = fopen(h->mounts, "a");

	assert_non_null(f);
	assert_true(fprintf(f, "x %s/%s %s rw,nosuid,%s 0 0\n", h->path, dir,
			    type, options) > 0);
	assert_int_equal(fclose(f), 0);
}

static void make_host(struct host *h)
{
	*h = (struct host){0};
	h->top = tree_new(h->path);
	(void)snprintf(h->mounts, sizeof(h->mounts), "%s/mounts", h->path);
	tree_file(h->top, "mounts", "proc /proc proc rw 0 0\n");
	h->plan = (struct cgroup_plan){
		.mounts = h->mounts,
		.parent = "p/q",
		.id = "vm",
		.set = &h->set,
	};
}

static void free_host(struct host *h)
{
	cgroups_undo(&h->c);
	tree_free(h->top, h->path);
}

static int enter(struct host *h)
{
	return cgroups_enter(&h->c, &h->plan, &h->e);
}

static void set(struct host *h, const char *item)
{
	h->set.items[h->set.n++] = item;
}

/* A hierarchy of version 2 with the levels p, q and vm. */
static void add_v2(struct host *h)
{
	static const char *const levels[] = {"u", "u/p", "u/p/q", "u/p/q/vm"};
	char name[64];

	add_mount(h, "u", "cgroup2", "nsdelegate");
	for (int i = 0; i < 4; i++) {
		tree_dir(h->top, levels[i]);
		(void)snprintf(name, sizeof(name), "%s/cgroup.subtree_control",
			       levels[i]);
		tree_file(h->top, name, "");
		(void)snprintf(name, sizeof(name), "%s/cgroup.procs",
			       levels[i]);
		tree_file(h->top, name, "");
	}
	tree_file(h->top, "u/cgroup.controllers", "cpuset cpu io memory\n");
	tree_file(h->top, "u/p/q/vm/cpu.weight", "");
	tree_file(h->top, "u/p/q/vm/io.max", "");
}

static void add_v1(struct host *h, const char *name, const char *controllers)
{
	char path[64];

	add_mount(h, name, "cgroup", controllers);
	for (int i = 0; i < 4; i++) {
		static const char *const levels[] = {"", "/p", "/p/q",
						     "/p/q/vm"};

		(void)snprintf(path, sizeof(path), "%s%s", name, levels[i]);
		tree_dir(h->top, path);
		(void)snprintf(path, sizeof(path), "%s%s/cgroup.procs", name,
			       levels[i]);
		tree_file(h->top, path, "");
	}
}

static void v2_enables_above_sets_in_the_leaf_and_enters(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v2(&h);
	set(&h, "io.max=8:0 rbps=1");
	set(&h, "cpu.weight=50");
	assert_int_equal(enter(&h), 0);
	tree_is(h.top, "u/p/q/vm/cpu.weight", "50\n");
	tree_is(h.top, "u/p/q/vm/io.max", "8:0 rbps=1\n");
	tree_is(h.top, "u/cgroup.subtree_control", "+cpu\n");
	tree_is(h.top, "u/p/q/cgroup.subtree_control", "+cpu\n");
	tree_is(h.top, "u/p/q/vm/cgroup.subtree_control", "");
	tree_is(h.top, "u/p/q/vm/cgroup.procs", "0\n");
	tree_is(h.top, "u/p/q/cgroup.procs", "");
	assert_int_equal(h.c.n, 1);
	free_host(&h);
}

static void v2_refuses_a_controller_that_is_not_there(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v2(&h);
	set(&h, "pu.weight=50");
	assert_true(enter(&h) < 0);
	assert_string_equal(h.e.text, "Controller pu is unavailable");
	tree_is(h.top, "u/cgroup.subtree_control", "");
	free_host(&h);
}

static void without_a_version_the_hosts_is_used(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v2(&h);
	add_v1(&h, "cpu,acct", "cpu,cpuacct");
	tree_file(h.top, "cpu,acct/p/q/vm/cpu.shares", "");
	set(&h, "cpu.shares=7"); /* both have it */
	set(&h, "io.max=x");	 /* version 2 alone */
	assert_int_equal(enter(&h), 0);
	tree_is(h.top, "cpu,acct/p/q/vm/cpu.shares", "7\n");
	tree_is(h.top, "cpu,acct/p/q/vm/cgroup.procs", "0\n");
	tree_is(h.top, "u/p/q/vm/io.max", "x\n");
	assert_int_equal(h.c.n, 2);
	free_host(&h);
}

static void a_version_that_is_asked_for_is_the_only_one(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v2(&h);
	set(&h, "cpu.weight=50");
	h.plan.version = 1;
	assert_true(enter(&h) < 0);
	assert_string_equal(h.e.text,
			    "Hierarchy not found: No hierarchy found for this "
			    "cgroup version.");
	add_v1(&h, "memory", "memory");
	assert_true(enter(&h) < 0);
	assert_string_equal(h.e.text, "Controller cpu is unavailable");
	h.plan.version = 2;
	assert_int_equal(enter(&h), 0);
	free_host(&h);
}

static void v1_shares_a_hierarchy_between_controllers(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v1(&h, "both", "cpu,cpuacct");
	tree_file(h.top, "both/p/q/vm/cpu.shares", "");
	tree_file(h.top, "both/p/q/vm/cpuacct.usage", "");
	set(&h, "cpu.shares=1");
	set(&h, "cpuacct.usage=2");
	assert_int_equal(enter(&h), 0);
	assert_int_equal(h.c.n, 1);
	free_host(&h);
}

static void v1_cpusets_inherit_what_they_lack(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v1(&h, "cpuset", "cpuset");
	tree_file(h.top, "cpuset/cpuset.cpus", "0-3\n");
	tree_file(h.top, "cpuset/cpuset.mems", "0\n");
	tree_file(h.top, "cpuset/p/cpuset.cpus", "2-3\n");
	tree_file(h.top, "cpuset/p/cpuset.mems", "");
	tree_file(h.top, "cpuset/p/q/cpuset.cpus", "\n");
	tree_file(h.top, "cpuset/p/q/cpuset.mems", "");
	tree_file(h.top, "cpuset/p/q/vm/cpuset.cpus", "");
	tree_file(h.top, "cpuset/p/q/vm/cpuset.mems", "");
	set(&h, "cpuset.cpus=3");
	assert_int_equal(enter(&h), 0);
	tree_is(h.top, "cpuset/p/cpuset.cpus", "2-3\n");
	tree_is(h.top, "cpuset/p/cpuset.mems", "0\n");
	tree_is(h.top, "cpuset/p/q/vm/cpuset.mems", "0\n");
	free_host(&h);
}

static void undo_takes_what_was_made_and_nothing_else(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v1(&h, "pids", "pids");
	h.plan.id = "new";
	set(&h, "pids.max=1");
	/* A new folder of an ordinary file system has no such file. */
	assert_true(enter(&h) < 0);
	assert_non_null(strstr(h.e.text, "/pids/p/q/new/pids.max: No such"));
	assert_true(tree_has(h.top, "pids/p/q/new"));
	cgroups_undo(&h.c);
	assert_false(tree_has(h.top, "pids/p/q/new"));
	assert_true(tree_has(h.top, "pids/p/q"));
	tree_is(h.top, "pids/cgroup.procs", "");
	free_host(&h);
}

static void links_below_a_mount_are_not_followed(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v2(&h);
	set(&h, "cpu.weight=50");
	h.plan.id = "link";
	assert_int_equal(symlinkat("vm", h.top, "u/p/q/link"), 0);
	assert_true(enter(&h) < 0);
	h.plan.id = "vm";
	h.plan.parent = "r";
	assert_int_equal(symlinkat("p", h.top, "u/r"), 0);
	assert_true(enter(&h) < 0);
	h.plan.parent = "p/q";
	assert_int_equal(unlinkat(h.top, "u/p/q/vm/cpu.weight", 0), 0);
	tree_file(h.top, "target", "whole");
	assert_int_equal(
		symlinkat("../../../../target", h.top, "u/p/q/vm/cpu.weight"),
		0);
	assert_true(enter(&h) < 0);
	tree_is(h.top, "target", "whole");
	free_host(&h);
}

static void joins_an_existing_cgroup_as_it_is(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	assert_true(cgroups_join(&h.plan, &h.e) < 0);
	add_v2(&h);
	assert_int_equal(cgroups_join(&h.plan, &h.e), 0);
	tree_is(h.top, "u/p/q/cgroup.procs", "0\n");
	tree_is(h.top, "u/cgroup.subtree_control", "");
	h.plan.parent = "p/none";
	assert_int_equal(cgroups_join(&h.plan, &h.e), 0);
	free_host(&h);
}

static void removes_the_leaf_from_all_hierarchies(void **state)
{
	struct host h;

	(void)state;
	make_host(&h);
	add_v1(&h, "pids", "pids");
	add_v1(&h, "memory", "memory");
	add_mount(&h, "empty", "cgroup", "cpu");
	tree_dir(h.top, "empty");
	assert_int_equal(unlinkat(h.top, "pids/p/q/vm/cgroup.procs", 0), 0);
	assert_true(cgroups_remove(&h.plan, &h.e) < 0); /* memory's is full */
	assert_false(tree_has(h.top, "pids/p/q/vm"));
	assert_int_equal(unlinkat(h.top, "memory/p/q/vm/cgroup.procs", 0), 0);
	assert_int_equal(cgroups_remove(&h.plan, &h.e), 0);
	assert_false(tree_has(h.top, "memory/p/q/vm"));
	assert_true(tree_has(h.top, "memory/p/q"));
	assert_int_equal(cgroups_remove(&h.plan, &h.e), 0);
	free_host(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v2_enables_above_sets_in_the_leaf_and_enters),
		cmocka_unit_test(v2_refuses_a_controller_that_is_not_there),
		cmocka_unit_test(without_a_version_the_hosts_is_used),
		cmocka_unit_test(a_version_that_is_asked_for_is_the_only_one),
		cmocka_unit_test(v1_shares_a_hierarchy_between_controllers),
		cmocka_unit_test(v1_cpusets_inherit_what_they_lack),
		cmocka_unit_test(undo_takes_what_was_made_and_nothing_else),
		cmocka_unit_test(links_below_a_mount_are_not_followed),
		cmocka_unit_test(joins_an_existing_cgroup_as_it_is),
		cmocka_unit_test(removes_the_leaf_from_all_hierarchies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
