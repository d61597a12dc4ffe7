/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: mayfly-jailer.
 *
 * Order: forget what was inherited, read the command line, make the jail, drop
 * everything, execute. Each step is undone if a later one fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/err.h"
#include "jailer/args.h"
#include "jailer/jail.h"
#include "jailer/remove.h"

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "%s\n", e->text);
	return 1;
}

/* 0, 1 and 2 stay, or become /dev/null where they are closed. */
static int clean_descriptors(struct err *e)
{
	int fd;

	if (close_range(3, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return err_sys(e, "Failed to call close range syscall");
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2 && fcntl(fd, F_SETFD, 0) == 0);
	if (fd < 0)
		return err_sys(e, "Failed to open /dev/null");
	(void)close(fd);
	return 0;
}

/* Dispositions, mask and timers outlive an exec; the environment would. */
static void clean_process(void)
{
	const struct itimerval off = {0};
	sigset_t none;

	for (int sig = 1; sig <= SIGRTMAX; sig++)
		(void)signal(sig, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		(void)setitimer((__itimer_which_t)which, &off, NULL);
	(void)umask(022);
	(void)clearenv();
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

	if (clean_descriptors(&e) < 0)
		return fail(&e);
	clean_process();
	if (args_parse(&args, argc, argv, &e) < 0)
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
