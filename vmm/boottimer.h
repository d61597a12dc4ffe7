/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boottimer.h: a pseudo device (--boot-timer) that logs, at a write of 123,
 * how long the guest took to get there.
 */
#ifndef VMM_BOOTTIMER_H
#define VMM_BOOTTIMER_H

#include <stdint.h>

#include "vmm/bus.h"

struct boottimer {
	struct bus_dev bus;
	uint64_t start_us;     /* CLOCK_MONOTONIC */
	uint64_t start_cpu_us; /* of the process */
};

void boottimer_init(struct boottimer *t, uint64_t start_us,
		    uint64_t start_cpu_us);

#endif
