/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "jailer/paths.h"

#define LINE_BYTES 4096

/* A process that was killed takes a moment to leave its cgroup. */
#define LEAVE_TRIES 200
#define LEAVE_NS    1000000

#define NO_HIERARCHY \
	"Hierarchy not found: No hierarchy found for this cgroup version."

static void cleanup_mounts_(FILE **f)
{
	if (*f)
		(void)endmntent(*f);
}

#define cleanup_mounts __attribute__((cleanup(cleanup_mounts_)))

static int open_mount(const char *dir)
{
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int version_of(const struct mntent *m)
{
	return !strcmp(m->mnt_type, "cgroup")	 ? 1
	       : !strcmp(m->mnt_type, "cgroup2") ? 2
						 : 0;
}

/* Read a file's first line; returns its length or a negative errno. */
static int read_line(int dir, const char *name, char *line, size_t size)
{
	cleanup_fd int fd =
		openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, size - 1);

	if (n < 0)
		return -errno;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return (int)strlen(line);
}

static int write_line(int dir, const char *name, const char *value)
{
	cleanup_fd int fd =
		openat(dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	char line[LINE_BYTES];
	int len = snprintf(line, sizeof(line), "%s\n", value);

	if (len >= (int)sizeof(line)) {
		errno = E2BIG;
		return -E2BIG;
	}
	return fd < 0 || write(fd, line, (size_t)len) < 0 ? -errno : 0;
}

/* Whether word is one of those in list, which spaces separate. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *s = list; (s = strstr(s, word)); s += len) {
		if ((s == list || s[-1] == ' ') && (s[len] == ' ' || !s[len]))
			return true;
	}
	return false;
}

/* Version 2 says in its root which controllers it has. */
static bool offers(const struct mntent *m, int version, const char *controller)
{
	cleanup_fd int root = -1;
	char list[LINE_BYTES];

	if (version == 1)
		return hasmntopt(m, controller);
	root = open_mount(m->mnt_dir);
	return root >= 0 &&
	       read_line(root, "cgroup.controllers", list, sizeof(list)) > 0 &&
	       has_word(list, controller);
}

/*
 * Open the next hierarchy of a version, one that has the controller unless that
 * is NULL. *at counts those of the version that were looked at; dir may be
 * NULL. Returns a descriptor or a negative errno.
 */
static int open_next(const char *mounts, int version, const char *controller,
		     int *at, char dir[PATH_MAX])
{
	cleanup_mounts FILE *f = setmntent(mounts, "re");
	char line[LINE_BYTES];
	struct mntent m;
	int i = 0;

	while (f && getmntent_r(f, &m, line, sizeof(line))) {
		if (version_of(&m) != version || i++ < *at)
			continue;
		*at = i;
		if (controller && !offers(&m, version, controller))
			continue;
		if (dir)
			(void)snprintf(dir, PATH_MAX, "%s", m.mnt_dir);
		return open_mount(m.mnt_dir);
	}
	return -ENOENT;
}

/*
 * Open the hierarchy that has the controller; *version: wanted, or 0, and then
 * the one that was found. Version 1 goes first, where a host has both.
 */
static int find(const char *mounts, int *version, const char *controller,
		char dir[PATH_MAX], struct err *e)
{
	bool any = false;

	for (int v = 1; v <= 2; v++) {
		int at = 0;
		int fd = *version && *version != v
				 ? -ENOENT
				 : open_next(mounts, v, controller, &at, dir);

		if (fd >= 0) {
			*version = v;
			return fd;
		}
		any |= at > 0;
	}
	if (!any)
		return err_set(e, -ENOENT, NO_HIERARCHY);
	return err_set(e, -ENOENT, "Controller %s is unavailable", controller);
}

/* A new cpuset is empty, and takes no process before it has both. */
static int inherit_cpuset(int from, int to, struct err *e)
{
	static const char *const names[] = {"cpuset.cpus", "cpuset.mems"};
	char line[LINE_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (read_line(to, names[i], line, sizeof(line)) > 0)
			continue;
		if (read_line(from, names[i], line, sizeof(line)) <= 0 ||
		    write_line(to, names[i], line) < 0)
			return err_set(e, -EINVAL,
				       "Failed to inherit cgroups "
				       "configurations from file %s",
				       names[i]);
	}
	return 0;
}

/* What a level must do before the one below can use the controller. */
static int hand_down(int version, const char *controller, int above,
		     struct err *e)
{
	char enable[NAME_MAX + 2];

	if (version != 2)
		return 0;
	(void)snprintf(enable, sizeof(enable), "+%s", controller);
	if (write_line(above, "cgroup.subtree_control", enable) < 0)
		return err_sys(e,
			       "Failed to write to cgroup.subtree_control "
			       "(+%s)",
			       controller);
	return 0;
}

static int step(int version, const char *controller, int above,
		const char *name, struct made *made, struct err *e)
{
	cleanup_fd int fd = -1;
	int ret = hand_down(version, controller, above, e);

	if (ret < 0)
		return ret;
	fd = path_make_dir(above, name, 0755, made);
	if (fd < 0)
		return err_sys(e, "Failed to create directory %s", name);
	if (version == 1 && !strcmp(controller, "cpuset"))
		ret = inherit_cpuset(above, fd, e);
	return ret < 0 ? ret : fd_steal(&fd);
}

/* The next component of *path, copied to name; false at its end. */
static bool next_component(const char **path, char name[NAME_MAX + 1])
{
	size_t len = strcspn(*path, "/");

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, *path, len);
	name[len] = '\0';
	*path += len + ((*path)[len] == '/');
	return true;
}

