/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts and namespaces. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

static int mount_new(const struct facts *f)
{
	return mount("none", inside(f, "/run"), "tmpfs", 0, NULL);
}

static int mount_proc(const struct facts *f)
{
	return mount("proc", inside(f, "/run"), "proc", 0, NULL);
}

static int mount_bind(const struct facts *f)
{
	return mount("/", inside(f, "/run"), NULL, MS_BIND, NULL);
}

/* /run is no mount, which root is told. */
static int mount_again(const struct facts *f)
{
	return mount(NULL, inside(f, "/run"), NULL, MS_REMOUNT | MS_BIND, NULL);
}

static int unmount(const struct facts *f)
{
	return umount2(inside(f, "/dev"), MNT_DETACH);
}

static int pivot(const struct facts *f)
{
	return (int)syscall(SYS_pivot_root, inside(f, "/dev"),
			    inside(f, "/dev"));
}

static int open_file_system(const struct facts *f)
{
	(void)f;
	return fsopen("tmpfs", FSOPEN_CLOEXEC);
}

static int clone_tree(const struct facts *f)
{
	(void)f;
	return open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

static int move_tree(const struct facts *f)
{
	const char *dev = inside(f, "/dev");

	return move_mount(AT_FDCWD, dev, AT_FDCWD, dev, 0);
}

static int set_attributes(const struct facts *f)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_NOEXEC};

	return mount_setattr(AT_FDCWD, inside(f, "/dev"), 0, &attr,
			     sizeof(attr));
}

static int change_root(const struct facts *f)
{
	return chroot(inside(f, "/run"));
}

static int watch_mount(const struct facts *f)
{
	(void)f;
	return fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
}

static int swap_on(const struct facts *f)
{
	return swapon(inside(f, "/run/none"), 0);
}

static int new_user_ns(const struct facts *f)
{
	(void)f;
	return unshare(CLONE_NEWUSER);
}

static int new_user_and_mount_ns(const struct facts *f)
{
	(void)f;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS);
}

static int clone_user_ns(const struct facts *f)
{
	struct clone_args args = {.flags = CLONE_NEWUSER,
				  .exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	(void)f;
	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0);
}

static int new_mount_ns(const struct facts *f)
{
	(void)f;
	return unshare(CLONE_NEWNS);
}

static int new_net_ns(const struct facts *f)
{
	(void)f;
	return unshare(CLONE_NEWNET);
}

static int new_pid_ns(const struct facts *f)
{
	(void)f;
	return unshare(CLONE_NEWPID);
}

static int join_victim(const struct facts *f)
{
	int fd = (int)syscall(SYS_pidfd_open, f->victim, 0);

	return fd < 0 ? -1 : setns(fd, CLONE_NEWNS);
}

const struct attempt mount_attempts[] = {
	{"mount a file system", mount_new},
	{"mount /proc", mount_proc},
	{"bind mount", mount_bind},
	{"remount", mount_again},
	{"unmount", unmount},
	{"pivot_root", pivot},
	{"fsopen", open_file_system},
	{"open_tree", clone_tree},
	{"move_mount", move_tree},
	{"mount_setattr", set_attributes},
	{"chroot", change_root},
	{"watch the whole mount", watch_mount},
	{"swap to a file", swap_on},
	{"make a user namespace", new_user_ns},
	{"make a user and a mount namespace", new_user_and_mount_ns},
	{"clone into a user namespace", clone_user_ns},
	{"make a mount namespace", new_mount_ns},
	{"make a network namespace", new_net_ns},
	{"make a PID namespace", new_pid_ns},
	{"join the mounts of a host process", join_victim},
	{0},
};
