/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#define MSR_KVM_SYSTEM_TIME 0x4b564d01

__extension__ typedef unsigned __int128 wide;

/* struct pvclock_vcpu_time_info */
struct kvm_clock {
	uint32_t version, pad0;
	uint64_t tsc, system_ns;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};

static uint64_t rdtsc(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static struct kvm_clock kvm_clock __attribute__((aligned(64)));
static uint64_t khz, tsc_start;

static void start_kvm_clock0(void *arg)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(MSR_KVM_SYSTEM_TIME), "d"(0),
			   "a"((uint32_t)(uint64_t)arg | 1)
			 : "memory");
}

/* KVM fills the page before it enters the guest again; else this faults. */
static void set_up(void)
{
	call0(start_kvm_clock0, &kvm_clock);
	uint64_t rate = (1000000ULL << 32) / kvm_clock.tsc_to_system_mul;
	khz = kvm_clock.tsc_shift < 0 ? rate << -kvm_clock.tsc_shift
				      : rate >> kvm_clock.tsc_shift;
	tsc_start = rdtsc();
}

uint64_t clock_ns(void)
{
	if (khz == 0)
		set_up();
	uint64_t tsc = rdtsc() - tsc_start;
	return tsc / khz * 1000000 + tsc % khz * 1000000 / khz;
}

uint64_t clock_median(uint64_t *ns, uint64_t n)
{
	for (uint64_t i = 1; i < n; i++) {
		uint64_t v = ns[i];
		uint64_t at = i;
		for (; at && ns[at - 1] > v; at--)
			ns[at] = ns[at - 1];
		ns[at] = v;
	}
	return n ? ns[n / 2] : 0;
}

const char *order_clock(struct piece args)
{
	(void)clock_ns();
	print("nano: clock khz=%lu\n", khz);
	return "";
}

/* What kvmclock says: KVM changes the page while it is odd. */
static uint64_t kvm_clock_ns(void)
{
	const volatile struct kvm_clock *c = &kvm_clock;
	uint64_t ns;
	uint32_t version;
	do {
		version = c->version & ~1u;
		uint64_t ticks = rdtsc() - c->tsc;
		ticks = c->tsc_shift < 0 ? ticks >> -c->tsc_shift
					 : ticks << c->tsc_shift;
		ns = c->system_ns +
		     (uint64_t)((wide)ticks * c->tsc_to_system_mul >> 32);
	} while (c->version != version);
	return ns;
}

const char *order_uptime(struct piece args)
{
	uint64_t ms = piece_number(args, 1000);
	(void)clock_ns();
	uint64_t start = kvm_clock_ns(), now = start;
	while (now - start < ms * NS_PER_MS) {
		cpu_idle();
		now = kvm_clock_ns();
		print("nano: uptime ns=%lu\n", now);
	}
	return "";
}
