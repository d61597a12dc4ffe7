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

#include <stdbool.h>
#include <stdint.h>

struct err;

struct target {
	char *path; /* links in it followed */
	char *temp; /* NULL: nothing to take away */
	int fd;	    /* -1: none */
};

/*
 * Make the temporary file. What stands at path already must be a regular file,
 * and who may open that may open this.
 * Errors are "Cannot perform <op> on the <what> backing file: <text>". *t may
 * be passed to target_abort() in every case.
 */
int target_open(struct target *t, const char *path, uint64_t number,
		const char *what, struct err *e);

/*
 * What stands at the path now, to read: a descriptor, or -ENOENT and what else
 * open() says.
 */
int target_old(const struct target *t);

/*
 * Fill the empty temporary file with the first `bytes` of another one, which
 * has as many: shared, where the file system can do that (-ENOTSUP: it cannot,
 * and nothing has happened; another -errno: it failed, perhaps halfway); or
 * else copied, without its holes. Pages of zeros that are data are too, if
 * `zeros`: in a Diff they tell more than a hole.
 */
int target_share(struct target *t, int from, uint64_t bytes);
int target_copy(struct target *t, int from, uint64_t bytes, bool zeros);

/*
 * One step of that copying, into a file of that size: the next data from *at
 * on, at most 2 MiB. 1, 0 if there was no more, or -errno.
 */
int target_copy_next(struct target *t, int from, uint64_t *at, uint64_t bytes,
		     bool zeros);

/* Contents and temporary name are on the disk; of two, with less work. */
int target_sync(struct target *t, const char *what, struct err *e);
int target_sync_both(struct target *first, const char *first_what,
		     struct target *second, const char *second_what,
		     struct err *e);

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
