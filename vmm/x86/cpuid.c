/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c: what CPUID tells the guest. KVM's list of what it supports is read
 * once, changed by the template, then normalised, so that guests on one kind of
 * host see the same CPU whatever the host's topology is.
 */
#include "vmm/x86/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/x86/layout.h"

#define BIT(n) (UINT32_C(1) << (n))

#define LEAF_BRAND 0x80000002U
#define N_BRAND	   3

#define BRAND_INTEL	 "Intel(R) Xeon(R) Processor"
#define BRAND_INTEL_FREQ BRAND_INTEL " @"
#define BRAND_AMD	 "AMD EPYC"

/* Package shift of leaf 0xb: the same for every number of vCPUs. */
#define PACKAGE_BITS 5
_Static_assert(MAX_VCPUS == 1 << PACKAGE_BITS, "APIC ids of one package");

/* Topology levels of leaf 0xb (ECX[15:8]). */
#define LEVEL_SMT  1
#define LEVEL_CORE 2

_Static_assert(offsetof(struct cpuid, n) == offsetof(struct kvm_cpuid2, nent) &&
		       offsetof(struct cpuid, entry) ==
			       offsetof(struct kvm_cpuid2, entries),
	       "struct cpuid is handed to KVM as it is");

enum vendor { VENDOR_OTHER, VENDOR_INTEL, VENDOR_AMD };

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *c, uint32_t leaf,
				    uint32_t subleaf)
{
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->entry[i].function == leaf &&
		    c->entry[i].index == subleaf)
			return &c->entry[i];
	}
	return NULL;
}

/* The same, made (all zero) if there is none and there is room. */
static struct kvm_cpuid_entry2 *find_or_add(struct cpuid *c, uint32_t leaf,
					    uint32_t subleaf)
{
	struct kvm_cpuid_entry2 *x = cpuid_find(c, leaf, subleaf);

	if (x || c->n == CPUID_MAX_ENTRIES)
		return x;
	x = &c->entry[c->n++];
	*x = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = subleaf,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
	};
	return x;
}

/* Replace bits [low, high] of *reg. */
static void set_field(uint32_t *reg, unsigned int low, unsigned int high,
		      uint32_t value)
{
	uint32_t mask =
		(uint32_t)((UINT64_C(2) << high) - (UINT64_C(1) << low));

	*reg = (*reg & ~mask) | (value << low & mask);
}

static enum vendor vendor_of(struct cpuid *c)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(c, 0, 0);
	char name[12];

	if (!x)
		return VENDOR_OTHER;
	memcpy(name, &x->ebx, 4);
	memcpy(name + 4, &x->edx, 4);
	memcpy(name + 8, &x->ecx, 4);
	if (memcmp(name, "GenuineIntel", sizeof(name)) == 0)
		return VENDOR_INTEL;
	if (memcmp(name, "AuthenticAMD", sizeof(name)) == 0)
		return VENDOR_AMD;
	return VENDOR_OTHER;
}

/* Bits of the APIC id that number the threads of a core. */
static unsigned int thread_bits(const struct cpu_config *cfg)
{
	return cfg->smt && cfg->n_vcpus > 1 ? 1 : 0;
}

