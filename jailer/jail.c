/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/jail.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/child.h"
#include "jailer/inherited.h"
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
		.proc = -1,
		.host_ns = -1,
		.landlock = -1,
		.start_us = clock_now_ns() / NS_PER_US,
		.start_cpu_us = clock_process_cpu_us(),
	};
	(void)snprintf(j->root_path, sizeof(j->root_path), "%s/%s/%s/root",
		       args->chroot_base_dir, args->exec_name, args->id);
	(void)snprintf(j->pid_name, sizeof(j->pid_name), "%s.pid",
		       args->exec_name);
}

static int open_dir(const char *path, struct err *e)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "Failed to open %s", path) : fd;
}

/* What is named on the command line, once; what is out of reach inside. */
static int open_given(struct jail *j, struct err *e)
{
	int ret = program_open(j, e);

	if (ret < 0)
		return ret;
	if (j->args->netns) {
		j->netns =
			open(j->args->netns, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (j->netns < 0)
			return err_sys(e, "Failed to open file %s",
				       j->args->netns);
	}
	if (j->args->daemonize) {
		j->null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (j->null < 0)
			return err_sys(e, "Failed to open /dev/null");
	}
	if (child_is_wanted(j->args))
		ret = j->proc = open_dir("/proc", e);
	return ret < 0 ? ret : 0;
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
	if (ret == 0)
		ret = program_seal(j, e);
	return ret < 0 ? ret : landlock_prepare(j->sealed, &j->landlock, e);
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

int jail_become(const struct jail *j, struct err *e)
{
	int ret = j->args->daemonize ? leave_session(j, e) : 0;

	if (ret == 0)
		ret = privs_drop(j->args, e);
	if (ret == 0)
		ret = landlock_enter(j->landlock, e);
	if (ret < 0)
		return ret;
	inherited_restore();
	return program_exec(j, e);
}

int jail_run(struct jail *j, struct err *e)
{
	int ret;

	if (child_is_wanted(j->args))
		return child_run(j, e);
	ret = root_write_pid(j, getpid(), e);
	return ret < 0 ? ret : jail_become(j, e);
}

/* A folder on which this process sees something mounted cannot be removed. */
void jail_undo(struct jail *j)
{
	if (j->host_ns >= 0)
		(void)setns(j->host_ns, CLONE_NEWNS);
	made_undo(&j->made);
	cgroups_undo(&j->cgroups);
}
