/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.h: mayflyctl's commands on filters of system calls.
 */
#ifndef CTL_SECCOMP_H
#define CTL_SECCOMP_H

#include <stddef.h>
#include <stdint.h>

struct err;

/*
 * Generated: the tables of base/filters as text, role and table in turns, and
 * the same as a filter file in JSON, cut into pieces. NULL ends both.
 */
extern const char *const seccomp_tables[];
extern const char *const seccomp_json[];

/*
 * Make a filter file (base/filter.h) of filters in Firecracker's JSON. The
 * caller frees *file. Returns 0 or a negative errno.
 */
int seccomp_compile(const char *json, size_t len, uint8_t **file, size_t *n,
		    struct err *e);

/* Commands: arguments behind the name; the exit code. */
int seccomp_compile_main(int argc, char **argv);
int seccomp_list_main(int argc, char **argv);

#endif
