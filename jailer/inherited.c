/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

#define SIGNALS 64 /* of the kernel: the C library hides two of them */

static int clean_descriptors(struct err *e)
{
	int fd;

	if (close_range(3, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return err_sys(e, "Failed to call close range syscall");
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2 && fcntl(fd, F_SETFD, 0) == 0);
	if (fd < 0)
		return err_sys(e, "Failed to open /dev/null");
	(void)close(fd);
	return 0;
}

static void handle(int sig, uintptr_t handler)
{
	const uintptr_t action[4] = {handler}; /* the kernel's sigaction */

	(void)syscall(SYS_rt_sigaction, sig, action, NULL, sizeof(uint64_t));
}

/* One that is ignored, if only for a moment, is pending no longer. */
static void clean_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig <= SIGNALS; sig++) {
		handle(sig, (uintptr_t)SIG_IGN);
		handle(sig, (uintptr_t)SIG_DFL);
	}
	handle(SIGPIPE, (uintptr_t)SIG_IGN);
	handle(SIGXFSZ, (uintptr_t)SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int inherited_clean(struct err *e)
{
	const struct itimerval off = {0};
	int ret = clean_descriptors(e);

	if (ret < 0)
		return ret;
	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		(void)setitimer((__itimer_which_t)which, &off, NULL);
	clean_signals();
	(void)umask(022);
	(void)personality(PER_LINUX);
	(void)clearenv();
	return 0;
}

/*
 * Whoever holds a keyring may use what is in it, as any user. Kernels without
 * keys have none to leave, and who may not ask for a new one cannot use the old
 * one either.
 */
static int leave_keyring(struct err *e)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 ||
	    errno == ENOSYS || errno == EPERM)
		return 0;
	return err_sys(e, "Failed to make a session keyring");
}

/* The first process of a session is hung up on when it leaves. */
static int leave_terminal(struct err *e)
{
	cleanup_fd int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	bool failed;

	if (tty < 0)
		return 0;
	handle(SIGHUP, (uintptr_t)SIG_IGN);
	failed = ioctl(tty, TIOCNOTTY) < 0;
	handle(SIGHUP, (uintptr_t)SIG_DFL);
	return failed ? err_sys(e, "Failed to leave the terminal") : 0;
}

static int refuse_folders(struct err *e)
{
	struct stat st;

	for (int fd = 0; fd <= 2; fd++) {
		if (fstat(fd, &st) < 0)
			return err_sys(e, "Failed to look at descriptor %d",
				       fd);
		if (S_ISDIR(st.st_mode))
			return err_set(e, -EISDIR,
				       "Descriptor %d is a folder, which would "
				       "be a way out of the jail",
				       fd);
	}
	return 0;
}

int inherited_leave(struct err *e)
{
	int ret = refuse_folders(e);

	if (ret == 0)
		ret = leave_keyring(e);
	return ret < 0 ? ret : leave_terminal(e);
}

void inherited_restore(void)
{
	handle(SIGPIPE, (uintptr_t)SIG_DFL);
	handle(SIGXFSZ, (uintptr_t)SIG_DFL);
}
