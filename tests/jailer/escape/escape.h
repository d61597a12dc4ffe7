/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape.h: attempts to get out of a jail, by a program that runs in place of
 * the monitor.
 *
 * Each is made in a process of its own and returns at least 0 if it succeeded,
 * or -1 with errno set. Outside of a jail, where root runs them all to show
 * that they could succeed, none does damage: what would is called with an
 * argument that root, too, is refused, but by another errno.
 */
#ifndef TESTS_JAILER_ESCAPE_H
#define TESTS_JAILER_ESCAPE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* What the test tells it, as NAME=VALUE behind the jailer's own words. */
struct facts {
	char root[PATH_MAX];	/* what stands for /: "" in a jail */
	char outside[PATH_MAX]; /* a file of the host */
	char program[PATH_MAX]; /* the one that runs */
	pid_t victim;		/* a process of the host's root */
	int key;		/* in the keyring of who started the jailer */
	int queue;		/* a System V message queue of the host */
	int port;		/* on which the host listens, TCP and UDP */
};

struct attempt {
	const char *name;
	int (*make)(const struct facts *f);
};

/* Each ends with a NULL. */
extern const struct attempt file_attempts[], mount_attempts[],
	process_attempts[], privilege_attempts[], kernel_attempts[],
	network_attempts[];

/* root and name, in a buffer that the next call but three uses again. */
const char *inside(const struct facts *f, const char *name);

#endif