static uint32_t power_of_two_above(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

static void normalise_features(struct cpuid *c, const struct cpu_config *cfg)
{
	struct kvm_cpuid_entry2 *x = cpuid_find(c, 1, 0);

	if (!x)
		return;
	set_field(&x->ebx, 8, 15, 8); /* CLFLUSH: 64 bytes */
	set_field(&x->ebx, 16, 23, power_of_two_above(cfg->n_vcpus));
	set_field(&x->ecx, 15, 15, 0); /* PDCM */
	set_field(&x->ecx, 24, 24, 1); /* TSC_DEADLINE: KVM emulates it */
	set_field(&x->ecx, 31, 31, 1); /* HYPERVISOR */
	set_field(&x->edx, 28, 28, cfg->n_vcpus > 1);
}

/*
 * Control-flow enforcement (hosts since Linux 6.18): snapshots do not hold its
 * registers.
 */
static void hide_cet(struct cpuid *c)
{
	struct kvm_cpuid_entry2 *x = cpuid_find(c, 7, 0);

	if (x) {
		set_field(&x->ecx, 7, 7, 0);   /* SHSTK */
		set_field(&x->edx, 20, 20, 0); /* IBT */
	}
	x = cpuid_find(c, 0xd, 1);
	if (x)
		set_field(&x->ecx, 11, 12, 0); /* its parts of XSS */
}

/* KVM leaves the topology to us, and since Linux 6.2 the subleaf too. */
static void normalise_topology(struct cpuid *c, uint32_t leaf,
			       const struct cpu_config *cfg)
{
	struct kvm_cpuid_entry2 *x;

	(void)find_or_add(c, leaf, 0);
	(void)find_or_add(c, leaf, 1);
	for (uint32_t i = 0; (x = cpuid_find(c, leaf, i)); i++) {
		x->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		x->eax = 0;
		x->ebx = 0;
		x->ecx = i;
		x->edx = 0;
		if (i == 0) {
			x->eax = thread_bits(cfg);
			x->ebx = 1U << thread_bits(cfg);
			x->ecx |= LEVEL_SMT << 8;
		} else if (i == 1) {
			x->eax = PACKAGE_BITS;
			x->ebx = cfg->n_vcpus;
			x->ecx |= LEVEL_CORE << 8;
		}
	}
}

/*
 * Who shares a cache, in leaf 4 of Intel and 0x8000001d of AMD: the threads of
 * a core the first two levels, all vCPUs the third.
 */
static void normalise_caches(struct cpuid *c, uint32_t leaf,
			     const struct cpu_config *cfg)
{
	struct kvm_cpuid_entry2 *x;

	for (uint32_t i = 0; (x = cpuid_find(c, leaf, i)); i++) {
		uint32_t level = x->eax >> 5 & 7;

		if (!(x->eax & 0x1f))
			break;
		if (level == 1 || level == 2)
			set_field(&x->eax, 14, 25,
				  (1U << thread_bits(cfg)) - 1);
		else if (level == 3)
			set_field(&x->eax, 14, 25, cfg->n_vcpus - 1);
		if (leaf == 4)
			set_field(&x->eax, 26, 31,
				  (cfg->n_vcpus >> thread_bits(cfg)) - 1);
	}
}

static void set_brand(struct cpuid *c, const char brand[CPUID_BRAND_BYTES])
{
	for (uint32_t i = 0; i < N_BRAND; i++) {
		struct kvm_cpuid_entry2 *x = cpuid_find(c, LEAF_BRAND + i, 0);

		if (x)
			memcpy(&x->eax, brand + (size_t)16 * i, 16);
	}
}

/* " 2.90GHz" in "Intel(R) ... @ 2.90GHz": its start and length, or NULL. */
static const char *find_frequency(const char brand[CPUID_BRAND_BYTES],
				  size_t *len)
{
	size_t unit = 0, start;

	while (unit + 3 <= CPUID_BRAND_BYTES &&
	       !(strchr("MGT", brand[unit]) && brand[unit] &&
		 brand[unit + 1] == 'H' && brand[unit + 2] == 'z'))
		unit++;
	if (unit + 3 > CPUID_BRAND_BYTES)
		return NULL;
	start = unit;
	while (start > 0 &&
	       (brand[start - 1] == '.' ||
		(brand[start - 1] >= '0' && brand[start - 1] <= '9')))
		start--;
	if (start == 0 || start == unit || brand[start - 1] != ' ')
		return NULL;
	*len = unit + 3 - (start - 1);
	return brand + start - 1;
}

static void set_intel_brand(struct cpuid *c, const char host[CPUID_BRAND_BYTES])
{
	char brand[CPUID_BRAND_BYTES] = BRAND_INTEL;
	const char *freq;
	size_t len = 0;

	freq = find_frequency(host, &len);
	if (freq && sizeof(BRAND_INTEL_FREQ) - 1 + len <= sizeof(brand)) {
		memcpy(brand, BRAND_INTEL_FREQ, sizeof(BRAND_INTEL_FREQ) - 1);
		memcpy(brand + sizeof(BRAND_INTEL_FREQ) - 1, freq, len);
	}
	set_brand(c, brand);
}

static void normalise_intel(struct cpuid *c, const struct cpu_config *cfg,
			    const char host_brand[CPUID_BRAND_BYTES])
{
	struct kvm_cpuid_entry2 *x;

	normalise_caches(c, 4, cfg);
	x = cpuid_find(c, 6, 0);
	if (x) {
		x->eax &= ~BIT(1); /* turbo boost */
		x->ecx &= ~BIT(3); /* energy performance bias */
	}
	x = cpuid_find(c, 7, 0);
	if (x) {
		x->ebx |= BIT(6);  /* FPU data pointer on exceptions only */
		x->ebx |= BIT(13); /* FPU CS and DS deprecated */
		x->ecx &= ~BIT(5); /* WAITPKG: would idle the host's core */
	}
	x = cpuid_find(c, 0xa, 0);
	if (x) /* no PMU */
		x->eax = x->ebx = x->ecx = x->edx = 0;
	if (cpuid_find(c, 0x1f, 0))
		normalise_topology(c, 0x1f, cfg);
	set_intel_brand(c, host_brand);
}

static void normalise_amd(struct cpuid *c, const struct cpu_config *cfg)
{
	static const char brand[CPUID_BRAND_BYTES] = BRAND_AMD;
	struct kvm_cpuid_entry2 *x;

	normalise_caches(c, 0x8000001d, cfg);
	x = cpuid_find(c, 7, 0);
	if (x)
		x->edx &= ~BIT(29); /* ARCH_CAPABILITIES: KVM always sets it */
	x = cpuid_find(c, 0x80000000, 0);
	if (x)
		x->eax = MAX(x->eax, 0x8000001eU);
	x = cpuid_find(c, 0x80000001, 0);
	if (x)
		x->ecx |= BIT(22); /* topology extensions */
	x = cpuid_find(c, 0x80000008, 0);
	if (x) {
		set_field(&x->ecx, 0, 7, cfg->n_vcpus - 1);
		set_field(&x->ecx, 12, 15, 7); /* bits of an APIC id */
	}
	x = find_or_add(c, 0x8000001e, 0);
	if (x) {
		x->flags = 0;
		x->eax = x->ecx = x->edx = 0; /* one node */
		x->ebx = thread_bits(cfg) << 8;
	}
	set_brand(c, brand);
}

void cpuid_normalise(struct cpuid *c, const struct cpu_config *cfg,
		     const char brand[CPUID_BRAND_BYTES])
{
	enum vendor vendor = vendor_of(c);

	normalise_features(c, cfg);
	hide_cet(c);
	normalise_topology(c, 0xb, cfg);
	if (vendor == VENDOR_INTEL)
		normalise_intel(c, cfg, brand);
	else if (vendor == VENDOR_AMD)
		normalise_amd(c, cfg);
}

void cpuid_specialise(struct cpuid *c, unsigned int index,
		      const struct cpu_config *cfg)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct kvm_cpuid_entry2 *x = &c->entry[i];

		switch (x->function) {
		case 1:
			set_field(&x->ebx, 24, 31, index);
			break;
		case 0xb:
		case 0x1f:
			x->edx = index;
			break;
		case 0x8000001e:
			x->eax = index;
			set_field(&x->ebx, 0, 7, index >> thread_bits(cfg));
			break;
		default:
			break;
		}
	}
}

