/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h: what a state file says of its CPU, and whether this host has it, by
 * the functions that a load calls. It needs no vm.h, so that mayflyctl links
 * registers and CPUID without the monitor.
 */
#ifndef SNAPSHOT_HOST_H
#define SNAPSHOT_HOST_H

#include <stdint.h>

struct err;
struct snapshot;

struct snapshot_cpu {
	unsigned int n_vcpus;
	unsigned int family, model, stepping;
	char vendor[13]; /* as in the file: any bytes, up to a NUL */
	char brand[49];
	uint32_t tsc_khz;
	uint64_t xcr0;
	uint32_t n_msrs, xsave_bytes; /* of vCPU 0, as the rest */
};

/* -EBADMSG if a section is missing or broken. */
int snapshot_cpu_read(const struct snapshot *s, struct snapshot_cpu *c,
		      struct err *e);

/* What was checked; refusal is NULL if it is fine. */
typedef void snapshot_tell(void *arg, const char *what,
			   const struct err *refusal);

/*
 * Try the snapshot's registers on a machine that never runs, and tell of each
 * thing that was tried. Returns the number of refusals, or a negative errno if
 * there is no KVM to ask or the file is broken.
 */
int snapshot_try_host(const struct snapshot *s, snapshot_tell *tell, void *arg,
		      struct err *e);

#endif
