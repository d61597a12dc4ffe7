/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h: the jailer's command line, checked as far as that is possible without
 * touching anything.
 *
 * Numbers are read exactly: decimal digits, no sign, no space, no leading zero;
 * "1x" is not 1 and not 0. Strings are borrowed from argv.
 */
#ifndef JAILER_ARGS_H
#define JAILER_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/flags.h"

struct err;

#define ARGS_NO_LIMIT UINT64_MAX

struct args {
	enum flags_action action;
	const char *id;
	const char *exec_file;	     /* NULL: not given (only with remove) */
	const char *exec_name;	     /* its last component, or NULL */
	const char *chroot_base_dir; /* with default */
	const char *netns;	     /* NULL: the caller's */
	const char *parent_cgroup;   /* with default: exec_name */
	struct flag_list cgroup;     /* "file=value", checked */
	int version;		     /* of cgroups; 0: as the host has them */
	uid_t uid;
	gid_t gid;
	uint64_t limit_fsize;	/* or ARGS_NO_LIMIT */
	uint64_t limit_no_file; /* with default */
	bool daemonize;
	bool new_pid_ns;
	bool new_net_ns;     /* additional: an empty network */
	bool private_mounts; /* additional: no mounts arrive from the host */
	bool remove;	     /* additional: remove the jail, start nothing */
	bool parent_given;   /* --parent-cgroup was */
	struct flags_rest extra;
	/* as given; their values are above */
	const char *uid_text;
	const char *gid_text;
	const char *version_text;
	struct flag_list resource_limit;
};

/* Fill *a. Returns 0, or a negative errno with *e set. */
int args_parse(struct args *a, int argc, char **argv, struct err *e);

/* Exact decimal number of at most max; returns false for anything else. */
bool args_number(const char *text, uint64_t max, uint64_t *out);

/* --version: Firecracker's form when started under the name "jailer". */
void args_print_version(FILE *out, const char *argv0);

void args_print_help(FILE *out, const char *argv0);

#endif
