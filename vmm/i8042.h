/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042.h: as much of a keyboard controller as resets a PC and types
 * Ctrl-Alt-Del.
 *
 * Threads: bus handlers on vCPU threads, under a short lock; the rest any.
 */
#ifndef VMM_I8042_H
#define VMM_I8042_H

#include <pthread.h>
#include <stdint.h>

#include "vmm/bus.h"

struct archive;
struct irq;
struct vm;

#define I8042_BUF_BYTES 16

struct i8042_counts {
	uint64_t errors, missed_reads, missed_writes, reads, resets, writes;
};

struct i8042 {
	struct bus_dev bus;
	pthread_mutex_t lock;
	const struct irq *irq;
	struct vm *vm;
	uint8_t status, control, outp, command;
	uint8_t buf[I8042_BUF_BYTES];
	uint32_t head, tail;
	struct i8042_counts counts;
};

void i8042_init(struct i8042 *d, struct vm *vm, const struct irq *irq);

/* Type Ctrl-Alt-Del; -ENOBUFS if the buffer is full. */
int i8042_ctrl_alt_del(struct i8042 *d);

/* Registers and waiting bytes, of a guest that is paused, for a snapshot. */
void i8042_describe(struct i8042 *d, struct archive *a);

#endif
