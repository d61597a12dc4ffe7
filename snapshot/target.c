/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "base/zero.h"

#define COPY_BYTES ((size_t)(128 * KIB))
#define PAGE_BYTES ((size_t)4096)
#define STEP_BYTES ((off_t)(2 * MIB))

static int fail(const char *op, const char *what, struct err *e)
{
	return err_sys(e, "Cannot perform %s on the %s backing file", op, what);
}

/* The name that a rename has to replace: links are followed, as open() does. */
static int resolve(struct target *t, const char *path, mode_t *mode,
		   const char *what, struct err *e)
{
	struct stat st;

	*mode = 0644;
	if (stat(path, &st) == 0) {
		/* Who was kept from the old one is from the new one. */
		*mode = st.st_mode & 0666;
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
	mode_t mode;
	int ret;

	*t = (struct target){.fd = -1};
	ret = resolve(t, path, &mode, what, e);
	if (ret < 0)
		return ret;
	t->temp = temp_name(t->path, number);
	if (!t->temp)
		return err_code(e, -ENOMEM, "%s", path);
	t->fd = open(t->temp,
		     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (t->fd >= 0)
		return 0;
	ret = fail("open", what, e);
	free(t->temp);
	t->temp = NULL;
	return ret;
}

int target_old(const struct target *t)
{
	int fd = open(t->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 ? fd : -errno;
}

/* The file system, or these two files: nothing has been done then. */
static bool cannot_share(int code)
{
	return code == EOPNOTSUPP || code == ENOTTY || code == EXDEV ||
	       code == EINVAL;
}

int target_share(struct target *t, int from, uint64_t bytes)
{
	if (ioctl(t->fd, FICLONE, from) < 0)
		return cannot_share(errno) ? -ENOTSUP : -errno;
	return ftruncate(t->fd, (off_t)bytes) < 0 ? -errno : 0;
}

/* By a call that filters allow for drives already, as that of copy_run(). */
static int put(int to, const uint8_t *p, size_t len, off_t at)
{
	while (len > 0) {
		struct iovec v = {.iov_base = (void *)(uintptr_t)p,
				  .iov_len = len};
		ssize_t n = pwritev(to, &v, 1, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		at += n;
	}
	return 0;
}

/* Pages of zeros stay holes: whoever brought the file may have filled them. */
static int put_data(int to, const uint8_t *p, size_t len, off_t at)
{
	size_t start = 0, i = 0;
	int ret = 0;

	while (ret == 0 && i < len) {
		size_t n = MIN(PAGE_BYTES, len - i);

		if (is_zero(p + i, n)) {
			ret = put(to, p + start, i - start, at + (off_t)start);
			start = i + n;
		}
		i += n;
	}
	return ret == 0 ? put(to, p + start, len - start, at + (off_t)start)
			: ret;
}

static int copy_run(int to, int from, off_t at, off_t end, bool zeros)
{
	cleanup_free uint8_t *buf = malloc(COPY_BYTES);

	if (!buf)
		return -ENOMEM;
	while (at < end) {
		struct iovec v = {.iov_base = buf,
				  .iov_len =
					  MIN(COPY_BYTES, (size_t)(end - at))};
		ssize_t n = preadv(from, &v, 1, at);
		int ret;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* 0: it is being cut off */
			return n < 0 ? -errno : -ENODATA;
		ret = zeros ? put(to, buf, (size_t)n, at)
			    : put_data(to, buf, (size_t)n, at);
		if (ret < 0)
			return ret;
		at += n;
	}
	return 0;
}

int target_copy_next(struct target *t, int from, uint64_t *at, uint64_t bytes,
		     bool zeros)
{
	off_t data = lseek(from, (off_t)*at, SEEK_DATA), end;
	int ret;

	if (data < 0)
		return errno == ENXIO ? 0 : -errno;
	end = lseek(from, data, SEEK_HOLE);
	if (end < 0)
		return -errno;
	end = MIN(MIN(end, data + STEP_BYTES), (off_t)bytes);
	if (data >= end)
		return 0;
	ret = copy_run(t->fd, from, data, end, zeros);
	*at = (uint64_t)end;
	return ret < 0 ? ret : 1;
}

int target_copy(struct target *t, int from, uint64_t bytes, bool zeros)
{
	uint64_t at = 0;
	int ret = target_share(t, from, bytes);

	if (ret != -ENOTSUP)
		return ret;
	if (ftruncate(t->fd, (off_t)bytes) < 0)
		return -errno;
	do {
		ret = target_copy_next(t, from, &at, bytes, zeros);
	} while (ret > 0);
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

static size_t folder_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

/* As far as their names tell. */
static bool in_one_folder(const struct target *a, const struct target *b)
{
	size_t n = folder_len(a->path);

	return n == folder_len(b->path) && strncmp(a->path, b->path, n) == 0;
}

int target_sync_both(struct target *first, const char *first_what,
		     struct target *second, const char *second_what,
		     struct err *e)
{
	int ret = 0;

	if (!in_one_folder(first, second))
		ret = target_sync(first, first_what, e);
	else if (fsync(first->fd) < 0)
		ret = fail("sync_all", first_what, e);
	return ret == 0 ? target_sync(second, second_what, e) : ret;
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
