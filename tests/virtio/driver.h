/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h: a virtio driver for tests: guest RAM, one queue in it, and the
 * registers of one device.
 *
 * Everything that a device reads or writes meanwhile is accessed atomically, so
 * that it may run on a thread of its own.
 */
#ifndef TESTS_VIRTIO_DRIVER_H
#define TESTS_VIRTIO_DRIVER_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "virtio/device.h"
#include "vmm/gmem.h"

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

/* The rings lie one after another at the start of RAM. */
#define DESC_GPA  0
#define AVAIL_GPA 0x1000
#define USED_GPA  0x2000
#define DATA_GPA  0x4000

struct driver {
	struct gmem *mem;
	struct virtio_dev *dev; /* NULL: the queue alone is tested */
	struct vcpu *vcpu;
	uint32_t size;
	uint16_t avail_idx; /* next to offer */
	uint16_t used_idx;  /* next to look at */
};

/* RAM of one region at 0. */
static inline void ram_init(struct gmem *m, uint64_t bytes)
{
	void *p = aligned_alloc(4096, bytes);

	assert(p);
	memset(p, 0, bytes);
	*m = (struct gmem){
		.region[0] = {.bytes = bytes, .hva = p},
		.n_regions = 1,
		.bytes = bytes,
	};
}

static inline void ram_exit(struct gmem *m)
{
	for (unsigned int i = 0; i < m->n_regions; i++)
		free(m->region[i].hva);
	*m = (struct gmem){0};
}

static inline void *ram(const struct driver *d, uint64_t gpa, uint64_t len)
{
	void *p = gmem_ptr(d->mem, gpa, len);

	assert(p);
	return p;
}

static inline void put16(struct driver *d, uint64_t gpa, uint16_t v)
{
	gmem_store16(ram(d, gpa, 2), v);
}

static inline void put32(struct driver *d, uint64_t gpa, uint32_t v)
{
	gmem_store32(ram(d, gpa, 4), v);
}

static inline void put64(struct driver *d, uint64_t gpa, uint64_t v)
{
	__atomic_store_n((uint64_t *)ram(d, gpa, 8), v, __ATOMIC_RELAXED);
}

static inline uint16_t get16(const struct driver *d, uint64_t gpa)
{
	return gmem_load16_acquire(ram(d, gpa, 2));
}

static inline uint32_t get32(const struct driver *d, uint64_t gpa)
{
	return gmem_load32(ram(d, gpa, 4));
}

static inline uint8_t get8(const struct driver *d, uint64_t gpa)
{
	return __atomic_load_n((uint8_t *)ram(d, gpa, 1), __ATOMIC_RELAXED);
}

/* ---- the queue ---- */

/* Descriptor i of the table at `table`. */
static inline void put_desc(struct driver *d, uint64_t table, uint32_t i,
			    uint64_t gpa, uint32_t len, uint16_t flags,
			    uint16_t next)
{
	uint64_t at = table + (uint64_t)i * 16;

	put64(d, at, gpa);
	put64(d, at + 8, len | (uint64_t)flags << 32 | (uint64_t)next << 48);
}

static inline void desc(struct driver *d, uint32_t i, uint64_t gpa,
			uint32_t len, uint16_t flags, uint16_t next)
{
	put_desc(d, DESC_GPA, i, gpa, len, flags, next);
}

/* Put a head into the available ring without showing it yet. */
static inline void stage(struct driver *d, uint16_t head)
{
	put16(d, AVAIL_GPA + 4 + 2 * (uint64_t)(d->avail_idx % d->size), head);
	d->avail_idx++;
}

static inline void publish(struct driver *d)
{
	gmem_store16_release(ram(d, AVAIL_GPA + 2, 2), d->avail_idx);
}

static inline void offer(struct driver *d, uint16_t head)
{
	stage(d, head);
	publish(d);
}

static inline bool used_waits(const struct driver *d)
{
	return get16(d, USED_GPA + 2) != d->used_idx;
}

/* The next used element, or false. */
static inline bool take_used(struct driver *d, uint32_t *head, uint32_t *len)
{
	uint64_t at = USED_GPA + 4 + 8 * (uint64_t)(d->used_idx % d->size);

	if (!used_waits(d))
		return false;
	*head = get32(d, at);
	*len = get32(d, at + 4);
	d->used_idx++;
	return true;
}

/* Flags, indices and event marks; entries mean nothing before these say so. */
static inline void clear_rings(struct driver *d)
{
	put32(d, AVAIL_GPA, 0);
	put16(d, AVAIL_GPA + 4 + 2 * (uint64_t)d->size, 0);
	put32(d, USED_GPA, 0);
	put16(d, USED_GPA + 4 + 8 * (uint64_t)d->size, 0);
	d->avail_idx = 0;
	d->used_idx = 0;
}

/* ---- the registers ---- */

static inline uint32_t reg_read(struct driver *d, uint32_t reg)
{
	uint32_t v;

	d->dev->bus.ops->read(&d->dev->bus, d->vcpu, reg, &v, sizeof(v));
	return v;
}

static inline void reg_write(struct driver *d, uint32_t reg, uint32_t v)
{
	d->dev->bus.ops->write(&d->dev->bus, d->vcpu, reg, &v, sizeof(v));
}

static inline void write_features(struct driver *d, uint64_t features)
{
	for (uint32_t i = 0; i < 2; i++) {
		reg_write(d, 0x24, i);
		reg_write(d, 0x20, (uint32_t)(features >> (32 * i)));
	}
}

static inline void set_up_queue(struct driver *d, uint32_t queue, uint64_t at)
{
	reg_write(d, 0x30, queue);
	reg_write(d, 0x38, d->size);
	reg_write(d, 0x80, (uint32_t)(at + DESC_GPA));
	reg_write(d, 0x84, 0);
	reg_write(d, 0x90, (uint32_t)(at + AVAIL_GPA));
	reg_write(d, 0x94, 0);
	reg_write(d, 0xa0, (uint32_t)(at + USED_GPA));
	reg_write(d, 0xa4, 0);
	reg_write(d, 0x44, 1);
}

/* Reset and bring up the device with queue 0 only. */
static inline void bring_up(struct driver *d, uint64_t features)
{
	reg_write(d, 0x70, 0);
	clear_rings(d);
	reg_write(d, 0x70, 1);
	reg_write(d, 0x70, 3);
	write_features(d, features);
	reg_write(d, 0x70, 11);
	set_up_queue(d, 0, 0);
	reg_write(d, 0x70, 15);
}

static inline void kick(struct driver *d)
{
	reg_write(d, 0x50, 0);
}

#endif
