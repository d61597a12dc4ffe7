/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#define ICR_INIT    0x4500
#define ICR_STARTUP 0x4600
#define ICR_FIXED   0x4000

#define START_TIMEOUT_NS (10 * NS_PER_S)

extern const uint8_t trampoline[TRAMPOLINE_BYTES];

static uint8_t apic_ids[MAX_CPUS];
static uint32_t n_listed;
static volatile uint64_t spin_until;
static volatile uint32_t work; /* grows with each spin_until */

static void send_to_others(uint32_t icr_low)
{
	uint8_t self = lapic_id();
	for (uint32_t i = 0; i < n_listed; i++) {
		if (apic_ids[i] != self)
			lapic_send(apic_ids[i], icr_low);
	}
}

/* Once; returns how many run, this one included. */
static uint32_t start_all(void)
{
	if (n_listed)
		return cpus_started;
	n_listed = acpi_list_cpus(apic_ids, MAX_CPUS);
	memcpy((void *)GPA_TRAMPOLINE, trampoline, TRAMPOLINE_BYTES);
	for (uint32_t i = 1; i < n_listed; i++)
		cpu_prepare(i);
	send_to_others(ICR_INIT);
	send_to_others(ICR_STARTUP | GPA_TRAMPOLINE >> 12);
	uint64_t start = clock_ns();
	while (cpus_started < n_listed && clock_ns() - start < START_TIMEOUT_NS)
		cpu_idle();
	return cpus_started;
}

const char *order_cpus(struct piece args)
{
	print("nano: cpus n=%u\n", start_all());
	return "";
}

const char *order_spin(struct piece args)
{
	uint64_t ms = piece_number(args, 0);
	(void)start_all();
	spin_until = ms ? clock_ns() + ms * NS_PER_MS : ~0ULL;
	work++;
	send_to_others(ICR_FIXED | VEC_WAKE);
	while (clock_ns() < spin_until)
		pause();
	return "";
}

_Noreturn void smp_wait_for_work(void)
{
	cpu_setup();
	for (uint32_t seen = 0;; seen = work) {
		cpu_halt_if(&work, seen);
		while (work != seen && clock_ns() < spin_until)
			pause();
	}
}
