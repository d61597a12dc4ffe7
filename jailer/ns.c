/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/jail.h"

/* The working folder moves along into the new namespace. */
static int unshare_all(struct jail *j, struct err *e)
{
	const struct args *a = j->args;
	int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

	if (j->netns >= 0 && setns(j->netns, CLONE_NEWNET) < 0)
		return err_sys(e, "Failed to join network namespace: netns");
	if (fchdir(j->id_dir) < 0)
		return err_sys(e, "Failed to chdir into chroot directory");
	j->host_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (j->host_ns < 0)
		return err_sys(e, "Failed to open the mount namespace");
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

/*
 * A mount of a folder, which is in no namespace yet; it has to be the one that
 * is open already, whatever has happened to its name.
 */
static int clone_tree(int folder, const char *name, unsigned int flags,
		      struct err *e)
{
	struct stat wanted, found;
	cleanup_fd int tree = open_tree(AT_FDCWD, name,
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
						AT_SYMLINK_NOFOLLOW | flags);

	if (tree < 0 || fstat(tree, &found) < 0 || fstat(folder, &wanted) < 0)
		return err_sys(e,
			       "Failed to bind mount the jail root directory");
	if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino)
		return err_set(e, -EBUSY,
			       "The jail root directory was replaced while the "
			       "jail was made");
	return fd_steal(&tree);
}

static int attach(int tree, const char *name, struct err *e)
{
	if (move_mount(tree, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e,
			       "Failed to bind mount the jail root directory");
	return 0;
}

/* The old root comes to lie on the new one, and is lifted off. */
static int pivot(struct err *e)
{
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, "Failed to pivot root");
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "Failed to unmount the old jail root");
	return 0;
}

/*
 * The jail's root gets a second mount over the first, and the program stays
 * below it: the kernel lets nobody make a user namespace whose root is not the
 * topmost of its mount namespace. In one the program would have all
 * capabilities.
 */
static int change_root(const struct jail *j, struct err *e)
{
	cleanup_fd int tree = clone_tree(j->root, "root", AT_RECURSIVE, e);
	cleanup_fd int cover =
		tree < 0 ? -1 : clone_tree(j->root, "root", AT_RECURSIVE, e);
	int ret = cover < 0 ? e->code : attach(tree, "root", e);

	if (ret < 0)
		return ret;
	if (fchdir(tree) < 0)
		return err_sys(e, "Failed to chdir into chroot directory");
	ret = pivot(e);
	return ret == 0 ? attach(cover, ".", e) : ret;
}

int ns_enter(struct jail *j, struct err *e)
{
	int ret = unshare_all(j, e);

	if (ret == 0)
		ret = isolate_mounts(j, e);
	return ret < 0 ? ret : change_root(j, e);
}
