/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"

/*
 * Keep 0, 1 and 2 occupied, or the next file opened becomes the log's target.
 * A jail has no /dev/null; the read end of a dead pipe reads as end of file and
 * refuses writes, which is what a closed descriptor would do.
 */
static int hold_standard(struct err *e)
{
	for (int fd = 0; fd <= 2; fd++) {
		int ends[2];

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free number is fd. */
		if (pipe2(ends, O_CLOEXEC) < 0)
			return err_sys(e, "Failed to hold descriptor %d", fd);
		(void)close(ends[1]);
	}
	return 0;
}

static int check_limit(struct err *e)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "Failed to read the limit on open files");
	if (lim.rlim_cur >= FDS_END)
		return 0;
	if (lim.rlim_max < FDS_END)
		return err_set(e, -EMFILE,
			       "The limit on open files is %llu, at least %d "
			       "are needed",
			       (unsigned long long)lim.rlim_max, FDS_END);
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "Failed to raise the limit on open files");
	return 0;
}

/*
 * Occupy the fixed numbers, or the kernel hands them out when it gets that far:
 * a burst of connections is enough. From the top, so that the table grows once.
 */
static int hold_fixed(struct err *e)
{
	for (int fd = FDS_END - 1; fd >= FDS_FIRST; fd--) {
		if (dup3(0, fd, O_CLOEXEC) < 0)
			return err_sys(e, "Failed to hold descriptor %d", fd);
	}
	return 0;
}

void fds_release(int fd)
{
	/* Takes the place of what is there; cannot fail where fds_init() did
	 * not.
	 */
	(void)dup3(0, fd, O_CLOEXEC);
}

int fds_init(struct err *e)
{
	if (close_range(3, ~0U, 0) < 0)
		return err_sys(e, "Failed to close inherited descriptors");

	int ret = hold_standard(e);

	if (!ret)
		ret = check_limit(e);
	if (!ret)
		ret = hold_fixed(e);
	return ret;
}

int fds_move(int fd, int to, struct err *e)
{
	int ret = dup3(fd, to, O_CLOEXEC) < 0
			  ? err_sys(e, "Failed to move descriptor %d to %d", fd,
				    to)
			  : to;

	if (fd >= 0)
		(void)close(fd);
	return ret;
}
