/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h: the cgroups of a jail, <mount>/<parent>/<id>, versions 1 and 2.
 *
 * Mount points are taken from a table like /proc/self/mounts, whose path the
 * caller names; below them no link is followed. Parents are shared by jails and
 * may hold limits of the operator's, so they are made but never removed.
 */
#ifndef JAILER_CGROUP_H
#define JAILER_CGROUP_H

#include <stdbool.h>

#include "base/flags.h"

struct err;

#define CGROUPS_MAX    16
#define CGROUPS_MOUNTS "/proc/self/mounts"

/* What is wanted. */
struct cgroup_plan {
	const char *mounts;
	int version;	    /* 1, 2, or 0: 1 where it has the controller */
	const char *parent; /* checked: plain components */
	const char *id;	    /* the same */
	const struct flag_list *set; /* "file=value", checked */
};

/* The folders that the jail is in. */
struct cgroups {
	struct {
		int mount;  /* the root of the hierarchy */
		int parent; /* the folder above the leaf */
		int leaf;
		bool made; /* the leaf, by us */
	} at[CGROUPS_MAX];
	int n;
	bool entered;
	const char *id;
};

/*
 * Make the cgroups, write the values and move this process there. Returns 0, or
 * a negative errno; cgroups_undo() is due then.
 */
int cgroups_enter(struct cgroups *c, const struct cgroup_plan *p,
		  struct err *e);

/*
 * Move this process to an existing cgroup of version 2, as it is; none by that
 * name: do nothing. Returns 0 or a negative errno.
 */
int cgroups_join(const struct cgroup_plan *p, struct err *e);

/* Leave them for the roots and remove those that were made; close all. */
void cgroups_undo(struct cgroups *c);

/* Remove the jail's cgroup from every hierarchy; none is no error. */
int cgroups_remove(const struct cgroup_plan *p, struct err *e);

#endif
