/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/power.h"

#include <string.h>

#include "base/num.h"
#include "vmm/vm.h"

#define SLEEP_CONTROL 0
#define SLP_EN	      0x20
#define SLP_TYP(v)    (((v) >> 2) & 7)

static void power_read(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
		       void *data, uint32_t len)
{
	(void)d;
	(void)vcpu;
	(void)offset;
	memset(data, 0, len); /* SLP_TYP reads as 0, WAK_STS is never set */
}

static void power_write(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
			const void *data, uint32_t len)
{
	struct power *p = container_of(d, struct power, bus);
	uint8_t v;

	(void)vcpu;
	memcpy(&v, data, 1);
	if (offset == SLEEP_CONTROL && len == 1 && (v & SLP_EN) &&
	    SLP_TYP(v) == ACPI_S5_SLP_TYP)
		vm_end(p->vm, VM_END_RESET);
}

static const struct bus_ops power_ops = {
	.read = power_read,
	.write = power_write,
};

void power_init(struct power *p, struct vm *vm)
{
	p->bus.ops = &power_ops;
	p->vm = vm;
}
