/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.h: take an ended jail away: cgroups, root with all in it, its folder.
 *
 * Whether its program lives is asked of the kernel: is there a process whose
 * root is the jail's? The pid file is not read, since the program can write
 * what it likes there, and pids are used again. Folders are walked by
 * descriptor; a link is removed, not followed, and what is mounted below the
 * root is refused before anything is touched: it may be a folder of the host's.
 */
#ifndef JAILER_REMOVE_H
#define JAILER_REMOVE_H

struct args;
struct err;

/*
 * Without --exec-file the base is searched for the one jail with the id.
 * Returns 0, or a negative errno with *e set.
 */
int remove_jail(const struct args *a, struct err *e);

#endif
