/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_state.c: the CPU that a guest has seen, in a snapshot, and whether this
 * host has all of it.
 */
#include "vmm/x86/state.h"

#include <errno.h>
#include <string.h>

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

/* What a table says in that register; nothing if it has no such leaf. */
static uint32_t has(struct cpuid *c, const struct features *f, int i)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(c, f->leaf, f->subleaf);

	return x ? reg(x, i) : 0;
}

static uint32_t beyond(struct cpuid *made, struct cpuid *host,
		       const struct features *f, int i)
{
	return has(made, f, i) & f->mask[i] & ~has(host, f, i);
}

void cpuid_find_forced(struct cpuid *forced, struct cpuid *made,
		       struct cpuid *host)
{
	_Static_assert(ARRAY_LEN(table) <= CPUID_MAX_ENTRIES, "room for all");

	forced->n = 0;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const struct features *f = &table[i];
		struct kvm_cpuid_entry2 x = {
			.function = f->leaf,
			.index = f->subleaf,
			.eax = beyond(made, host, f, 0),
			.ebx = beyond(made, host, f, 1),
			.ecx = beyond(made, host, f, 2),
			.edx = beyond(made, host, f, 3),
		};

		if (x.eax | x.ebx | x.ecx | x.edx)
			forced->entry[forced->n++] = x;
	}
}

static int check_leaf(struct cpuid *saved, struct cpuid *forced,
		      struct cpuid *host, const struct features *f,
		      struct err *e)
{
	static const char *const name[4] = {"EAX", "EBX", "ECX", "EDX"};

	for (int i = 0; i < 4; i++) {
		uint32_t missing =
			beyond(saved, host, f, i) & ~has(forced, f, i);

		if (missing)
			return err_set(e, -ENOTSUP,
				       "The snapshot's CPU has features that "
				       "this host lacks: CPUID leaf 0x%x "
				       "subleaf 0x%x %s bits 0x%x (it is 0x%x "
				       "there, 0x%x here)",
				       f->leaf, f->subleaf, name[i], missing,
				       has(saved, f, i), has(host, f, i));
	}
	return 0;
}

struct vendor {
	char name[13];
};

/* A snapshot is untrusted, and its bytes go into a message. */
static struct vendor vendor_of(struct cpuid *c)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(c, 0, 0);
	struct vendor v = {""};

	if (!x)
		return v;
	memcpy(v.name, &x->ebx, 4);
	memcpy(v.name + 4, &x->edx, 4);
	memcpy(v.name + 8, &x->ecx, 4);
	for (char *p = v.name; *p; p++)
		*p = (char)(*p < ' ' || *p > '~' ? '?' : *p);
	return v;
}

static int check_vendor(struct cpuid *saved, struct cpuid *host, struct err *e)
{
	struct vendor s = vendor_of(saved), h = vendor_of(host);

	if (strcmp(s.name, h.name) == 0)
		return 0;
	return err_set(e, -ENOTSUP,
		       "The snapshot's CPU is of vendor '%s', this host's of "
		       "'%s'",
		       s.name, h.name);
}

int cpuid_check_subset(struct cpuid *saved, struct cpuid *forced,
		       struct cpuid *host, struct err *e)
{
	int ret = check_vendor(saved, host, e);

	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(table); i++)
		ret = check_leaf(saved, forced, host, &table[i], e);
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
