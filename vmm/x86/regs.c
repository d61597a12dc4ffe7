/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regs.c: the registers of the first vCPU at the kernel's first instruction.
 *
 * All of the state is known, so none is read back but the local APIC. The FPU
 * needs no call: KVM makes vCPUs with FCW 0x37f and MXCSR 0x1f80.
 */
#include "vmm/x86/cpu.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/kernel.h"
#include "vmm/x86/layout.h"

#define CR0_PE	 0x1
#define CR0_ET	 0x10
#define CR0_PG	 0x80000000
#define CR4_PAE	 0x20
#define EFER_LME 0x100
#define EFER_LMA 0x400

#define RFLAGS_FIXED 0x2

#define APIC_BASE_BSP	 0x100
#define APIC_BASE_ENABLE 0x800

#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LVT_MODE_MASK	0x700
#define LVT_MASKED	0x10000
#define LVT_NMI		0x400
#define LVT_EXTINT	0x700

#define PTE_PRESENT  0x1
#define PTE_WRITABLE 0x2
#define PTE_LARGE    0x80
#define LARGE_BYTES  (2 * MIB)
#define N_LARGE	     512

/* Selectors: entries of the GDT. */
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS	 0x18
#define N_GDT	 4

#define SEG_CODE     0xb /* execute, read, accessed */
#define SEG_DATA     0x3 /* read, write, accessed */
#define SEG_LDT	     0x2
#define SEG_TSS_BUSY 0xb

_Static_assert(BOOT_MAPPED_BYTES == N_LARGE * LARGE_BYTES,
	       "one page directory maps it");
_Static_assert(GPA_GDT + N_GDT * 8 <= GPA_IDT, "the GDT ends before the IDT");

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
	};
}

static struct kvm_segment code_segment(enum boot_protocol p)
{
	struct kvm_segment s = flat(SEL_CODE, SEG_CODE);

	s.l = p == BOOT_LINUX64;
	s.db = p == BOOT_PVH;
	return s;
}

static struct kvm_segment data_segment(void)
{
	struct kvm_segment s = flat(SEL_DATA, SEG_DATA);

	s.db = 1;
	return s;
}

static struct kvm_segment system_segment(uint16_t selector, uint8_t type,
					 uint32_t limit)
{
	return (struct kvm_segment){
		.limit = limit,
		.selector = selector,
		.type = type,
		.present = 1,
	};
}

/* The descriptor that a segment register would be loaded from. */
static uint64_t descriptor(const struct kvm_segment *s)
{
	uint32_t limit = s->g ? s->limit >> 12 : s->limit;
	uint64_t attr =
		(uint64_t)(s->type | s->s << 4 | s->dpl << 5 | s->present << 7 |
			   s->l << 13 | s->db << 14 | s->g << 15);

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | attr << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 |
	       (s->base >> 24 & 0xff) << 56;
}

static struct kvm_segment tss_segment(void)
{
	return system_segment(SEL_TSS, SEG_TSS_BUSY, 0x67);
}

static int write_page_tables(const struct gmem *m)
{
	uint64_t pml4e = GPA_PDPT | PTE_PRESENT | PTE_WRITABLE;
	uint64_t pdpte = GPA_PD | PTE_PRESENT | PTE_WRITABLE;
	uint64_t pd[N_LARGE];
	int ret;

	for (uint64_t i = 0; i < N_LARGE; i++)
		pd[i] = i * LARGE_BYTES | PTE_PRESENT | PTE_WRITABLE |
			PTE_LARGE;
	ret = gmem_write(m, GPA_PML4, &pml4e, sizeof(pml4e));
	if (ret == 0)
		ret = gmem_write(m, GPA_PDPT, &pdpte, sizeof(pdpte));
	if (ret == 0)
		ret = gmem_write(m, GPA_PD, pd, sizeof(pd));
	return ret;
}

int boot_tables_write(const struct gmem *m, const struct kernel *k,
		      struct err *e)
{
	struct kvm_segment code = code_segment(k->protocol);
	struct kvm_segment data = data_segment();
	struct kvm_segment tss = tss_segment();
	uint64_t gdt[N_GDT] = {0, descriptor(&code), descriptor(&data),
			       descriptor(&tss)};
	int ret;

	ret = gmem_write(m, GPA_GDT, gdt, sizeof(gdt));
	/* PVH starts without paging. */
	if (ret == 0 && k->protocol == BOOT_LINUX64)
		ret = write_page_tables(m);
	if (ret < 0)
		return err_set(e, -ENOMEM, "No room for the page tables");
	return 0;
}

static int set_sregs(int vcpu_fd, enum boot_protocol p, struct err *e)
{
	struct kvm_segment data = data_segment();
	struct kvm_sregs s = {
		.cs = code_segment(p),
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = tss_segment(),
		.ldt = system_segment(0, SEG_LDT, 0xffff),
		.gdt = {.base = GPA_GDT, .limit = N_GDT * 8 - 1},
		.idt = {.base = GPA_IDT, .limit = 7}, /* one empty gate */
		.cr0 = CR0_PE | CR0_ET,
		.apic_base = GPA_LAPIC | APIC_BASE_ENABLE | APIC_BASE_BSP,
	};

	if (p == BOOT_LINUX64) {
		s.cr0 |= CR0_PG;
		s.cr3 = GPA_PML4;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
	}
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) < 0)
		return err_sys(e, "System configuration error: Failed to set "
				  "the special registers");
	return 0;
}

static int set_regs(int vcpu_fd, const struct kernel *k, struct err *e)
{
	struct kvm_regs r = {
		.rip = k->entry_gpa,
		.rsp = GPA_BOOT_STACK,
		.rbp = GPA_BOOT_STACK,
		.rflags = RFLAGS_FIXED,
	};

	if (k->protocol == BOOT_PVH)
		r.rbx = GPA_PVH_START_INFO;
	else
		r.rsi = GPA_ZERO_PAGE;
	if (ioctl(vcpu_fd, KVM_SET_REGS, &r) < 0)
		return err_sys(e, "System configuration error: Failed to set "
				  "the registers");
	return 0;
}

static void set_lvt(struct kvm_lapic_state *l, size_t offset, uint32_t mode)
{
	uint32_t lvt;

	memcpy(&lvt, l->regs + offset, sizeof(lvt));
	lvt = (lvt & ~(uint32_t)(LVT_MODE_MASK | LVT_MASKED)) | mode;
	memcpy(l->regs + offset, &lvt, sizeof(lvt));
}

/* As firmware leaves them: the PIC on LINT0, NMI on LINT1. */
static int set_lapic(int vcpu_fd, struct err *e)
{
	struct kvm_lapic_state l;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &l) < 0)
		return err_sys(e, "System configuration error: Failed to get "
				  "the local APIC");
	set_lvt(&l, LAPIC_LVT_LINT0, LVT_EXTINT);
	set_lvt(&l, LAPIC_LVT_LINT1, LVT_NMI);
	if (ioctl(vcpu_fd, KVM_SET_LAPIC, &l) < 0)
		return err_sys(e, "System configuration error: Failed to set "
				  "the local APIC");
	return 0;
}

int regs_set_boot(int vcpu_fd, unsigned int index, const struct kernel *k,
		  struct err *e)
{
	int ret;

	if (index > 0)
		return 0;
	ret = set_sregs(vcpu_fd, k->protocol, e);
	if (ret == 0)
		ret = set_regs(vcpu_fd, k, e);
	if (ret == 0)
		ret = set_lapic(vcpu_fd, e);
	return ret;
}
