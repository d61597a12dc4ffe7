/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#define LAPIC_ID	 0x20
#define LAPIC_SPURIOUS	 0xf0
#define LAPIC_ICR_LOW	 0x300
#define LAPIC_ICR_HIGH	 0x310
#define LAPIC_LVT_TIMER	 0x320
#define LAPIC_TIMER_INIT 0x380
#define LAPIC_TIMER_DIV	 0x3e0
#define LVT_PERIODIC	 0x20000
#define ICR_PENDING	 0x1000

#define GPA_IOAPIC   0xfec00000UL
#define IOAPIC_TABLE 0x10

#define INTERRUPT_GATE (0x8eULL << 40)
#define TSS_DESCRIPTOR (0x89ULL << 40)

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
extern const uint8_t stubs[], ud_entry[], spurious[];

/* What entry.S reads and writes. */
uint64_t idt[256][2] __attribute__((aligned(16)));
struct fault fault_info;
volatile uint32_t irq_count[N_VECTORS];
volatile uint32_t cpus_started;
static struct cpu boot_cpu;
struct cpu *cpus[MAX_CPUS] = {&boot_cpu};

static void *fault_resume[5];
static bool fault_expected;
static bool timer_runs;

void cpu_init(uint32_t index);
void cpu_main(uint32_t index);
void fault_landing(void);

/* CPL 0, once on each processor. */
void cpu_init(uint32_t index)
{
	struct tss *tss = &cpus[index]->tss;
	uint64_t base = (uint64_t)tss;
	tss->rsp[0] = (uint64_t)cpus[index] + CPU_STACK0_TOP;
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
	smp_wait_for_work();
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
	set_gate(0xff, spurious);
	*lapic(LAPIC_SPURIOUS) = 0x1ff;
}

void cpu_prepare(uint32_t index)
{
	cpus[index] = mem_alloc(sizeof(*cpus[index]));
	memset(cpus[index], 0, sizeof(*cpus[index]));
}

static void ioapic_write(uint32_t reg, uint32_t v)
{
	*mmio32(GPA_IOAPIC) = reg;
	*mmio32(GPA_IOAPIC + 0x10) = v;
}

void irq_enable(uint32_t gsi)
{
	ioapic_write(IOAPIC_TABLE + 2 * gsi + 1, (uint32_t)lapic_id() << 24);
	ioapic_write(IOAPIC_TABLE + 2 * gsi, VEC_GSI0 + gsi);
}

uint32_t irq_seen(uint32_t gsi)
{
	return irq_count[VEC_GSI0 + gsi];
}

struct halt {
	const volatile uint32_t *word;
	uint32_t value;
};

/* Interrupts are off, so none slips in between the test and the halt. */
static int64_t halt0(void *arg)
{
	const struct halt *h = arg;
	if (*h->word == h->value)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	return 0;
}

void cpu_halt_if(const volatile uint32_t *word, uint32_t value)
{
	struct halt h = {word, value};
	call0(halt0, &h);
}

static void start_timer(void)
{
	if (timer_runs)
		return;
	timer_runs = true;
	*lapic(LAPIC_TIMER_DIV) = 0xb; /* by 1 */
	*lapic(LAPIC_LVT_TIMER) = LVT_PERIODIC | VEC_TIMER;
	*lapic(LAPIC_TIMER_INIT) = TIMER_TICKS;
}

void irq_wait(uint32_t gsi, uint32_t seen)
{
	start_timer();
	cpu_halt_if(&irq_count[VEC_GSI0 + gsi], seen);
}

void cpu_idle(void)
{
	start_timer();
	cpu_halt_if(&irq_count[VEC_TIMER], irq_count[VEC_TIMER]);
}

uint8_t lapic_id(void)
{
	return (uint8_t)(*lapic(LAPIC_ID) >> 24);
}

void lapic_send(uint8_t apic_id, uint32_t icr_low)
{
	*lapic(LAPIC_ICR_HIGH) = (uint32_t)apic_id << 24;
	*lapic(LAPIC_ICR_LOW) = icr_low;
	while (*lapic(LAPIC_ICR_LOW) & ICR_PENDING)
		pause();
}

bool fault_catch(void (*fn)(uint64_t), uint64_t arg, struct fault *f)
{
	if (__builtin_setjmp(fault_resume)) {
		*f = fault_info;
		return true;
	}
	fault_expected = true;
	fn(arg);
	fault_expected = false;
	return false;
}

/* entry.S comes here after an exception. */
void fault_landing(void)
{
	if (fault_expected) {
		fault_expected = false;
		__builtin_longjmp(fault_resume, 1);
	}
	print("nano: FAIL exception vector=%lu error=0x%lx rip=0x%lx "
	      "cr2=0x%lx\n",
	      fault_info.vector, fault_info.error, fault_info.rip,
	      fault_info.cr2);
	nano_end();
}

static int64_t triple_fault0(void *arg)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} none = {0, 0};
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
	return 0;
}

void cpu_triple_fault(void)
{
	call0(triple_fault0, NULL);
}
