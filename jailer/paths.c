/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/paths.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_component(const char *name)
{
	return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       !strchr(name, '/');
}

void made_add(struct made *m, int dir, const char *name, int flags)
{
	assert(m->n < MADE_MAX);
	m->items[m->n].dir = dir;
	m->items[m->n].name = name;
	m->items[m->n++].flags = flags;
}

void made_undo(struct made *m)
{
	while (m->n > 0) {
		m->n--;
		(void)unlinkat(m->items[m->n].dir, m->items[m->n].name,
			       m->items[m->n].flags);
	}
}

int path_open_dir(int dir, const char *name)
{
	int fd;

	if (!is_component(name)) {
		errno = EINVAL;
		return -EINVAL;
	}
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int path_make_dir(int dir, const char *name, mode_t mode, struct made *m)
{
	if (!is_component(name)) {
		errno = EINVAL;
		return -EINVAL;
	}
	if (mkdirat(dir, name, mode) == 0) {
		if (m)
			made_add(m, dir, name, AT_REMOVEDIR);
	} else if (errno != EEXIST) {
		return -errno;
	}
	return path_open_dir(dir, name);
}

bool path_is_hard_link(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && st.st_nlink > 1;
}
