/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/landlock.h"
#include "jailer/ns.h"
#include "jailer/privs.h"
#include "jailer/program.h"
#include "jailer/root.h"

void jail_init(struct jail *j, const struct args *args)
{
	*j = (struct jail){
		.args = args,
		.program = -1,
		.copy = -1,
		.sealed = -1,
		.base = -1,
		.exec_dir = -1,
		.id_dir = -1,
		.root = -1,
		.dev = -1,
		.net = -1,
		.netns = -1,
		.null = -1,
		.start_us = clock_now_ns() / NS_PER_US,
		.start_cpu_us = clock_process_cpu_us(),
	};
	(void)snprintf(j->root_path, sizeof(j->root_path), "%s/%s/%s/root",
		       args->chroot_base_dir, args->exec_name, args->id);
	(void)snprintf(j->pid_name, sizeof(j->pid_name), "%s.pid",
		       args->exec_name);
}

/* What is named on the command line, once. */
static int open_given(struct jail *j, struct err *e)
{
	int ret = program_open(j, e);

	if (ret < 0)
		return ret;
	if (j->args->netns) {
		j->netns = open(j->args->netns, O_RDONLY | O_CLOEXEC);
		if (j->netns < 0)
			return err_sys(e, "Failed to open file %s",
				       j->args->netns);
	}
	if (j->args->daemonize) {
		j->null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (j->null < 0)
			return err_sys(e, "Failed to open /dev/null");
	}
	return 0;
}

static int enter_cgroups(struct jail *j, struct err *e)
{
	const struct args *a = j->args;
	const struct cgroup_plan plan = {
		.mounts = CGROUPS_MOUNTS,
		.version = a->version,
		.parent = a->parent_cgroup,
		.id = a->id,
		.set = &a->cgroup,
	};

	if (a->cgroup.n == 0)
		return a->parent_given && a->version == 2
			       ? cgroups_join(&plan, e)
			       : 0;
	return cgroups_enter(&j->cgroups, &plan, e);
}

int jail_make(struct jail *j, struct err *e)
{
	int ret = open_given(j, e);

	if (ret == 0)
		ret = root_make(j, e);
	if (ret == 0)
		ret = program_copy(j, e);
	if (ret == 0)
		ret = root_fill(j, e);
	if (ret == 0)
		ret = enter_cgroups(j, e);
	if (ret == 0)
		ret = privs_lock(e);
	if (ret == 0)
		ret = ns_enter(j, e);
	return ret < 0 ? ret : program_seal(j, e);
}

static int leave_session(const struct jail *j, struct err *e)
{
	if (setsid() < 0)
		return err_sys(e, "Failed to daemonize: setsid");
	for (int fd = 0; fd <= 2; fd++) {
		if (dup2(j->null, fd) < 0)
			return err_sys(e, "Failed to duplicate fd");
	}
	return 0;
}

/* The last steps, in the process that becomes the program. */
static int become(const struct jail *j, struct err *e)
{
	int ret = j->args->daemonize ? leave_session(j, e) : 0;

	if (ret == 0)
		ret = privs_drop(j->args, e);
	if (ret == 0)
		ret = landlock_enter(j->sealed, e);
	return ret < 0 ? ret : program_exec(j, e);
}

/* In the child: what went wrong goes to the parent, which undoes it. */
static void child(struct jail *j, int report)
{
	struct err e;

	j->start_cpu_us = 0;
	if (become(j, &e) < 0)
		(void)!write(report, &e, sizeof(e));
	_exit(1);
}

/* The executed program holds no end of the pipe, so its end means success. */
static int wait_child(struct jail *j, pid_t pid, int report, struct err *e)
{
	struct err theirs;
	int ret = root_write_pid(j, pid, e);

	if (ret < 0) {
		(void)kill(pid, SIGKILL);
	} else if (read(report, &theirs, sizeof(theirs)) == sizeof(theirs)) {
		*e = theirs;
		ret = theirs.code;
	}
	if (ret < 0)
		(void)waitpid(pid, NULL, 0);
	return ret;
}

static int run_child(struct jail *j, struct err *e)
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
		child(j, writer);
	fd_close(&writer);
	return wait_child(j, pid, reader, e);
}

int jail_run(struct jail *j, struct err *e)
{
	int ret;

	if (j->args->daemonize || j->args->new_pid_ns)
		return run_child(j, e);
	ret = root_write_pid(j, getpid(), e);
	return ret < 0 ? ret : become(j, e);
}

void jail_undo(struct jail *j)
{
	made_undo(&j->made);
	cgroups_undo(&j->cgroups);
}
