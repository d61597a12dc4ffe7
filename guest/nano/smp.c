/* SPDX-License-Identifier: Apache-2.0 */
/* smp.c: the other processors; with nano.spin they spin, else they halt. */
#include "guest/nano/nano.h"

#define ICR_INIT    0x4500
#define ICR_STARTUP 0x4600

#define START_TIMEOUT_NS (10 * NS_PER_S)

extern const uint8_t trampoline[TRAMPOLINE_BYTES];

const char *order_cpus(struct piece args)
{
	uint32_t by_madt = acpi_count_by_madt();
	uint32_t by_mptable = acpi_count_by_mptable();
	uint32_t n = by_madt ? by_madt : by_mptable;
	if (cpus_started == 1) {
		memcpy((void *)GPA_TRAMPOLINE, trampoline, TRAMPOLINE_BYTES);
		ipi_others(ICR_INIT);
		ipi_others(ICR_STARTUP | GPA_TRAMPOLINE >> 12);
	}
	uint64_t start = clock_ns();
	while (cpus_started < n && clock_ns() - start < START_TIMEOUT_NS)
		cpu_idle();
	print("nano: cpus n=%u madt=%u mptable=%u\n", cpus_started, by_madt,
	      by_mptable);
	return cpus_started == n ? "" : "not all of them start";
}

_Noreturn void smp_main(uint32_t index)
{
	for (;;) {
		if (cmdline_value("nano.spin", 0).s)
			dirty_follow(index);
		else
			cpu_halt();
	}
}
