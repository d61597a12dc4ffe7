/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/remove.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/cgroup.h"
#include "jailer/paths.h"

/* A descriptor a level. */
#define MAX_DEPTH 128

static void cleanup_dir_(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

#define cleanup_dir __attribute__((cleanup(cleanup_dir_)))

/* A stream of its own over a folder, from the start. */
static DIR *list(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		(void)close(fd);
	return d;
}

/* The next entry that is not "." or "..", or NULL. */
static const struct dirent *next_entry(DIR *d)
{
	const struct dirent *ent;

	do
		ent = readdir(d);
	while (ent &&
	       (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, "..")));
	return ent;
}

/* The mount that an entry is on, without following a link. */
static int mount_of(int dir, const char *name, uint64_t *id)
{
	struct statx st;

	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_MNT_ID,
		  &st) < 0)
		return -errno;
	if (!(st.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	*id = st.stx_mnt_id;
	return 0;
}

/*
 * Go through a tree and refuse what is mounted in it; with take, remove all
 * below dir.
 */
static int walk(int dir, uint64_t mount, bool take, int depth, struct err *e)
{
	cleanup_dir DIR *d = list(dir);
	const struct dirent *ent;

	if (!d || depth == MAX_DEPTH)
		return err_code(e, d ? -ELOOP : -errno,
				"Failed to read a folder");
	while ((ent = next_entry(d))) {
		cleanup_fd int fd = path_open_dir(dir, ent->d_name);
		uint64_t id = 0;
		int ret = fd >= 0 ? mount_of(fd, "", &id)
				  : mount_of(dir, ent->d_name, &id);

		if (ret < 0)
			return err_code(e, ret, "Failed to look at '%.64s'",
					ent->d_name);
		if (id != mount)
			return err_set(e, -EBUSY,
				       "Something is mounted at '%.64s' in the "
				       "jail: unmount it first",
				       ent->d_name);
		if (fd >= 0)
			ret = walk(fd, mount, take, depth + 1, e);
		if (ret < 0)
			return ret;
		if (take &&
		    unlinkat(dir, ent->d_name, fd >= 0 ? AT_REMOVEDIR : 0) < 0)
			return err_sys(e, "Failed to remove '%.64s'",
				       ent->d_name);
	}
	return 0;
}

/* Whether a thread's root, seen in /proc/PID/task, is this folder. */
static bool is_rooted(int tasks, const char *tid, const struct stat *jail)
{
	char path[NAME_MAX + 8];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/root", tid);
	return fstatat(tasks, path, &st, 0) == 0 && st.st_dev == jail->st_dev &&
	       st.st_ino == jail->st_ino;
}

/*
 * Whether any of its threads has: the first, which /proc/PID/root is about, may
 * have ended while the others go on.
 */
static bool is_process_in(int proc, const char *pid, const struct stat *jail)
{
	cleanup_fd int process = path_open_dir(proc, pid);
	cleanup_fd int task = process < 0 ? -1 : path_open_dir(process, "task");
	cleanup_dir DIR *tasks = task < 0 ? NULL : list(task);
	const struct dirent *ent;

	while (tasks && (ent = next_entry(tasks))) {
		if (is_rooted(task, ent->d_name, jail))
			return true;
	}
	return false;
}

/* The process whose root is this folder, or 0. */
static int process_in(int root)
{
	cleanup_dir DIR *proc = opendir("/proc");
	const struct dirent *ent;
	struct stat jail;

	if (!proc || fstat(root, &jail) < 0)
		return -errno;
	while ((ent = next_entry(proc))) {
		if (isdigit((unsigned char)ent->d_name[0]) &&
		    is_process_in(dirfd(proc), ent->d_name, &jail))
			return atoi(ent->d_name); /* NOLINT(cert-err34-c) */
	}
	return 0;
}

/* Find the program whose folder holds a jail by that id. */
static int search(int base, const char *id, char name[NAME_MAX + 1],
		  struct err *e)
{
	cleanup_dir DIR *d = list(base);
	const struct dirent *ent;
	bool found = false;

	while (d && (ent = next_entry(d))) {
		cleanup_fd int exec_dir = path_open_dir(base, ent->d_name);
		cleanup_fd int id_dir =
			exec_dir < 0 ? -1 : path_open_dir(exec_dir, id);

		if (id_dir < 0)
			continue;
		if (found)
			return err_set(e, -EINVAL,
				       "There are jails '%s' of '%s' and '%s': "
				       "say which by --exec-file",
				       id, name, ent->d_name);
		found = true;
		(void)snprintf(name, NAME_MAX + 1, "%s", ent->d_name);
	}
	return found ? 0 : err_set(e, -ENOENT, "There is no jail '%s'", id);
}

static int check_ended(int root, const char *id, struct err *e)
{
	int pid = process_in(root);

	if (pid < 0)
		return err_code(e, pid, "Failed to look for processes");
	if (pid > 0)
		return err_set(e, -EBUSY, "Jail '%s' is in use by process %d",
			       id, pid);
	return 0;
}

/* In the order that leaves everything as it is while there is a doubt. */
static int take_away(const struct cgroup_plan *plan, int id_dir, struct err *e)
{
	cleanup_fd int root = path_open_dir(id_dir, "root");
	bool there = root >= 0;
	uint64_t mount = 0;
	int ret = 0;

	if (!there && errno != ENOENT)
		return err_sys(e, "Failed to open the root of jail '%s'",
			       plan->id);
	if (there)
		ret = check_ended(root, plan->id, e);
	if (ret == 0 && there && mount_of(root, "", &mount) < 0)
		return err_sys(e, "Failed to look at the root");
	if (ret == 0 && there)
		ret = walk(root, mount, false, 0, e);
	if (ret == 0)
		ret = cgroups_remove(plan, e);
	if (ret == 0 && there)
		ret = walk(root, mount, true, 0, e);
	if (ret == 0 && there && unlinkat(id_dir, "root", AT_REMOVEDIR) < 0)
		return err_sys(e, "Failed to remove the root");
	return ret;
}

/*
 * Against another jailer. One that was here before may have removed the folder,
 * and a third made a new jail: that one is not ours to touch.
 */
static int lock(int exec_dir, int id_dir, const char *id, struct err *e)
{
	struct stat locked, named;
	bool held = flock(id_dir, LOCK_EX | LOCK_NB) == 0;

	if (held && fstat(id_dir, &locked) == 0 &&
	    fstatat(exec_dir, id, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    named.st_dev == locked.st_dev && named.st_ino == locked.st_ino)
		return 0;
	return err_code(e, held ? -EBUSY : -errno,
			"Jail '%s' is being made or removed by another process",
			id);
}

static int remove_by_name(const struct args *a, int base, const char *name,
			  struct err *e)
{
	cleanup_fd int exec_dir = path_open_dir(base, name);
	cleanup_fd int id_dir =
		exec_dir < 0 ? -1 : path_open_dir(exec_dir, a->id);
	const struct cgroup_plan plan = {
		.mounts = CGROUPS_MOUNTS,
		.version = a->version,
		.parent = a->parent_given ? a->parent_cgroup : name,
		.id = a->id,
	};

	if (id_dir < 0)
		return err_sys(e, "Failed to open jail '%s' in %s/%s", a->id,
			       a->chroot_base_dir, name);

	int ret = lock(exec_dir, id_dir, a->id, e);

	if (ret == 0)
		ret = take_away(&plan, id_dir, e);
	/* What else somebody has put beside the root stays. */
	if (ret == 0 && unlinkat(exec_dir, a->id, AT_REMOVEDIR) < 0 &&
	    errno != ENOTEMPTY)
		return err_sys(e, "Failed to remove the folder of jail '%s'",
			       a->id);
	return ret;
}

int remove_jail(const struct args *a, struct err *e)
{
	cleanup_fd int base =
		open(a->chroot_base_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX + 1];
	int ret = 0;

	if (base < 0)
		return err_sys(e, "Failed to canonicalize path %s",
			       a->chroot_base_dir);
	if (!a->exec_name)
		ret = search(base, a->id, name, e);
	if (ret < 0)
		return ret;
	return remove_by_name(a, base, a->exec_name ? a->exec_name : name, e);
}
