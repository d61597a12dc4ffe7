/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drive.h: the block devices that the kernel found.
 */
#ifndef GUEST_INIT_DRIVE_H
#define GUEST_INIT_DRIVE_H

/* Report each drive: size, whether writable, root or not, and its device. */
int drive_list(void);

/*
 * Read every drive but the root drive to its end. A writable one is then filled
 * with the pattern whose seed is its number (vdb: 1), and verified; a read-only
 * one must refuse to be written. 0 or negative errno: the first failure.
 */
int drive_exercise(void);

#endif
