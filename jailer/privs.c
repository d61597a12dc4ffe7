/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/privs.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "jailer/args.h"

/* Every bit but KEEP_CAPS set, every bit locked. */
#define SECUREBITS                                                   \
	(SECURE_ALL_LOCKS | SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | \
	 SECBIT_NO_CAP_AMBIENT_RAISE)

static int limit(int what, rlim_t value, const char *name, struct err *e)
{
	const struct rlimit lim = {value, value};

	if (setrlimit((__rlimit_resource_t)what, &lim) < 0)
		return err_sys(e, "Failed to set limit for resource: %s", name);
	return 0;
}

static int set_limits(const struct args *a, struct err *e)
{
	int ret = limit(RLIMIT_NOFILE, a->limit_no_file,
			"number of file descriptors", e);

	if (ret == 0 && a->limit_fsize != ARGS_NO_LIMIT)
		ret = limit(RLIMIT_FSIZE, a->limit_fsize, "size of file", e);
	/* A core file would hold the guest's memory. */
	return ret < 0 ? ret : limit(RLIMIT_CORE, 0, "core file", e);
}

/* Groups first: the user has no say over them. */
static int set_ids(const struct args *a, struct err *e)
{
	uid_t uids[3];
	gid_t gids[3];

	if (setgroups(0, NULL) < 0)
		return err_sys(e, "Failed to leave all groups");
	if (setresgid(a->gid, a->gid, a->gid) < 0)
		return err_sys(e, "Failed to become group %u", a->gid);
	if (setresuid(a->uid, a->uid, a->uid) < 0)
		return err_sys(e, "Failed to become user %u", a->uid);
	if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 ||
	    getresgid(&gids[0], &gids[1], &gids[2]) < 0)
		return err_sys(e, "Failed to read back the ids");
	for (int i = 0; i < 3; i++) {
		if (uids[i] != a->uid || gids[i] != a->gid)
			return err_set(e, -EPERM,
				       "The ids are not %u and %u afterwards",
				       a->uid, a->gid);
	}
	return 0;
}

/* The library does not say if one of them stayed. */
static bool bounds_are_empty(void)
{
	int cap = 0, has;

	do
		has = prctl(PR_CAPBSET_READ, cap++, 0, 0, 0);
	while (has == 0);
	return has < 0 && errno == EINVAL && cap > CAP_SETPCAP;
}

int privs_lock(struct err *e)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_BOUNDS) < 0 || !bounds_are_empty())
		return err_set(e, -EPERM,
			       "Failed to empty the capability bounding set");
	if (prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) < 0)
		return err_sys(e, "Failed to lock the secure bits");
	return 0;
}

/* As the kernel has them; the bounding set was looked at before. */
static bool caps_are_empty(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &h, d) < 0)
		return false;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		if (d[i].effective || d[i].permitted || d[i].inheritable)
			return false;
	}
	return true;
}

/* With NO_SETUID_FIXUP they have outlived the change of ids. */
static int empty_caps(struct err *e)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return err_set(e, -EPERM, "Failed to empty the capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(e, "Failed to empty the ambient capabilities");
	if (!caps_are_empty())
		return err_set(e, -EPERM, "Some capabilities are left");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "Failed to forbid new privileges");
	return 0;
}

int privs_drop(const struct args *a, struct err *e)
{
	int ret = set_limits(a, e);

	if (ret == 0)
		ret = set_ids(a, e);
	return ret < 0 ? ret : empty_caps(e);
}
