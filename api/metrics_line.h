/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_line.h: one line of metrics as JSON.
 *
 * The keys, their nesting and their order are Firecracker's, with those of
 * devices that we do not have: clients read them by closed schemas.
 *
 * Everything here is safe in a signal handler: no allocation, no locale, no
 * library call but memcpy and strlen. Any thread.
 */
#ifndef API_METRICS_LINE_H
#define API_METRICS_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "virtio/blk.h"
#include "vmm/i8042.h"
#include "vmm/serial.h"
#include "vmm/vcpu.h"
#include "vmm/x86/layout.h"

#define METRICS_DRIVES MAX_VIRTIO_DEVS

/* Requests of one kind, and those of them that were refused. */
struct metrics_pair {
	uint64_t count, fails;
};

/*
 * What the API counts itself. Times are in microseconds; those and the fatal
 * signals are printed as they stand, the others as the growth since the last
 * line.
 */
struct metrics_api {
	struct {
		uint64_t startup_us, startup_cpu_us;
	} process;
	uint64_t deprecated_calls;
	struct {
		uint64_t instance_info, machine_cfg, mmds, vmm_version;
		uint64_t hotplug_memory;
	} get;
	struct {
		struct metrics_pair drive, network, machine_cfg, mmds;
		struct metrics_pair hotplug_memory, pmem;
	} patch;
	struct {
		struct metrics_pair actions, boot_source, drive, logger;
		struct metrics_pair machine_cfg, cpu_cfg, metrics, network;
		struct metrics_pair mmds, vsock, pmem, serial, hotplug_memory;
	} put;
	struct {
		/* as the client waited */
		uint64_t full_create_snapshot, diff_create_snapshot;
		uint64_t load_snapshot, pause_vm, resume_vm;
		/* as the work took */
		uint64_t vmm_full_create_snapshot, vmm_diff_create_snapshot;
		uint64_t vmm_load_snapshot, vmm_pause_vm, vmm_resume_vm;
	} latencies_us;
	struct {
		uint64_t missed_metrics, metrics_fails;
		uint64_t missed_log, rate_limited_log; /* of base/log */
	} logger;
	struct {
		uint64_t sigbus, sigsegv, sigxfsz, sigxcpu, sigpipe, sighup;
		uint64_t sigill;
	} signals;
};

/* All counters at one moment. Holds nothing but uint64_t. */
struct metrics_counters {
	struct metrics_api api;
	struct vcpu_counts vcpu; /* sum of all */
	struct serial_counts uart;
	struct i8042_counts i8042;
	struct blk_counts block; /* of all drives */
	struct blk_counts drive[METRICS_DRIVES];
};

/* Add one drive's counters to those of all: sums, least and greatest. */
void metrics_line_add_drive(struct blk_counts *all,
			    const struct blk_counts *one);

/*
 * Write the line for *now with its newline; what counts growth is taken against
 * *prev. ids names the drives in order. Returns the length, or 0 if the line
 * does not fit into size bytes.
 */
size_t metrics_line_print(char *buf, size_t size, uint64_t time_ms,
			  const struct metrics_counters *now,
			  const struct metrics_counters *prev,
			  const char *const *ids, unsigned int n_drives);

#endif