/*
 * The host's brand string, which KVM does not report. Only its second and third
 * part, where the frequency stands: under a hypervisor a CPUID instruction
 * costs 20 us and more.
 */
static void read_host_brand(char brand[CPUID_BRAND_BYTES])
{
	uint32_t r[4];

	memset(brand, ' ', 16);
	for (uint32_t i = 1; i < N_BRAND; i++) {
		__cpuid(LEAF_BRAND + i, r[0], r[1], r[2], r[3]);
		memcpy(brand + (size_t)16 * i, r, sizeof(r));
	}
}

static void copy_table(struct cpuid *to, const struct cpuid *from)
{
	memcpy(to, from,
	       offsetof(struct cpuid, entry) +
		       from->n * sizeof(from->entry[0]));
}

int cpu_host_read(struct cpu_host *h, int kvm_fd, struct err *e)
{
	cpu_allow_amx();
	h->cpuid.n = CPUID_MAX_ENTRIES;
	h->cpuid.padding = 0;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &h->cpuid) < 0)
		return err_sys(e, "Kvm error: Failed to get supported cpuid");
	if (vendor_of(&h->cpuid) == VENDOR_INTEL)
		read_host_brand(h->brand);
	return 0;
}

int cpuid_build(struct cpuid *c, const struct cpu_host *h,
		const struct cpu_config *cfg, struct err *e)
{
	struct kvm_cpuid_entry2 host0 = {0};
	const struct kvm_cpuid_entry2 *x;
	struct kvm_cpuid_entry2 *leaf0;
	int ret;

	copy_table(c, &h->cpuid);
	x = cpuid_find(c, 0, 0);
	if (x)
		host0 = *x;
	ret = template_apply_cpuid(c, cfg, e);
	if (ret < 0)
		return ret;
	/* A template may not turn one vendor's CPU into another's. */
	leaf0 = cpuid_find(c, 0, 0);
	if (leaf0) {
		leaf0->ebx = host0.ebx;
		leaf0->ecx = host0.ecx;
		leaf0->edx = host0.edx;
	}
	cpuid_normalise(c, cfg, h->brand);
	return 0;
}

int cpuid_set(const struct cpuid *c, int vcpu_fd, unsigned int index,
	      const struct cpu_config *cfg, struct err *e)
{
	struct cpuid own;

	copy_table(&own, c);
	cpuid_specialise(&own, index, cfg);
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, &own) < 0)
		return err_sys(e,
			       "System configuration error: Failed to set "
			       "the CPUID of vCPU %u",
			       index);
	return 0;
}
