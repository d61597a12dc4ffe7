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
#include "virtio/mmds/mmds.h"
#include "virtio/net.h"
#include "virtio/vsock.h"
#include "vmm/i8042.h"
#include "vmm/serial.h"
#include "vmm/vcpu.h"
#include "vmm/x86/layout.h"

/* Drives, or interfaces; of both together there can be no more. */
#define METRICS_DEVS MAX_VIRTIO_DEVS

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

/* Of an interface and its rate limiters. */
struct metrics_net {
	struct net_counts dev;
	uint64_t rx_limiter_events, rx_throttled;
	uint64_t tx_limiter_events, tx_throttled;
};

/* All counters at one moment. Holds nothing but uint64_t. */
struct metrics_counters {
	struct metrics_api api;
	struct mmds_counts mmds;
	struct vcpu_counts vcpu; /* sum of all */
	struct serial_counts uart;
	struct i8042_counts i8042;
	struct vsock_counts vsock;
	struct blk_counts block; /* of all drives */
	struct blk_counts drive[METRICS_DEVS];
	struct metrics_net net; /* of all interfaces */
	struct metrics_net iface[METRICS_DEVS];
};

enum metrics_list { METRICS_DRIVES, METRICS_IFACES, METRICS_LISTS };

/* The names of drives, or of interfaces, in their order. */
struct metrics_names {
	const char *name[METRICS_DEVS];
	unsigned int n;
};

/*
 * Compute what counts all drives and all interfaces from the lists: sums, least
 * and greatest. names has METRICS_LISTS items.
 */
void metrics_line_sum(struct metrics_counters *m,
		      const struct metrics_names *names);

/*
 * Write the line for *now with its newline; what counts growth is taken against
 * *prev. Returns the length, or 0 if the line does not fit into size bytes.
 */
size_t metrics_line_print(char *buf, size_t size, uint64_t time_ms,
			  const struct metrics_counters *now,
			  const struct metrics_counters *prev,
			  const struct metrics_names *names);

#endif
