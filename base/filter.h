/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h: which system calls a thread may make (seccomp, BPF).
 *
 * FILTER_START holds for every thread from the first line of main() on; before
 * the first instruction of a guest each thread adds the narrower one of its
 * role. A call must pass all filters of its thread; one that does not kills
 * the process. The programs are made at build time from the tables in
 * base/filters, or come from a file made by `mayflyctl seccomp-compile`, which
 * has those of main, helper and vCPU.
 */
#ifndef BASE_FILTER_H
#define BASE_FILTER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct sock_filter;

enum filter_role {
	FILTER_START,
	FILTER_MAIN,
	FILTER_HELPER,
	FILTER_VCPU,
	FILTER_PAGER,
	FILTER_ROLES,
};

/* Without instructions: no filter. */
struct filter {
	const struct sock_filter *code;
	size_t n;
};

/* Generated; all without instructions in a build that cannot have filters. */
extern const struct filter filter_builtin[FILTER_ROLES];

/*
 * A filter file: this header, then the instructions of main, helper and vCPU.
 * Little-endian, and no byte behind them.
 */
#define FILTER_MAGIC	"MFFILTER"
#define FILTER_VERSION	1
#define FILTER_MAX_CODE 4096 /* the kernel's limit */

struct filter_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t crc; /* CRC32C of all that follows */
	uint32_t n[3];
	uint32_t zero;
};

/*
 * Add a filter to the calling thread, for good; those that it starts inherit
 * it. The first sets no_new_privs. Returns 0, also for none, or -errno.
 */
int filter_first(const struct filter *f);
int filter_add(const struct filter *f);

/*
 * Fill filter[FILTER_MAIN] and those behind it from a file's bytes, which must
 * stay, aligned as malloc() does it. Lengths and checksum are checked here, the
 * instructions by the kernel, when a filter is added. Returns 0 or -EINVAL.
 */
int filter_parse(struct filter filter[FILTER_ROLES], const void *file,
		 size_t len, struct err *e);

#endif
