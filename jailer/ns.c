/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/ns.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/jail.h"

/* The working folder moves along into the new namespace: it is the root. */
static int unshare_all(const struct jail *j, struct err *e)
{
	const struct args *a = j->args;
	int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

	if (j->netns >= 0 && setns(j->netns, CLONE_NEWNET) < 0)
		return err_sys(e, "Failed to join network namespace: netns");
	if (fchdir(j->root) < 0)
		return err_sys(e, "Failed to chdir into chroot directory");
	if (unshare(flags | (a->new_net_ns ? CLONE_NEWNET : 0)) < 0)
		return err_sys(e, "Failed to unshare into new mount namespace");
	/* The host's name is no business of the jail's. */
	if (sethostname(a->id, strlen(a->id)) < 0)
		return err_sys(e, "Failed to set the host name");
	return 0;
}

/*
 * As a slave the tree still receives what the host mounts below the root, and
 * sends nothing back.
 */
static int isolate_mounts(const struct jail *j, struct err *e)
{
	unsigned long kind = j->args->private_mounts ? MS_PRIVATE : MS_SLAVE;

	if (mount(NULL, "/", NULL, MS_REC | kind, NULL) < 0)
		return err_sys(e,
			       "Failed to change the propagation type to "
			       "%s",
			       kind == MS_SLAVE ? "slave" : "private");
	return 0;
}

/* The root becomes a mount of its own, with what is mounted below it. */
static int change_root(struct err *e)
{
	cleanup_fd int tree =
		open_tree(AT_FDCWD, ".",
			  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (tree < 0 ||
	    move_mount(tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e,
			       "Failed to bind mount the jail root directory");
	if (fchdir(tree) < 0)
		return err_sys(e, "Failed to chdir into chroot directory");
	/* The old root comes to lie on the new one, and is lifted off. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, "Failed to pivot root");
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "Failed to unmount the old jail root");
	if (chdir("/") < 0)
		return err_sys(e, "Failed to chdir into chroot directory");
	return 0;
}

int ns_enter(struct jail *j, struct err *e)
{
	int ret = unshare_all(j, e);

	if (ret == 0)
		ret = isolate_mounts(j, e);
	return ret < 0 ? ret : change_root(e);
}
