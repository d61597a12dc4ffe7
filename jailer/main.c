/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: mayfly-jailer.
 *
 * Order: forget what was inherited, read the command line, make the jail, drop
 * everything, execute. Each step is undone if a later one fails.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "jailer/args.h"
#include "jailer/inherited.h"
#include "jailer/jail.h"
#include "jailer/remove.h"

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "%s\n", e->text);
	return 1;
}

/* A set-user-id jailer would let anybody make jails for anybody. */
static int check_root(struct err *e)
{
	if (getuid() == 0 && geteuid() == 0)
		return 0;
	return err_set(e, -EPERM, "The jailer has to be started by root");
}

static int start(const struct args *args, struct err *e)
{
	static struct jail jail; /* for as long as the process */
	int ret;

	if (args->uid == 0 || args->gid == 0)
		(void)fprintf(stderr,
			      "Warning! The program runs with %s 0, "
			      "which owns most of the host's files.\n",
			      args->uid == 0 ? "uid" : "gid");
	ret = inherited_leave(e);
	if (ret < 0)
		return ret;
	jail_init(&jail, args);
	ret = jail_make(&jail, e);
	if (ret == 0)
		ret = jail_run(&jail, e);
	if (ret < 0)
		jail_undo(&jail);
	return ret;
}

int main(int argc, char **argv)
{
	static struct args args;
	struct err e;
	int ret;

	if (inherited_clean(&e) < 0 || args_parse(&args, argc, argv, &e) < 0)
		return fail(&e);
	if (args.action == FLAGS_HELP) {
		args_print_help(stdout, argv[0]);
		return 0;
	}
	if (args.action == FLAGS_VERSION) {
		args_print_version(stdout, argv[0]);
		return 0;
	}
	ret = check_root(&e);
	if (ret == 0)
		ret = args.remove ? remove_jail(&args, &e) : start(&args, &e);
	return ret < 0 ? fail(&e) : 0;
}
