/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h: the program in a process of its own, for a daemon or process 1 of a
 * PID namespace.
 */
#ifndef JAILER_CHILD_H
#define JAILER_CHILD_H

#include <stdbool.h>

struct args;
struct err;
struct jail;

bool child_is_wanted(const struct args *a);

/*
 * Make it and write its pid file. Returns 0 once it runs the program, which may
 * have ended again by then; a negative errno if it never did, and then it is
 * gone.
 */
int child_run(struct jail *j, struct err *e);

#endif
