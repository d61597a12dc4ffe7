/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "jailer/args.h"
#include "jailer/jail.h"

static int make_dir(struct jail *j, int dir, const char *name, mode_t mode,
		    bool shared, struct err *e)
{
	int fd = path_make_dir(dir, name, mode, shared ? NULL : &j->made);

	return fd < 0 ? err_sys(e, "Failed to create directory %s (%s)",
				j->root_path, name)
		      : fd;
}

/* Held until the program runs, against a second jailer and one that removes. */
static int lock(struct jail *j, struct err *e)
{
	if (flock(j->id_dir, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return err_sys(e, "%s is being made or removed by another process",
		       j->root_path);
}

static int check_mount(const struct jail *j, struct err *e)
{
	struct statvfs st;

	if (fstatvfs(j->root, &st) < 0)
		return err_sys(e, "Failed to look at %s", j->root_path);
	if (st.f_flag & (ST_NODEV | ST_NOEXEC))
		return err_set(e, -EACCES,
			       "%s is on a file system mounted with %s: a jail "
			       "holds devices and a program",
			       j->root_path,
			       st.f_flag & ST_NODEV ? "nodev" : "noexec");
	return 0;
}

int root_make(struct jail *j, struct err *e)
{
	const struct args *a = j->args;
	int ret;

	j->base = open(a->chroot_base_dir, O_PATH | O_CLOEXEC);
	if (j->base < 0)
		return err_sys(e, "Failed to canonicalize path %s",
			       a->chroot_base_dir);
	j->exec_dir = make_dir(j, j->base, a->exec_name, 0755, true, e);
	if (j->exec_dir < 0)
		return j->exec_dir;
	j->id_dir = make_dir(j, j->exec_dir, a->id, 0755, false, e);
	if (j->id_dir < 0)
		return j->id_dir;
	ret = lock(j, e);
	if (ret < 0)
		return ret;
	j->root = make_dir(j, j->id_dir, "root", 0700, false, e);
	return j->root < 0 ? j->root : check_mount(j, e);
}

/* To the user of the jail, and to nobody else. */
static int give(struct jail *j, int dir, struct err *e)
{
	if (fchmod(dir, 0700) < 0)
		return err_sys(e, "Failed to change permissions on %s",
			       j->root_path);
	if (fchown(dir, j->args->uid, j->args->gid) < 0)
		return err_sys(e, "Failed to change owner for %s",
			       j->root_path);
	return 0;
}

/*
 * A node is given away by descriptor, after a look at what that is: the folder
 * may be the user's, who could have put another file in its place.
 */
static int make_node(struct jail *j, int dir, const char *name, dev_t dev,
		     struct err *e)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (mknodat(dir, name, S_IFCHR | 0600, dev) < 0)
		return err_sys(e,
			       "Failed to create /dev/%s%s via mknod inside "
			       "the jail",
			       dir == j->net ? "net/" : "", name);
	made_add(&j->made, dir, name, 0);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "Failed to open device %s", name);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != dev || st.st_nlink != 1)
		return err_set(e, -EBUSY, "Device %s was replaced", name);
	if (fchownat(fd, "", j->args->uid, j->args->gid, AT_EMPTY_PATH) < 0)
		return err_sys(e, "Failed to change owner for %s", name);
	return 0;
}

/*
 * The number of a device that gets it while the host starts: 0, and the line
 * "<minor> <name>" of /proc/misc. The host's /dev may lack it.
 */
static int misc_minor(const char *name, unsigned int *minor)
{
	FILE *f = fopen("/proc/misc", "re");
	char line[NAME_MAX];
	int ret = -ENOENT;

	while (f && ret < 0 && fgets(line, sizeof(line), f)) {
		char *rest;
		unsigned long n = strtoul(line, &rest, 10);

		rest[strcspn(rest, "\n")] = '\0';
		if (*rest == ' ' && !strcmp(rest + 1, name)) {
			*minor = (unsigned int)n;
			ret = 0;
		}
	}
	if (f)
		(void)fclose(f);
	return ret;
}

static int make_nodes(struct jail *j, struct err *e)
{
	unsigned int uffd;
	int ret = make_node(j, j->net, "tun", makedev(10, 200), e);

	if (ret == 0)
		ret = make_node(j, j->dev, "kvm", makedev(10, 232), e);
	if (ret == 0 && misc_minor("userfaultfd", &uffd) == 0)
		ret = make_node(j, j->dev, "userfaultfd", makedev(10, uffd), e);
	if (ret == 0 && make_node(j, j->dev, "urandom", makedev(1, 9), e) < 0)
		(void)fprintf(stderr,
			      "Warning! Could not create /dev/urandom device "
			      "inside jailer: %s\n",
			      e->text);
	return ret;
}

int root_fill(struct jail *j, struct err *e)
{
	cleanup_fd int run = -1;

	j->dev = make_dir(j, j->root, "dev", 0700, false, e);
	if (j->dev < 0)
		return j->dev;
	j->net = make_dir(j, j->dev, "net", 0700, false, e);
	if (j->net < 0)
		return j->net;
	run = make_dir(j, j->root, "run", 0700, false, e);
	if (run < 0)
		return run;
	const int theirs[] = {run, j->net, j->dev, j->root};
	int ret = make_nodes(j, e);

	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(theirs); i++)
		ret = give(j, theirs[i], e);
	return ret;
}

int root_write_pid(struct jail *j, pid_t pid, struct err *e)
{
	cleanup_fd int fd = openat(
		j->root, j->pid_name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_sys(e, "Failed to open file %s/%s", j->root_path,
			       j->pid_name);
	made_add(&j->made, j->root, j->pid_name, 0);
	if (dprintf(fd, "%d", pid) < 0)
		return err_sys(e, "Failed to write to %s/%s", j->root_path,
			       j->pid_name);
	return 0;
}
