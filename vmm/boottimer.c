/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boottimer.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"

#define BOOT_DONE 123

static void timer_read(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
		       void *data, uint32_t len)
{
	(void)d;
	(void)vcpu;
	(void)offset;
	memset(data, 0xff, len);
}

static void timer_write(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
			const void *data, uint32_t len)
{
	struct boottimer *t = container_of(d, struct boottimer, bus);
	uint64_t us, cpu_us;
	uint8_t v;

	(void)vcpu;
	memcpy(&v, data, 1);
	if (offset != 0 || len != 1 || v != BOOT_DONE)
		return;
	us = clock_now_ns() / NS_PER_US - t->start_us;
	cpu_us = clock_process_cpu_us() - t->start_cpu_us;
	log_limited(LOG_INFO,
		    "Guest-boot-time = %6" PRIu64 " us %" PRIu64
		    " ms, %6" PRIu64 " CPU us %" PRIu64 " CPU ms",
		    us, us / 1000, cpu_us, cpu_us / 1000);
}

static const struct bus_ops timer_ops = {
	.read = timer_read,
	.write = timer_write,
};

void boottimer_init(struct boottimer *t, uint64_t start_us,
		    uint64_t start_cpu_us)
{
	t->bus.ops = &timer_ops;
	t->start_us = start_us;
	t->start_cpu_us = start_cpu_us;
}
