/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail.h: one jail from the command line to the program that runs in it.
 *
 *	<base>/<exec>/<id>/root		the program's root folder
 *		<exec>			a copy of the program
 *		<exec>.pid		its process id
 *		dev/kvm net/tun ...	the devices it may open
 *		run/			where its API socket is by default
 *
 * What the jailer is given (program, base, network namespace) is opened once,
 * through links if there are any, and used by descriptor. Below the base every
 * step is one component, opened relative to the descriptor of the step before
 * and never through a link; so nothing that happens to the names meanwhile has
 * an effect outside, on any kernel, with or without openat2().
 *
 * Folders that are there already are used, since clients put files into a root
 * before its jail is made; everything else is created or refused.
 */
#ifndef JAILER_JAIL_H
#define JAILER_JAIL_H

#include <limits.h>
#include <stdint.h>

#include "jailer/cgroup.h"
#include "jailer/paths.h"

struct args;
struct err;

struct jail {
	const struct args *args;
	char root_path[PATH_MAX];    /* for messages only */
	char pid_name[NAME_MAX + 1]; /* "<exec>.pid" */
	int program;		     /* what is to run: the file given, */
	int copy;		     /* then its copy, to be written, */
	int sealed;		     /* then the copy, to be executed */
	int base, exec_dir, id_dir, root, dev, net; /* folders */
	int netns;				    /* or -1 */
	int null;				    /* /dev/null, or -1 */
	int proc;				    /* /proc, or -1 */
	int host_ns;  /* the mounts where it started, or -1 */
	int landlock; /* its rules, or -1 */
	struct made made;
	struct cgroups cgroups;
	uint64_t start_us;	/* when the jailer started */
	uint64_t start_cpu_us;	/* its CPU time then */
	uint64_t parent_cpu_us; /* that of a parent that forked */
};

/* Nothing is open yet. */
void jail_init(struct jail *j, const struct args *args);

/*
 * Make everything up to the point where this process sits in the jail, with its
 * privileges. Returns 0, or a negative errno; then jail_undo() is due.
 */
int jail_make(struct jail *j, struct err *e);

/*
 * Give up all privileges and become the program. In a child if it is to be a
 * daemon or process 1 of a namespace: returns 0 once that runs. Otherwise
 * returns only with a negative errno; then jail_undo() is due.
 */
int jail_run(struct jail *j, struct err *e);

/*
 * The last steps, in the process that becomes the program. Returns only with a
 * negative errno.
 */
int jail_become(const struct jail *j, struct err *e);

/* Take away what this process has made. Folders that jails share stay. */
void jail_undo(struct jail *j);

#endif
