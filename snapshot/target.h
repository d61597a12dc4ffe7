/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.h: a file that is there whole or not at all. It is written under a
 * name of its own beside the one it is to have, synced, renamed, and the folder
 * synced: a failure at any point, or the end of the process, leaves what was
 * there before. An old file under that name is never written to: clones may
 * have it mapped.
 *
 * Two files cannot be renamed at once. So the name of its own is made of the
 * path and a number that both share: whoever reads the first of them finds the
 * second by that number where it has not got its name. Helper thread.
 */
#ifndef SNAPSHOT_TARGET_H
#define SNAPSHOT_TARGET_H

#include <stdint.h>

struct err;

struct target {
	char *path; /* links in it followed */
	char *temp; /* NULL: nothing to take away */
	int fd;	    /* -1: none */
};

/*
 * Make the temporary file. What stands at path already must be a regular file.
 * Errors are "Cannot perform <op> on the <what> backing file: <text>". *t may
 * be passed to target_abort() in every case.
 */
int target_open(struct target *t, const char *path, uint64_t number,
		const char *what, struct err *e);

/* Contents and temporary name are on the disk. */
int target_sync(struct target *t, const char *what, struct err *e);

/*
 * Give both their names, the first one first: from then on both are there, by
 * whichever name. Both are synced.
 */
int target_commit(struct target *first, const char *first_what,
		  struct target *second, const char *second_what,
		  struct err *e);

/* Take away what was not committed; accepts a zeroed struct with fd -1. */
void target_abort(struct target *t);

/*
 * Open a second file to read: that of this number, which is then given its
 * name, or else what stands at path. Returns the descriptor or -errno.
 */
int target_read(const char *path, uint64_t number);

#endif
