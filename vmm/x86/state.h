/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h: the registers of a machine, out of KVM and back into it.
 *
 * get() and set() talk to KVM, describe() to an archive, which bounds counts;
 * check() looks at what was loaded before anything is set, and what KVM refuses
 * is named by set(). The vCPUs are parked. Helper thread.
 */
#ifndef VMM_X86_STATE_H
#define VMM_X86_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "vmm/x86/cpu.h"

struct archive;
struct err;

#define STATE_MAX_MSRS	  128
#define STATE_XSAVE_BYTES 16384 /* with AMX 11 KiB */

struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
	uint32_t tsc_khz;
	uint32_t n_msrs;
	struct kvm_msr_entry msr[STATE_MAX_MSRS];
	uint32_t xsave_bytes;
	uint8_t xsave[STATE_XSAVE_BYTES];
};

_Static_assert(_Alignof(struct vcpu_state) <= _Alignof(max_align_t),
	       "calloc() aligns it");

/* What this host can save: MSRs of those that a snapshot holds. */
struct state_host {
	uint32_t msr[STATE_MAX_MSRS];
	uint32_t n_msrs;
	uint32_t xsave_bytes;
};

int state_host_read(struct state_host *h, int kvm_fd, struct err *e);

/* Whether a snapshot may hold that MSR: only these are ever written. */
bool msr_saved(uint32_t index);

int vcpu_state_get(struct vcpu_state *s, int vcpu_fd,
		   const struct state_host *h, struct err *e);
/* Whether the host can run a TSC at another rate than its own. */
bool tsc_scales(int kvm_fd);

/* What was loaded: only MSRs that a snapshot may hold, no XCR0 but the host's
 */
int vcpu_state_check(const struct vcpu_state *s, uint64_t host_xcr0,
		     struct err *e);
int vcpu_state_set(const struct vcpu_state *s, int vcpu_fd, bool tsc_scales,
		   struct err *e);
void vcpu_state_describe(struct vcpu_state *s, struct archive *a);

/* Interrupt chips, timer and clock. */
struct chip_state {
	struct kvm_irqchip pic[2];
	struct kvm_irqchip ioapic;
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
};

int chip_state_get(struct chip_state *s, int vm_fd, struct err *e);

/*
 * With realtime, kvmclock advances by the time that has passed since, as the
 * host's clock of the day has it.
 */
int chip_state_set(const struct chip_state *s, int vm_fd, bool realtime,
		   struct err *e);
void chip_state_describe(struct chip_state *s, struct archive *a);

/* The table of CPUID before it is specialised for each vCPU. */
void cpuid_describe(struct cpuid *c, struct archive *a);

/*
 * The features in `made` that the host's own table lacks: a template has put
 * them there, wherever the guest runs. Both are by cpuid_build(), the host's
 * without the template.
 */
void cpuid_find_forced(struct cpuid *forced, struct cpuid *made,
		       struct cpuid *host);

/*
 * Whether this host can show a guest the CPU that it has seen: one of the same
 * vendor, and each feature of the saved table, but those that are forced, in
 * that which cpuid_build() makes here. The error names leaf, register and bits.
 */
int cpuid_check_subset(struct cpuid *saved, struct cpuid *forced,
		       struct cpuid *host, struct err *e);

#endif
