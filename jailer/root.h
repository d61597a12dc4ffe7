/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.h: the folders of a jail and the devices in it.
 */
#ifndef JAILER_ROOT_H
#define JAILER_ROOT_H

#include <sys/types.h>

struct err;
struct jail;

/* Open the base, make the folders down to the root and lock the jail. */
int root_make(struct jail *j, struct err *e);

/*
 * Make dev, dev/net, run and the device nodes; owned, like the root itself, by
 * the user of the jail.
 */
int root_fill(struct jail *j, struct err *e);

/* Write the pid file, which must not be there. */
int root_write_pid(struct jail *j, pid_t pid, struct err *e);

#endif
