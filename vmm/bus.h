/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.h: which device answers an address, for port I/O and for MMIO.
 *
 * A handler gets an offset inside its own region and a length that was checked
 * to lie inside it, never an address. Regions are added before vCPUs run and
 * do not change afterwards, so lookups take no lock.
 *
 * Threads: handlers run on vCPU threads, several at once.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdint.h>

struct err;
struct vcpu;

#define BUS_MAX_REGIONS 24

struct bus_dev;

struct bus_ops {
	/*
	 * data holds len (1, 2, 4 or 8) bytes, little-endian. A read fills all
	 * of them. vcpu is the one that waits for the answer; NULL in tests.
	 */
	void (*read)(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
		     void *data, uint32_t len);
	void (*write)(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
		      const void *data, uint32_t len);
};

/* Embedded in a device. */
struct bus_dev {
	const struct bus_ops *ops;
};

struct bus_region {
	uint64_t start;
	uint64_t len;
	struct bus_dev *dev;
};

struct bus {
	struct bus_region region[BUS_MAX_REGIONS];
	unsigned int n_regions;
};

/* Add a region; -EEXIST if it overlaps one, -ENOSPC if the bus is full. */
int bus_add(struct bus *b, uint64_t start, uint64_t len, struct bus_dev *d);

/*
 * Reads of addresses that no device owns give all ones; writes are dropped.
 * Return 0, or -ENODEV for those.
 */
int bus_read(const struct bus *b, struct vcpu *vcpu, uint64_t addr, void *data,
	     uint32_t len);
int bus_write(const struct bus *b, struct vcpu *vcpu, uint64_t addr,
	      const void *data, uint32_t len);

#endif