/* Down to the parent; without controller nothing is made. */
static int walk(int mount, const char *path, int version,
		const char *controller, struct err *e)
{
	cleanup_fd int dir = fcntl(mount, F_DUPFD_CLOEXEC, 0);
	char name[NAME_MAX + 1];

	if (dir < 0)
		return err_sys(e, "Failed to open the cgroup hierarchy");
	while (next_component(&path, name)) {
		int next = controller ? step(version, controller, dir, name,
					     NULL, e)
				      : path_open_dir(dir, name);

		if (next < 0 && !controller)
			return err_sys(e, "Failed to open cgroup %s", name);
		if (next < 0)
			return next;
		fd_close(&dir);
		dir = next;
	}
	return fd_steal(&dir);
}

/* Whether both are the same folder: controllers may share a hierarchy. */
static bool same_dir(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 &&
	       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* The leaf for a controller, made and noted once. */
static int leaf_of(struct cgroups *c, const struct cgroup_plan *p, int mount,
		   int version, const char *controller, struct err *e)
{
	cleanup_fd int parent = walk(mount, p->parent, version, controller, e);
	cleanup_fd int leaf = -1;
	struct made made = {0};

	if (parent < 0)
		return parent;
	leaf = step(version, controller, parent, p->id, &made, e);
	for (int i = 0; leaf >= 0 && i < c->n; i++) {
		if (same_dir(c->at[i].leaf, leaf))
			return c->at[i].leaf;
	}
	if (leaf < 0 || c->n == CGROUPS_MAX) {
		made_undo(&made);
		return leaf < 0 ? leaf : err_set(e, -E2BIG, "Too many cgroups");
	}
	c->at[c->n].mount = fcntl(mount, F_DUPFD_CLOEXEC, 0);
	c->at[c->n].parent = fd_steal(&parent);
	c->at[c->n].made = made.n > 0;
	c->at[c->n].leaf = fd_steal(&leaf);
	return c->at[c->n++].leaf;
}

static int set_one(struct cgroups *c, const struct cgroup_plan *p,
		   const char *item, struct err *e)
{
	char controller[NAME_MAX + 1], file[NAME_MAX + 1], dir[PATH_MAX];
	size_t len = strcspn(item, "=");
	cleanup_fd int mount = -1;
	int version = p->version;
	int leaf;

	if (len > NAME_MAX)
		return err_set(e, -EINVAL, "Cgroup invalid file: %.64s...",
			       item);
	(void)snprintf(file, sizeof(file), "%.*s", (int)len, item);
	(void)snprintf(controller, sizeof(controller), "%.*s",
		       (int)strcspn(file, "."), file);
	mount = find(p->mounts, &version, controller, dir, e);
	if (mount < 0)
		return mount;
	leaf = leaf_of(c, p, mount, version, controller, e);
	if (leaf < 0)
		return err_wrap(e, "%s/%s/%s: ", dir, p->parent, p->id);
	if (write_line(leaf, file, item + len + 1) < 0)
		return err_sys(e, "Failed to write to %s/%s/%s/%s", dir,
			       p->parent, p->id, file);
	return 0;
}

int cgroups_enter(struct cgroups *c, const struct cgroup_plan *p, struct err *e)
{
	c->id = p->id;
	for (int i = 0; i < p->set->n; i++) {
		int ret = set_one(c, p, p->set->items[i], e);

		if (ret < 0)
			return ret;
	}
	c->entered = true;
	for (int i = 0; i < c->n; i++) {
		/* "0" is who writes it. */
		if (write_line(c->at[i].leaf, "cgroup.procs", "0") < 0)
			return err_sys(e, "Failed to move to cgroup %s/%s",
				       p->parent, p->id);
	}
	return 0;
}

int cgroups_join(const struct cgroup_plan *p, struct err *e)
{
	int at = 0;
	cleanup_fd int mount = open_next(p->mounts, 2, NULL, &at, NULL);
	cleanup_fd int dir = -1;

	if (mount < 0)
		return err_set(e, -ENOENT, NO_HIERARCHY);
	dir = walk(mount, p->parent, 2, NULL, e);
	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return dir;
	if (write_line(dir, "cgroup.procs", "0") < 0)
		return err_sys(e, "Failed to move to cgroup %s", p->parent);
	return 0;
}

/* Returns 0, also if there is none, or a negative errno. */
static int remove_leaf(int parent, const char *id)
{
	const struct timespec pause = {.tv_nsec = LEAVE_NS};

	for (int i = 0; unlinkat(parent, id, AT_REMOVEDIR) < 0; i++) {
		if (errno == ENOENT)
			return 0;
		if (errno != EBUSY || i == LEAVE_TRIES)
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

void cgroups_undo(struct cgroups *c)
{
	while (c->n > 0) {
		c->n--;
		if (c->entered)
			(void)write_line(c->at[c->n].mount, "cgroup.procs",
					 "0");
		if (c->at[c->n].made)
			(void)remove_leaf(c->at[c->n].parent, c->id);
		fd_close(&c->at[c->n].mount);
		fd_close(&c->at[c->n].parent);
		fd_close(&c->at[c->n].leaf);
	}
}

static int remove_one(int mount, const struct cgroup_plan *p, struct err *e)
{
	cleanup_fd int parent = walk(mount, p->parent, 0, NULL, e);
	int ret = parent < 0 ? parent : remove_leaf(parent, p->id);

	if (ret < 0 && ret != -ENOENT)
		return err_code(e, ret, "Failed to remove cgroup %s/%s",
				p->parent, p->id);
	return 0;
}

int cgroups_remove(const struct cgroup_plan *p, struct err *e)
{
	for (int v = 1; v <= 2; v++) {
		int at = 0, mount;

		if (p->version && p->version != v)
			continue;
		while ((mount = open_next(p->mounts, v, NULL, &at, NULL)) >=
		       0) {
			int ret = remove_one(mount, p, e);

			fd_close(&mount);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}
