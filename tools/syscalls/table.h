/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h: which system calls one role may make, as text:
 *
 *	name [rule...]  # reason
 *
 * A row matches a call of that name when all of its rules do. A rule is
 * "ARG=VALUE", "ARG=LOW..END" (END is the first that is not meant) or
 * "ARG!&MASK" (none of these bits), where ARG is 0 to 5 and values are numbers
 * or names, joined by "|". The lower 32 bits of an argument are looked at: the
 * kernel takes no more of descriptors, commands and flags. Each row needs its
 * reason.
 */
#ifndef TOOLS_SYSCALLS_TABLE_H
#define TOOLS_SYSCALLS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_ROWS	   256
#define TABLE_RULES	   3
#define TABLE_REASON_BYTES 64

struct rule {
	unsigned int arg;
	bool none_of;	    /* of the bits in low */
	uint32_t low, high; /* both are meant */
};

struct row {
	int nr;
	unsigned int line; /* in its file */
	unsigned int n_rules;
	struct rule rule[TABLE_RULES];
	char reason[TABLE_REASON_BYTES];
	uint64_t hits;
};

struct table {
	struct row row[TABLE_ROWS];
	size_t n;
};

/*
 * Read a table, behind the rows that *t has; says on stderr what is wrong with
 * it. False if anything is.
 */
bool table_load(struct table *t, const char *path);

/* The row that allows the call, or NULL. */
struct row *table_find(struct table *t, int nr, const uint64_t args[6]);

/*
 * Whether the tables of the running phase keep the design's limits: a vCPU
 * makes at most 8 system calls and 4 of KVM's commands, all threads together 30
 * besides those that name paths. Says on stdout how many they are.
 */
bool table_within_limits(const struct table *main_thread,
			 const struct table *helper, const struct table *vcpu,
			 const struct table *pager);

/* "name 1=KVM_RUN", as it would stand in a table. */
void table_describe(char *buf, size_t size, int nr, const uint64_t args[6]);

/* The argument that tells calls of one name apart, or -1. */
int table_key_arg(int nr);

/* Value of a name or number, as in tables; false if it is neither. */
bool consts_value(const char *text, uint32_t *value);

/* A name for a value among those that start with prefix, or NULL. */
const char *consts_name(const char *prefix, uint32_t value);

#endif
