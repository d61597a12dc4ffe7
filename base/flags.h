/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.h: command lines in Firecracker's grammar.
 *
 * Only "--name value" and switches, no short flags but -h; each at most once
 * unless it is a list; anything behind a bare "--" is left alone. --help, -h
 * and --version win over whatever else stands there, unknown flags included.
 *
 * A program describes its flags by a table of rows sorted by name: the first
 * row whose rule is broken is the one that is reported. Values are borrowed
 * from argv. Start-up only.
 */
#ifndef BASE_FLAGS_H
#define BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define FLAG_LIST_MAX	 64
#define FLAGS_TEXT_BYTES 320

struct flag_list {
	const char *items[FLAG_LIST_MAX];
	int n;
};

/* A value's field is a const char *, a switch's a bool. */
struct flag {
	const char *name;
	const char *value;    /* what the value is called; NULL: a switch */
	size_t offset;	      /* of the field in the program's struct */
	bool is_list;	      /* may be repeated; its field is a flag_list */
	const char *requires; /* another flag */
	const char *forbids;  /* another flag */
	const char *help;
};

/* What is wrong, with Firecracker's name for it. */
struct flags_fault {
	const char *kind;  /* "MissingValue" */
	const char *name;  /* the flag or word it is about */
	const char *other; /* the second flag of ForbiddenArgument, or NULL */
	char text[FLAGS_TEXT_BYTES];
};

/* What stands behind "--". */
struct flags_rest {
	char **words;
	int n;
};

enum flags_action { FLAGS_RUN, FLAGS_HELP, FLAGS_VERSION };

/*
 * Fill the fields of *out that the command line names; others stay as they are.
 * The table has at most 64 rows. Returns an enum flags_action, or -EINVAL with
 * *f set.
 */
int flags_parse(const struct flag *table, size_t n, void *out, int argc,
		char **argv, struct flags_rest *rest, struct flags_fault *f);

/* "Argument 'name' required, but not found."; returns -EINVAL. */
int flags_missing(struct flags_fault *f, const char *name);

/* A line for each flag, --version and --help. */
void flags_print_help(const struct flag *table, size_t n, FILE *out);

/* Whether the last component of argv[0] is name. */
bool flags_started_as(const char *argv0, const char *name);

#endif
