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
 * Restrict this process, whose root is the jail's and which may not gain
 * privileges; program is executed afterwards. Does nothing without Landlock.
 */
int landlock_enter(int program, struct err *e);

#endif
