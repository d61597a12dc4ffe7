/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq.h: one edge-triggered interrupt line of the in-kernel interrupt chips.
 *
 * Raising is a write to an eventfd that KVM listens on. Any thread; never
 * blocks.
 */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <stdint.h>

struct err;

struct irq {
	int fd; /* eventfd, -1 when closed */
	uint32_t gsi;
};

/* Make the eventfd; irq_bind() connects it once the VM exists. */
int irq_init(struct irq *i, uint32_t gsi, struct err *e);
int irq_bind(struct irq *i, int vm_fd, struct err *e);
void irq_exit(struct irq *i);

void irq_raise(const struct irq *i);

#endif
