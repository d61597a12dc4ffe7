/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/jail.h"
#include "jailer/root.h"

#define STAT_BYTES    1024
#define STAT_FLAGS    7	   /* words behind the name */
#define PF_FORKNOEXEC 0x40 /* as in the kernel, since 2.6 */

bool child_is_wanted(const struct args *a)
{
	return a->daemonize || a->new_pid_ns;
}

/* What went wrong goes to the parent, which undoes it. */
static void become(struct jail *j, int report)
{
	struct err e;

	j->start_cpu_us = 0;
	(void)jail_become(j, &e);
	(void)!write(report, &e, sizeof(e));
	_exit(1);
}

/*
 * Whether a process, which may have ended but was not waited for, has executed
 * nothing since it was forked. The kernel notes that before it closes what an
 * exec closes, so the answer is final once the pipe's other end is closed.
 */
static bool never_executed(int proc, pid_t pid)
{
	char path[32], text[STAT_BYTES + 1];
	char *word;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/stat", pid);

	cleanup_fd int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, text, STAT_BYTES);
	if (n <= 0)
		return true;
	text[n] = '\0';
	word = strrchr(text, ')');
	for (int i = 0; word && i < STAT_FLAGS; i++)
		word = strchr(word + 1, ' ');
	return !word || (strtoul(word + 1, NULL, 10) & PF_FORKNOEXEC);
}

/* The executed program holds no end of the pipe. */
static int wait_exec(const struct jail *j, pid_t pid, int report, struct err *e)
{
	struct err theirs;

	if (read(report, &theirs, sizeof(theirs)) == sizeof(theirs)) {
		*e = theirs;
		return e->code;
	}
	if (never_executed(j->proc, pid))
		return err_set(e, -ECHILD,
			       "Failed to exec into Firecracker: the process "
			       "was ended before that");
	return 0;
}

static int run(struct jail *j, pid_t pid, int report, struct err *e)
{
	int ret = root_write_pid(j, pid, e);

	if (ret == 0)
		ret = wait_exec(j, pid, report, e);
	if (ret < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	return ret;
}

int child_run(struct jail *j, struct err *e)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "Failed to make a pipe");
	cleanup_fd int reader = ends[0];
	cleanup_fd int writer = ends[1];

	if (j->args->new_pid_ns && unshare(CLONE_NEWPID) < 0)
		return err_sys(e, "Failed cloning into a new child process");
	j->parent_cpu_us = clock_process_cpu_us() - j->start_cpu_us;
	pid = fork();
	if (pid < 0)
		return err_sys(e, "Failed cloning into a new child process");
	if (pid == 0)
		become(j, writer);
	fd_close(&writer);
	return run(j, pid, reader, e);
}
