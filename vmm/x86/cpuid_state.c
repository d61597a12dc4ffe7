/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_state.c: the CPU that a guest has seen, in a snapshot, and whether this
 * host has all of it.
 */
#include "vmm/x86/state.h"

#include <errno.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"

/* Leaves whose registers are sets of features. */
struct features {
	uint32_t leaf, subleaf;
	uint32_t mask[4]; /* of eax, ebx, ecx, edx; 0: no features */
};

#define ALL	UINT32_MAX
#define OSXSAVE (1U << 27) /* mirror bits of CR4, set by KVM as it runs */
#define OSPKE	(1U << 4)

static const struct features table[] = {
	{0x1, 0, {0, 0, ALL & ~OSXSAVE, ALL}},
	{0x7, 0, {0, ALL, ALL & ~OSPKE, ALL}},
	{0x7, 1, {ALL, ALL, ALL, ALL}},
	{0x7, 2, {0, 0, 0, ALL}},
	{0xd, 0, {ALL, 0, 0, ALL}}, /* XCR0 */
	{0xd, 1, {ALL, 0, ALL, ALL}},
	{0x80000001, 0, {0, 0, ALL, ALL}},
	{0x80000007, 0, {0, 0, 0, ALL}},
	{0x80000008, 0, {0, ALL, 0, 0}},
	{0x80000021, 0, {ALL, 0, 0, 0}},
	{0x40000001, 0, {ALL, 0, 0, 0}}, /* KVM's own */
};

static uint32_t reg(const struct kvm_cpuid_entry2 *x, int i)
{
	const uint32_t regs[4] = {x->eax, x->ebx, x->ecx, x->edx};

	return regs[i];
}

static int check_leaf(struct cpuid *saved, struct cpuid *host,
		      const struct features *f, struct err *e)
{
	static const char *const name[4] = {"EAX", "EBX", "ECX", "EDX"};
	const struct kvm_cpuid_entry2 *s =
		cpuid_find(saved, f->leaf, f->subleaf);
	const struct kvm_cpuid_entry2 *h =
		cpuid_find(host, f->leaf, f->subleaf);

	for (int i = 0; s && i < 4; i++) {
		uint32_t missing =
			reg(s, i) & f->mask[i] & ~(h ? reg(h, i) : 0);

		if (missing)
			return err_set(e, -ENOTSUP,
				       "The snapshot's CPU has features that "
				       "this host lacks: CPUID leaf 0x%x "
				       "subleaf 0x%x %s bits 0x%x",
				       f->leaf, f->subleaf, name[i], missing);
	}
	return 0;
}

int cpuid_check_subset(struct cpuid *saved, struct cpuid *host, struct err *e)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(table); i++)
		ret = check_leaf(saved, host, &table[i], e);
	return ret;
}

void cpuid_describe(struct cpuid *c, struct archive *a)
{
	archive_u32(a, &c->n);
	if (c->n > CPUID_MAX_ENTRIES) {
		c->n = 0;
		a->failed = true;
	}
	for (uint32_t i = 0; i < c->n; i++) {
		struct kvm_cpuid_entry2 *x = &c->entry[i];

		archive_u32(a, &x->function);
		archive_u32(a, &x->index);
		archive_u32(a, &x->flags);
		archive_u32(a, &x->eax);
		archive_u32(a, &x->ebx);
		archive_u32(a, &x->ecx);
		archive_u32(a, &x->edx);
	}
}
