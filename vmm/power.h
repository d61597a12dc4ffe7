/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power.h: the sleep control and sleep status registers of hardware-reduced
 * ACPI (ACPI 6.4, 4.8.3.7). A guest that enters S5 ends the VM.
 */
#ifndef VMM_POWER_H
#define VMM_POWER_H

#include "vmm/bus.h"

struct vm;

#define ACPI_S5_SLP_TYP 5 /* what \_S5 in the DSDT names */

struct power {
	struct bus_dev bus;
	struct vm *vm;
};

void power_init(struct power *p, struct vm *vm);

#endif
