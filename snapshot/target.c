/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

static int fail(const char *op, const char *what, struct err *e)
{
	return err_sys(e, "Cannot perform %s on the %s backing file", op, what);
}

/* The name that a rename has to replace: links are followed, as open() does. */
static int resolve(struct target *t, const char *path, const char *what,
		   struct err *e)
{
	struct stat st;

	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			errno = EISDIR;
		else if (!S_ISREG(st.st_mode))
			return err_set(e, -EINVAL,
				       "Cannot perform open on the %s backing "
				       "file: %s is not a regular file",
				       what, path);
		if (S_ISREG(st.st_mode))
			t->path = realpath(path, NULL);
	} else if (errno == ENOENT && path[0]) {
		t->path = strdup(path);
	}
	return t->path ? 0 : fail("open", what, e);
}

/* NULL: no memory. */
static char *temp_name(const char *path, uint64_t number)
{
	char *name;

	return asprintf(&name, "%s.%016" PRIx64, path, number) < 0 ? NULL
								   : name;
}

int target_open(struct target *t, const char *path, uint64_t number,
		const char *what, struct err *e)
{
	int ret;

	*t = (struct target){.fd = -1};
	ret = resolve(t, path, what, e);
	if (ret < 0)
		return ret;
	t->temp = temp_name(t->path, number);
	if (!t->temp)
		return err_code(e, -ENOMEM, "%s", path);
	t->fd = open(t->temp,
		     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (t->fd >= 0)
		return 0;
	ret = fail("open", what, e);
	free(t->temp);
	t->temp = NULL;
	return ret;
}

static int sync_folder(const struct target *t, const char *what, struct err *e)
{
	cleanup_free char *copy = strdup(t->path);
	cleanup_fd int fd = -1;

	if (copy)
		fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return fail("sync_all", what, e);
	return 0;
}

int target_sync(struct target *t, const char *what, struct err *e)
{
	if (fsync(t->fd) < 0)
		return fail("sync_all", what, e);
	return sync_folder(t, what, e);
}

static void forget_temp(struct target *t)
{
	free(t->temp);
	t->temp = NULL;
}

static int take_name(struct target *t, const char *what, struct err *e)
{
	if (rename(t->temp, t->path) < 0)
		return fail("rename", what, e);
	forget_temp(t);
	return sync_folder(t, what, e);
}

int target_commit(struct target *first, const char *first_what,
		  struct target *second, const char *second_what, struct err *e)
{
	int ret = take_name(first, first_what, e);

	if (first->temp)
		return ret;
	if (ret == 0)
		ret = take_name(second, second_what, e);
	forget_temp(second); /* it is found by it */
	return ret;
}

void target_abort(struct target *t)
{
	if (t->temp)
		(void)unlink(t->temp);
	free(t->temp);
	free(t->path);
	fd_close(&t->fd);
	*t = (struct target){.fd = -1};
}

int target_read(const char *path, uint64_t number)
{
	cleanup_free char *real = realpath(path, NULL);
	cleanup_free char *temp = temp_name(real ? real : path, number);
	int fd;

	if (!temp)
		return -ENOMEM;
	fd = open(temp, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd >= 0)
		(void)rename(temp, real ? real : path); /* may be forbidden */
	else
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 ? fd : -errno;
}
