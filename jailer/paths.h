/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths.h: folders below the base, one component at a time, and what was made.
 */
#ifndef JAILER_PATHS_H
#define JAILER_PATHS_H

#include <stdbool.h>
#include <sys/types.h>

struct err;

#define MADE_MAX 16

/* What a jailer has made, in order; names and descriptors are borrowed. */
struct made {
	struct {
		int dir;
		const char *name;
		int flags; /* of unlinkat() */
	} items[MADE_MAX];
	int n;
};

void made_add(struct made *m, int dir, const char *name, int flags);

/* Remove all of it, last first. */
void made_undo(struct made *m);

/*
 * Open the folder `name`, one component, in dir; a link is refused. Returns a
 * descriptor, or a negative errno with errno set.
 */
int path_open_dir(int dir, const char *name);

/*
 * The same, after making it with mode if it is not there; m takes note then
 * unless it is NULL. Returns a descriptor, or a negative errno with errno set.
 */
int path_make_dir(int dir, const char *name, mode_t mode, struct made *m);

/*
 * Whether an entry is a link to a file that has other names too, which the
 * creation of a file by that name must not be mistaken for.
 */
bool path_is_hard_link(int dir, const char *name);

#endif
