/* SPDX-License-Identifier: Apache-2.0 */
/*
 * landlock.h: what the program may do with files, where the kernel has
 * Landlock.
 *
 * Below its root: read, write, create files and sockets, remove files, drive
 * devices; execute nothing but itself. No folders, links, nodes or FIFOs of its
 * own, no TCP, no abstract sockets and no signals beyond the jail. It holds too
 * where a descriptor leads out of the root.
 */
#ifndef JAILER_LANDLOCK_H
#define JAILER_LANDLOCK_H

struct err;

/*
 * Make the rules, for a program that is executed afterwards; this process's
 * root is the jail's. Sets *rules to a descriptor, or to -1 without Landlock.
 */
int landlock_prepare(int program, int *rules, struct err *e);

/* Restrict this process, which may not gain privileges any more. */
int landlock_enter(int rules, struct err *e);

#endif
