/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_tables.h: the keys of a line of metrics, and what stands under them.
 */
#ifndef API_METRICS_TABLES_H
#define API_METRICS_TABLES_H

#include "api/metrics_line.h"

enum metrics_kind {
	ZERO,  /* nothing of ours counts this */
	GROWS, /* printed as the difference to the last line */
	STORE, /* printed as it stands */
	LEAST, /* the same; 0 means none yet */
	GREATEST,
	OPEN, /* an object begins */
	CLOSE,
};

struct metrics_field {
	const char *name;
	enum metrics_kind kind;
	size_t offset; /* in the counters of the group */
};

struct metrics_group {
	const char *name;
	const struct metrics_field *fields;
	size_t n_fields;
	size_t offset; /* in struct metrics_counters */
	/* Where it is the sum of a list of devices, which stand before it: */
	const char *each; /* what their names start with */
	enum metrics_list list;
	size_t each_offset, each_bytes;
};

/* In the order of the line. */
extern const struct metrics_group metrics_groups[];
extern const size_t metrics_n_groups;

#endif
