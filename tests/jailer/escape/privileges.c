/* SPDX-License-Identifier: Apache-2.0 */
/* Ids, capabilities, limits. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

/* User 0, for whom that is nothing new, tries the next. */
static uid_t other(uid_t id)
{
	return id ? 0 : 1;
}

static int become_user(const struct facts *f)
{
	(void)f;
	return setresuid(other(getuid()), (uid_t)-1, (uid_t)-1);
}

static int become_group(const struct facts *f)
{
	(void)f;
	return setresgid(other(getgid()), (gid_t)-1, (gid_t)-1);
}

static int join_groups(const struct facts *f)
{
	const gid_t group = 0;

	(void)f;
	return setgroups(1, &group);
}

/* errno is no help: another file system id is just not taken. */
static int become_fs_user(const struct facts *f)
{
	uid_t uid = other(getuid());

	(void)f;
	(void)syscall(SYS_setfsuid, uid);
	errno = EPERM;
	return (uid_t)syscall(SYS_setfsuid, -1) == uid ? 0 : -1;
}

static int raise_caps(const struct facts *f)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {
		{1U << CAP_CHOWN, 1U << CAP_CHOWN, 1U << CAP_CHOWN}, {0}};

	(void)f;
	return (int)syscall(SYS_capset, &h, d);
}

static int inherit_caps(const struct facts *f)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0, 0, 1U << CAP_CHOWN}, {0}};

	(void)f;
	return (int)syscall(SYS_capset, &h, d);
}

static int raise_ambient(const struct facts *f)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];

	(void)f;
	/* Root outside has it permitted, and needs it inheritable. */
	if (syscall(SYS_capget, &h, d) == 0) {
		d[0].inheritable |= 1U << CAP_CHOWN;
		(void)syscall(SYS_capset, &h, d);
	}
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0);
}

static int unlock_bits(const struct facts *f)
{
	(void)f;
	return prctl(PR_SET_SECUREBITS, 0, 0, 0, 0);
}

static int keep_caps(const struct facts *f)
{
	(void)f;
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
}

static int raise_limit(int what)
{
	struct rlimit lim;

	if (getrlimit((__rlimit_resource_t)what, &lim) < 0)
		return -1;
	if (lim.rlim_max == RLIM_INFINITY)
		return 0;
	lim.rlim_max++;
	return setrlimit((__rlimit_resource_t)what, &lim);
}

static int raise_files(const struct facts *f)
{
	(void)f;
	return raise_limit(RLIMIT_NOFILE);
}

static int raise_core(const struct facts *f)
{
	(void)f;
	return raise_limit(RLIMIT_CORE);
}

static int set_program(const struct facts *f)
{
	(void)f;
	/* Root is told that 0 is no address of code. */
	return prctl(PR_SET_MM, PR_SET_MM_START_CODE, 0, 0, 0);
}

static int choose_pid(const struct facts *f)
{
	pid_t pid = f->victim;
	struct clone_args args = {.set_tid = (uintptr_t)&pid,
				  .set_tid_size = 1,
				  .exit_signal = SIGCHLD};

	/* Root is told that this one exists. */
	return (int)syscall(SYS_clone3, &args, sizeof(args));
}

const struct attempt privilege_attempts[] = {
	{"become another user", become_user},
	{"become another group", become_group},
	{"join group 0", join_groups},
	{"become another user for files", become_fs_user},
	{"raise capabilities", raise_caps},
	{"raise inheritable capabilities", inherit_caps},
	{"raise ambient capabilities", raise_ambient},
	{"unlock the secure bits", unlock_bits},
	{"keep capabilities", keep_caps},
	{"raise the limit of files", raise_files},
	{"raise the limit of core files", raise_core},
	{"move the program's own memory map", set_program},
	{"choose a process id", choose_pid},
	{0},
};
