/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#define LAPIC_SPURIOUS	 0xf0
#define LAPIC_ON	 0x100
#define LAPIC_ICR_LOW	 0x300
#define LAPIC_LVT_TIMER	 0x320
#define LAPIC_TIMER_INIT 0x380
#define LAPIC_TIMER_DIV	 0x3e0
#define LVT_PERIODIC	 0x20000
#define ICR_OTHERS	 0xc0000 /* all but this one */

#define GPA_IOAPIC   0xfec00000UL
#define IOAPIC_TABLE 0x10

#define INTERRUPT_GATE (0x8eULL << 40)
#define TSS_DESCRIPTOR (0x89ULL << 40)

/* The timer's vector, as if it were a line. */
#define GSI_TIMER (VEC_TIMER - VEC_GSI0)

/* KVM's APIC bus runs at 1 GHz. The period only wakes; time is the TSC's. */
#define TIMER_TICKS 10000000

/*
 * CPL 3 may use the first ports by the TSS's bitmap; IOPL would do as well, but
 * not every host keeps it across IRET.
 */
#define IO_PORTS 0x2000

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1[8];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap;
	uint8_t ports[IO_PORTS / 8 + 1]; /* a 0 bit allows; the last is ones */
} __attribute__((packed));

struct cpu {
	uint8_t stack0[CPU_STACK0_TOP];
	uint8_t stack3[CPU_STACK3_TOP - CPU_STACK0_TOP];
	struct tss tss __attribute__((aligned(16)));
} __attribute__((aligned(PAGE_BYTES)));

_Static_assert(sizeof(struct cpu) == CPU_BYTES, "asm.h");
_Static_assert(offsetof(struct tss, ports) == 104, "hardware");

/* In entry.S. */
extern uint64_t gdt[];
extern const uint8_t stubs[], ud_entry[];

/* What entry.S reads and writes. */
uint64_t idt[256][2] __attribute__((aligned(16)));
struct fault {
	uint64_t vector, error, rip, cr2;
} fault_info;
volatile uint32_t irq_count[N_VECTORS];
volatile uint32_t cpus_started;
struct cpu cpus[MAX_CPUS];

void cpu_init(uint32_t index);
void cpu_main(uint32_t index);
void fault_landing(void);

/* CPL 0, once on each processor. */
void cpu_init(uint32_t index)
{
	struct tss *tss = &cpus[index].tss;
	uint64_t base = (uint64_t)tss;
	tss->rsp[0] = (uint64_t)&cpus[index] + CPU_STACK0_TOP;
	tss->iomap = offsetof(struct tss, ports);
	tss->ports[IO_PORTS / 8] = 0xff;
	uint64_t *descriptor = gdt + SEL_TSS / 8 + 2 * index;
	descriptor[0] = (sizeof(*tss) - 1) | (base & 0xffffff) << 16 |
			TSS_DESCRIPTOR | (base >> 24 & 0xff) << 56;
	descriptor[1] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS + 16 * index));
}

/* CPL 3. */
void cpu_main(uint32_t index)
{
	if (index == 0)
		nano_main();
	smp_main(index);
}

static void set_gate(unsigned int vector, const uint8_t *handler)
{
	uint64_t p = (uint64_t)handler;
	idt[vector][0] = (p & 0xffff) | SEL_CODE0 << 16 | INTERRUPT_GATE |
			 (p >> 16 & 0xffff) << 48;
	idt[vector][1] = p >> 32;
}

static volatile uint32_t *lapic(uint32_t reg)
{
	return mmio32(GPA_LAPIC + reg);
}

void cpu_setup(void)
{
	for (unsigned int v = 0; v < N_VECTORS; v++)
		set_gate(v, stubs + (size_t)v * STUB_BYTES);
	set_gate(6, ud_entry);
	*lapic(LAPIC_SPURIOUS) = LAPIC_ON | (N_VECTORS - 1);
	*lapic(LAPIC_TIMER_DIV) = 0xb; /* by 1 */
	*lapic(LAPIC_LVT_TIMER) = LVT_PERIODIC | VEC_TIMER;
	*lapic(LAPIC_TIMER_INIT) = TIMER_TICKS;
}

static void ioapic_write(uint32_t reg, uint32_t v)
{
	*mmio32(GPA_IOAPIC) = reg;
	*mmio32(GPA_IOAPIC + 0x10) = v;
}

void irq_enable(uint32_t gsi)
{
	ioapic_write(IOAPIC_TABLE + 2 * gsi + 1, 0);
	ioapic_write(IOAPIC_TABLE + 2 * gsi, VEC_GSI0 + gsi);
}

uint32_t irq_seen(uint32_t gsi)
{
	return irq_count[VEC_GSI0 + gsi];
}

struct halt {
	uint32_t vector, seen;
};

/* Interrupts are off, so none slips in between the test and the halt. */
static void halt0(void *arg)
{
	const struct halt *h = arg;
	if (irq_count[h->vector] == h->seen)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

void irq_wait(uint32_t gsi, uint32_t seen)
{
	struct halt h = {VEC_GSI0 + gsi, seen};
	call0(halt0, &h);
}

void cpu_idle(void)
{
	irq_wait(GSI_TIMER, irq_seen(GSI_TIMER));
}

static void halt_for_ever0(void *arg)
{
	for (;;)
		__asm__ volatile("hlt");
}

void cpu_halt(void)
{
	call0(halt_for_ever0, NULL);
}

void ipi_others(uint32_t icr_low)
{
	*lapic(LAPIC_ICR_LOW) = ICR_OTHERS | icr_low;
}

/* entry.S comes here after an exception. */
void fault_landing(void)
{
	print("nano: FAIL exception vector=%lu error=0x%lx rip=0x%lx "
	      "cr2=0x%lx\n",
	      fault_info.vector, fault_info.error, fault_info.rip,
	      fault_info.cr2);
	nano_end();
}

static void triple_fault0(void *arg)
{
	__asm__ volatile("lidt (%0); ud2" : : "r"(arg) : "memory");
}

void cpu_triple_fault(void)
{
	static const uint64_t no_table[2];
	call0(triple_fault0, (void *)(uint64_t)no_table);
}
