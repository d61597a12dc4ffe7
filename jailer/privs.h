/* SPDX-License-Identifier: Apache-2.0 */
/*
 * privs.h: limits, ids and capabilities of the program.
 */
#ifndef JAILER_PRIVS_H
#define JAILER_PRIVS_H

struct args;
struct err;

/*
 * Empty the bounding set and see to it that no exec gives capabilities, not
 * even to user 0. Before the change of root: libcap-ng looks into /proc, which
 * inside may be anybody's. This process keeps its own capabilities.
 */
int privs_lock(struct err *e);

/*
 * Set the resource limits, become the user and empty the other capability sets:
 * user 0 has none either. There is no way back.
 */
int privs_drop(const struct args *a, struct err *e);

#endif
