/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/filter.h"

int policy_new(scmp_filter_ctx *ctx, uint32_t otherwise, struct err *e)
{
	int ret;

	*ctx = seccomp_init(otherwise);
	if (!*ctx)
		return err_set(e, -EINVAL, "No filter with action %#x",
			       otherwise);
	ret = seccomp_attr_set(*ctx, SCMP_FLTATR_ACT_BADARCH,
			       SCMP_ACT_KILL_PROCESS);
	/*
	 * Look for calls by a binary tree: the kernel runs a filter for every
	 * number when it is added.
	 */
	if (ret == 0)
		ret = seccomp_attr_set(*ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return ret < 0 ? err_code(e, ret, "Filter") : 0;
}

int policy_add(scmp_filter_ctx ctx, uint32_t action, int nr, unsigned int n,
	       const struct scmp_arg_cmp *cmp, struct err *e)
{
	int ret = seccomp_rule_add_exact_array(ctx, action, nr, n, cmp);

	/* A rule that is there, or that another one covers. */
	if (ret == -EEXIST)
		return 0;
	return ret < 0 ? err_code(e, ret, "Rule for system call %d", nr) : 0;
}

static int read_code(int fd, struct sock_filter **code, size_t *n)
{
	off_t size = lseek(fd, 0, SEEK_END);
	cleanup_free struct sock_filter *p = NULL;

	if (size < 0)
		return -errno;
	if ((size_t)size > FILTER_MAX_CODE * sizeof(*p))
		return -E2BIG;
	p = malloc((size_t)size);
	if (!p)
		return -ENOMEM;
	if (pread(fd, p, (size_t)size, 0) != size)
		return -EIO;
	*n = (size_t)size / sizeof(*p);
	*code = ptr_steal(&p);
	return 0;
}

int policy_code(scmp_filter_ctx ctx, struct sock_filter **code, size_t *n,
		struct err *e)
{
	cleanup_fd int fd = memfd_create("filter", MFD_CLOEXEC);
	int ret;

	if (fd < 0)
		return err_sys(e, "Failed to make a filter");
	ret = seccomp_export_bpf(ctx, fd);
	if (ret == 0)
		ret = read_code(fd, code, n);
	return ret < 0 ? err_code(e, ret, "Failed to make a filter") : 0;
}
