/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h: a snapshot of a guest that runs, and runs on: it is paused for some
 * milliseconds, and the files hold it as it is then. RAM gets into them in one
 * of two ways:
 *
 * - Protected in the pause (vmm/protect.h) and written behind it. Whoever is
 *   about to change a page waits until it is in the file; such pages are
 *   written first. That takes microseconds. But where the disk cannot keep up
 *   and the kernel makes writers wait, it is as long as one write of 256 KiB,
 *   and so long vCPUs, devices and the API may have to wait.
 * - By passes: written while the guest runs, then what it has changed
 *   meanwhile, and so on until that is little; the rest is put aside in the
 *   pause and written behind it. A guest that is too quick for that, after 8
 *   passes, is an error and runs on: no pause is longer than promised.
 *
 * The first needs memory that the kernel can protect (not a private mapping of
 * a regular file, not one that a page server fills), where what is absent is
 * zero (no swap), and nobody to wait for the helper thread while the helper
 * waits for him (drives on the epoll backend).
 *
 * A Diff is what image.h says, of the pause: over what the file at the path
 * holds, and by either way.
 *
 * A log of writes that is on for the user stays right: after a success the next
 * fetch tells what was written since the pause, after a failure everything that
 * it would have told without.
 *
 * Helper thread, but for live_report(). The jobs of others have their turns.
 */
#ifndef SNAPSHOT_LIVE_H
#define SNAPSHOT_LIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "snapshot/snapshot.h"

struct err;
struct live;
struct vm;
struct worker;

struct live_order {
	struct vm *vm; /* its own writes are marked: dirty_arm() */
	struct worker *worker;
	struct snapshot_order files;
	bool may_protect; /* nobody waits for the helper */
};

/*
 * While the guest runs: choose the way, make the files, do the passes.
 * Texts as those of snapshot_create(). live_free(*out) in every case.
 */
int live_open(struct live **out, const struct live_order *o, struct err *e);

/* In the pause: everything that must be of that moment. Short. */
int live_freeze(struct live *l, struct err *e);

/* The guest runs again: the rest of RAM; then nothing holds it up any more. */
int live_write(struct live *l, struct err *e);

/* Everything is on the disk, under its name. */
int live_commit(struct live *l, struct err *e);

/* Undo what was not committed; accepts NULL. In any state. */
void live_free(struct live *l);

/* One line for the log: the way, and what it had to do. */
void live_report(const struct live *l, char *line, size_t bytes);

#endif
