/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.c: CPU templates, which change what CPUID and MSRs say, and the KVM
 * capabilities that are required.
 */
#include "vmm/x86/cpu.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"

#ifndef ARCH_REQ_XCOMP_GUEST_PERM
#define ARCH_REQ_XCOMP_GUEST_PERM 0x1025
#endif
#define XSTATE_AMX_TILE_DATA 18

#define BAD_TEMPLATE "Failed to get CPU template: "
#define BAD_CONFIG   "System configuration error: Failed to create guest config: "

/* What the monitor itself cannot do without. */
static const uint32_t required_caps[] = {
	KVM_CAP_IRQCHIP,     KVM_CAP_IOEVENTFD,	   KVM_CAP_IRQFD,
	KVM_CAP_USER_MEMORY, KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2,
	KVM_CAP_PIT_STATE2,  KVM_CAP_ADJUST_CLOCK, KVM_CAP_DEBUGREGS,
	KVM_CAP_MP_STATE,    KVM_CAP_VCPU_EVENTS,  KVM_CAP_XCRS,
	KVM_CAP_XSAVE,	     KVM_CAP_EXT_CPUID,
};

void cpu_template_exit(struct cpu_template *t)
{
	free(t->cpuid);
	free(t->msr);
	free(t->cap);
	*t = (struct cpu_template){0};
}

static bool removed(const struct cpu_template *t, uint32_t cap)
{
	for (unsigned int i = 0; t && i < t->n_cap; i++) {
		if (t->cap[i].remove && t->cap[i].cap == cap)
			return true;
	}
	return false;
}

static int check_cap(int kvm_fd, uint32_t cap, struct err *e)
{
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, cap) > 0)
		return 0;
	return err_set(e, -EOPNOTSUPP,
		       "Kvm error: Missing KVM capabilities: 0x%x", cap);
}

void cpu_allow_amx(void)
{
	/* Hosts without AMX, or before Linux 5.17, refuse: nothing to do. */
	(void)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM,
		      XSTATE_AMX_TILE_DATA);
}

int cpu_check_caps(int kvm_fd, const struct cpu_config *c, struct err *e)
{
	const struct cpu_template *t = c->custom;
	int ret;

	for (size_t i = 0; i < ARRAY_LEN(required_caps); i++) {
		if (removed(t, required_caps[i]))
			continue;
		ret = check_cap(kvm_fd, required_caps[i], e);
		if (ret < 0)
			return ret;
	}
	for (unsigned int i = 0; t && i < t->n_cap; i++) {
		if (t->cap[i].remove)
			continue;
		ret = check_cap(kvm_fd, t->cap[i].cap, e);
		if (ret < 0)
			return ret;
	}
	cpu_allow_amx();
	return 0;
}

void kvm_caps_of(struct kvm_caps *k, const struct cpu_config *c)
{
	const struct cpu_template *t = c->custom;

	*k = (struct kvm_caps){0};
	for (size_t i = 0; i < ARRAY_LEN(required_caps); i++) {
		if (!removed(t, required_caps[i]))
			kvm_caps_add(k, required_caps[i]);
	}
	for (unsigned int i = 0; t && i < t->n_cap; i++) {
		if (!t->cap[i].remove)
			kvm_caps_add(k, t->cap[i].cap);
	}
}

/*
 * Static templates are deprecated in Firecracker and fit a few CPU models of
 * 2013 to 2021; here every CPU is one that they do not fit.
 */
static int refuse_static(struct cpuid *c, enum cpu_template_name name,
			 struct err *e)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(c, 0, 0);
	const char *vendor = name == CPU_TEMPLATE_T2A ? "Auth" : "Genu";

	if (!x || memcmp(&x->ebx, vendor, sizeof(x->ebx)) != 0)
		return err_set(e, -ENOTSUP,
			       BAD_TEMPLATE
			       "CPU vendor mismatched between actual CPU and "
			       "CPU template.");
	return err_set(e, -ENOTSUP,
		       BAD_TEMPLATE "The current CPU model is not permitted to "
				    "apply the CPU template.");
}

static uint32_t modify(uint32_t old, const struct cpu_bits *b)
{
	return (uint32_t)((old & ~b->filter) | b->bits);
}

static void apply(struct kvm_cpuid_entry2 *x, const struct cpuid_modifier *mod)
{
	x->flags = mod->flags;
	if (mod->set & 1U << 0)
		x->eax = modify(x->eax, &mod->reg[0]);
	if (mod->set & 1U << 1)
		x->ebx = modify(x->ebx, &mod->reg[1]);
	if (mod->set & 1U << 2)
		x->ecx = modify(x->ecx, &mod->reg[2]);
	if (mod->set & 1U << 3)
		x->edx = modify(x->edx, &mod->reg[3]);
}

int template_apply_cpuid(struct cpuid *c, const struct cpu_config *cfg,
			 struct err *e)
{
	const struct cpu_template *t = cfg->custom;

	if (!t && cfg->name != CPU_TEMPLATE_NONE)
		return refuse_static(c, cfg->name, e);
	for (unsigned int i = 0; t && i < t->n_cpuid; i++) {
		const struct cpuid_modifier *mod = &t->cpuid[i];
		struct kvm_cpuid_entry2 *x =
			cpuid_find(c, mod->leaf, mod->subleaf);

		if (!x)
			return err_set(e, -ENOTSUP,
				       BAD_CONFIG
				       "Template changes a CPUID entry not "
				       "supported by KVM: Leaf: %x, Subleaf: "
				       "%x",
				       mod->leaf, mod->subleaf);
		apply(x, mod);
	}
	return 0;
}
