/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h: what a guest CPU looks like: CPUID, MSRs, boot registers, templates.
 *
 * Helper thread, before vCPUs run. KVM descriptors are the caller's.
 */
#ifndef VMM_X86_CPU_H
#define VMM_X86_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct archive;
struct err;
struct gmem;
struct kernel;

#define CPUID_MAX_ENTRIES 256

/*
 * Static templates by the name of the API's deprecated field. They are bound
 * to a CPU vendor and model.
 */
enum cpu_template_name {
	CPU_TEMPLATE_NONE,
	CPU_TEMPLATE_C3,
	CPU_TEMPLATE_T2,
	CPU_TEMPLATE_T2S,
	CPU_TEMPLATE_T2CL,
	CPU_TEMPLATE_T2A,
};

/* value = (value & ~filter) | bits */
struct cpu_bits {
	uint64_t filter;
	uint64_t bits;
};

struct cpuid_modifier {
	uint32_t leaf;
	uint32_t subleaf;
	uint32_t flags;
	uint32_t set;		/* bit n: reg[n] is modified */
	struct cpu_bits reg[4]; /* eax, ebx, ecx, edx */
};

struct msr_modifier {
	uint32_t index;
	struct cpu_bits value;
};

struct kvm_cap_modifier {
	uint32_t cap;
	bool remove; /* "!172": do not require it */
};

/* A custom template (PUT /cpu-config); owns its arrays. */
struct cpu_template {
	struct cpuid_modifier *cpuid;
	struct msr_modifier *msr;
	struct kvm_cap_modifier *cap;
	unsigned int n_cpuid, n_msr, n_cap;
};

void cpu_template_exit(struct cpu_template *t);

/*
 * What KVM offers, changed once for all vCPUs: struct kvm_cpuid2 with its
 * entries.
 */
struct cpuid {
	uint32_t n;
	uint32_t padding;
	struct kvm_cpuid_entry2 entry[CPUID_MAX_ENTRIES];
};

/* The entry for a leaf and subleaf (0 where a leaf has none), or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *c, uint32_t leaf,
				    uint32_t subleaf);

struct cpu_config {
	unsigned int n_vcpus;
	bool smt;
	enum cpu_template_name name;
	const struct cpu_template *custom; /* NULL: none; wins over name */
};

#define CPUID_BRAND_BYTES 48

/* What the host has to offer, which depends on no virtual machine. */
struct cpu_host {
	struct cpuid cpuid;	       /* KVM's table */
	char brand[CPUID_BRAND_BYTES]; /* leaves 0x80000002 to 4 */
};

/*
 * Read it; before the first vCPU is made. Any thread. This is the dearest call
 * of a start where the CPUID instruction traps (0.4 of 1.5 ms): see
 * vmm/probe.h.
 */
int cpu_host_read(struct cpu_host *h, int kvm_fd, struct err *e);

/*
 * Check the KVM capabilities that the monitor and the template need: "Kvm
 * error: Missing KVM capabilities: 0x1869f". Also asks the host to let guests
 * use AMX where it has it, which must come before the first vCPU.
 */
int cpu_check_caps(int kvm_fd, const struct cpu_config *c, struct err *e);

/* The part of it that asks for AMX; decides what KVM's table says of it. */
void cpu_allow_amx(void);

/* KVM capabilities (KVM_CAP_x) that a guest depends on. */
#define KVM_CAPS_MAX 64

struct kvm_caps {
	uint32_t n;
	uint32_t cap[KVM_CAPS_MAX];
};

/* Those that cpu_check_caps() looks for, as far as there is room. */
void kvm_caps_of(struct kvm_caps *k, const struct cpu_config *c);
void kvm_caps_add(struct kvm_caps *k, uint32_t cap); /* once */
void kvm_caps_describe(struct kvm_caps *k, struct archive *a);

/* Refuses, by name, the first that this host lacks. */
int kvm_caps_check(const struct kvm_caps *k, int kvm_fd, struct err *e);

/*
 * From KVM's CPUID: apply the template, normalise it. Errors are complete texts
 * behind "Start microvm error: ": "Failed to get CPU template: ..." for a
 * static template, which fits no CPU here; "System configuration error: Failed
 * to create guest config: ..." for a custom one that names a leaf that KVM
 * lacks.
 */
int cpuid_build(struct cpuid *c, const struct cpu_host *h,
		const struct cpu_config *cfg, struct err *e);

/*
 * The part of it that changes what KVM offers. brand is the host's brand string
 * (leaves 0x80000002 to 4), from which the frequency is taken.
 */
void cpuid_normalise(struct cpuid *c, const struct cpu_config *cfg,
		     const char brand[CPUID_BRAND_BYTES]);

/* APIC id and topology of vCPU `index`. */
void cpuid_specialise(struct cpuid *c, unsigned int index,
		      const struct cpu_config *cfg);

/* The template's part: 0, or the error for a leaf that is not there. */
int template_apply_cpuid(struct cpuid *c, const struct cpu_config *cfg,
			 struct err *e);

/* Set the CPUID of vCPU `index`, with its APIC id and topology. */
int cpuid_set(const struct cpuid *c, int vcpu_fd, unsigned int index,
	      const struct cpu_config *cfg, struct err *e);

/*
 * Boot MSRs, then those of the template; after cpuid_set(), which decides what
 * MSRs there are. Text as "System configuration error: Failed to create guest
 * config: KVM vcpu ioctl failed: Failed to get KVM vcpu msr: 0xdeadbeef".
 */
int msr_set_boot(int vcpu_fd, const struct cpu_config *cfg, struct err *e);

/*
 * Boot registers of vCPU 0, as the kernel's protocol wants them. The others
 * need none: they wait for INIT and a start-up IPI, which reset them.
 * boot_tables_write() must have run.
 */
int regs_set_boot(int vcpu_fd, unsigned int index, const struct kernel *k,
		  struct err *e);

/* GDT and identity page tables that regs_set_boot() points at. */
int boot_tables_write(const struct gmem *m, const struct kernel *k,
		      struct err *e);

#endif
