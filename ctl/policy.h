/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h: a filter in the making, by libseccomp. For programs of the build
 * and mayflyctl; the monitor gets finished instructions.
 *
 * Another architecture's calls, x32's included, kill the process.
 */
#ifndef CTL_POLICY_H
#define CTL_POLICY_H

#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct sock_filter;

/* A filter that does `otherwise` with calls that no rule allows. */
int policy_new(scmp_filter_ctx *ctx, uint32_t otherwise, struct err *e);

/* Do `action` with a call when all comparisons hold. */
int policy_add(scmp_filter_ctx ctx, uint32_t action, int nr, unsigned int n,
	       const struct scmp_arg_cmp *cmp, struct err *e);

/* The instructions, which the caller frees, and their number. */
int policy_code(scmp_filter_ctx ctx, struct sock_filter **code, size_t *n,
		struct err *e);

#endif
