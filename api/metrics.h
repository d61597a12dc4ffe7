/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h: what is counted, and the lines that tell it.
 *
 * The API counts in .api directly. Devices and vCPUs count in structures of
 * their own, which are attached here, borrowed, and read at each flush by
 * single loads: they are other threads' (see base/count.h).
 *
 * A flush writes one line to a non-blocking descriptor. A target that does not
 * take it loses the line, not the counts: they are in the next one. A target
 * that takes half a line gets the other half before anything else.
 *
 * Threads: the loop thread. metrics_flush() may also be called by a handler of
 * a fatal signal, on any thread: it allocates nothing and gives up if a flush
 * is under way.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/metrics_line.h"

/* A line with all drives and all numbers at their longest is 40 KiB. */
#define METRICS_LINE_BYTES 65536

struct limiter;

struct metrics_drive {
	const struct blk_counts *counts;
};

struct metrics_iface {
	const struct net_counts *counts;
	const struct limiter *rx, *tx;
};

/* Large: static or on the heap. Pages of the line are touched as it needs. */
struct metrics {
	struct metrics_api api; /* the endpoints count here */
	/* the rest is metrics.c's */
	const struct vcpu_counts *vcpu[MAX_VCPUS];
	const struct serial_counts *uart;
	const struct i8042_counts *i8042;
	const struct vsock_counts *vsock;
	const struct mmds_counts *mmds;
	struct metrics_names names[METRICS_LISTS]; /* sorted */
	struct metrics_drive drive[METRICS_DEVS];
	struct metrics_iface iface[METRICS_DEVS];
	unsigned int n_vcpus;
	int fd; /* owned, -1: none */
	bool busy;
	struct metrics_counters now, prev;
	size_t len, sent; /* of the line; equal unless half of it is due */
	char line[METRICS_LINE_BYTES];
};

void metrics_init(struct metrics *m);

/* Closes the target; nothing attached is read after this. */
void metrics_exit(struct metrics *m);

/* Whether there is a target; it cannot be changed. */
bool metrics_has_target(const struct metrics *m);

/* The target from now on: non-blocking, opened for appending. Takes fd. */
void metrics_set_fd(struct metrics *m, int fd);

/*
 * Between these nobody else flushes: what is attached while another thread may
 * (see vm_owner.lost). Not nested.
 */
void metrics_hold(struct metrics *m);
void metrics_release(struct metrics *m);

/* Everything attached is borrowed until metrics_detach_all(). */
void metrics_attach_uart(struct metrics *m, const struct serial_counts *c);
void metrics_attach_i8042(struct metrics *m, const struct i8042_counts *c);
void metrics_attach_vsock(struct metrics *m, const struct vsock_counts *c);

/* Add a vCPU, or a device with its name. Returns 0, or -ENOSPC. */
int metrics_attach_vcpu(struct metrics *m, const struct vcpu_counts *c);
int metrics_attach_drive(struct metrics *m, const char *id,
			 const struct blk_counts *c);
int metrics_attach_net(struct metrics *m, const char *id,
		       const struct net_counts *c, const struct limiter *rx,
		       const struct limiter *tx);

/* The same, but not of a machine: borrowed until metrics_exit(). */
void metrics_attach_mmds(struct metrics *m, const struct mmds_counts *c);

/* Forget vCPUs, devices and the rest: their machine goes away. */
void metrics_detach_all(struct metrics *m);

/*
 * Write a line. Returns 0, also without a target; -EBUSY if a flush is under
 * way; -EAGAIN if the target is full, or the error of write(2), or -EMSGSIZE if
 * ids are so long that the line does not fit. Failures are counted.
 */
int metrics_flush(struct metrics *m);

#endif
