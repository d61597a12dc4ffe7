/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h: the monitor's command line.
 *
 * The grammar is that of base/flags.h.
 *
 * Checks come in the three steps in which Firecracker makes them, because what
 * a wrong value of one step prevents (log file, metrics file) is already done
 * when the next one fails: args_parse(), args_check_identity() before the
 * logger is set up, args_check_numbers() before the API is served.
 *
 * Strings are borrowed from argv. Main thread, start-up only.
 */
#ifndef API_ARGS_H
#define API_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/flags.h"
#include "base/log.h"

#define ARGS_EXIT_LEVEL 152  /* exit code for a bad --level */
#define ARGS_EXIT_PARSE 153  /* exit code for a command line that is wrong */
#define ARGS_ABORT	(-1) /* end by abort(), as Firecracker's panic does */

#define ARGS_FAULT_BYTES 512

/* What is wrong with a command line. */
struct args_fault {
	int exit_code;		      /* or ARGS_ABORT */
	char text[ARGS_FAULT_BYTES];  /* for the log */
	char debug[ARGS_FAULT_BYTES]; /* for stderr, after "Error: "; or "" */
};

enum args_action {
	ARGS_RUN,
	ARGS_HELP,
	ARGS_VERSION,
	ARGS_SNAPSHOT_VERSION,
	ARGS_DESCRIBE_SNAPSHOT, /* the file named by describe_snapshot */
};

/* Absent strings are NULL, absent switches false. */
struct args {
	enum args_action action;
	const char *api_sock; /* with default */
	const char *id;	      /* with default */
	const char *config_file;
	const char *metadata;
	const char *log_path;
	const char *level;
	const char *module;
	const char *metrics_path;
	const char *seccomp_filter;
	const char *describe_snapshot;
	bool boot_timer;
	bool no_api;
	bool no_seccomp;
	bool show_level;
	bool show_log_origin;
	bool snapshot_version;
	/* as given; their values below */
	const char *http_api_max_payload_size;
	const char *mmds_size_limit;
	const char *start_time_us;
	const char *start_time_cpu_us;
	const char *parent_cpu_time_us;
	/* set by args_check_identity() */
	enum log_level log_level;
	bool has_log_level;
	/* set by args_check_numbers(), 0 when not given */
	size_t max_payload_bytes; /* with default */
	size_t max_mmds_bytes;	  /* default: max_payload_bytes */
	uint64_t process_start_us;
	uint64_t process_start_cpu_us;
	uint64_t parent_cpu_us;
	struct flags_rest extra; /* what follows "--" */
};

/* Fill *a from the command line. Returns 0, or -EINVAL with *f set. */
int args_parse(struct args *a, int argc, char **argv, struct args_fault *f);

/* Check --id, then --level. Returns 0, or -EINVAL with *f set. */
int args_check_identity(struct args *a, struct args_fault *f);

/* Read the numbers. Returns 0, or -EINVAL with *f set. */
int args_check_numbers(struct args *a, struct args_fault *f);

/*
 * Answer --version on one line and an empty one: in Firecracker's form, which
 * SDKs parse, when the program was started under that name.
 */
void args_print_version(FILE *out, const char *argv0);

/* Answer --help. */
void args_print_help(FILE *out, const char *argv0);

#endif
