/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor.c: the smallest program that starts a guest on KVM, the yardstick for
 * mayfly's start: the same RAM, the same KVM calls in the same order, linked
 * the same way, and nothing else.
 *
 *	floor [--until-shutdown] ELF [COMMAND-LINE]
 *
 * Enters the ELF file by the 64-bit Linux boot protocol, copies the first byte
 * that the guest sends to COM1 to standard output and exits with 0. With
 * --until-shutdown it goes on until the guest resets through the i8042.
 * What fails is named on standard error; the exit code is then 1. The file is
 * trusted, unlike in mayfly.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_BYTES     (128UL << 20)
#define CPUID_ENTRIES 256

#define GPA_GDT	      0x500
#define GPA_ZERO_PAGE 0x7000
#define GPA_STACK     0x8ff0
#define GPA_PML4      0x9000
#define GPA_PDPT      0xa000
#define GPA_PD	      0xb000
#define GPA_CMDLINE   0x20000
#define GPA_EBDA      0x9fc00
#define GPA_HIMEM     0x100000
#define GPA_TSS	      0xfffbd000UL
#define GPA_IDENTITY  0xfffbc000UL

#define PORT_COM1     0x3f8
#define PORT_COM1_LSR 0x3fd
#define PORT_I8042    0x64
#define I8042_RESET   0xfe
#define LSR_EMPTY     0x60

#define LAPIC_LINT0 0x350
#define LAPIC_LINT1 0x360
#define LINT_EXTINT 0x700
#define LINT_NMI    0x400

struct e820 {
	uint64_t gpa, bytes;
	uint32_t type;
} __attribute__((packed));

static void die(const char *what)
{
	static const char us[] = "floor: ";
	if (write(2, us, sizeof(us) - 1) > 0 &&
	    write(2, what, strlen(what)) > 0)
		(void)!write(2, "\n", 1);
	_exit(1);
}

static int call(int fd, unsigned long request, uintptr_t arg, const char *what)
{
	int res = ioctl(fd, request, arg);
	if (res < 0)
		die(what);
	return res;
}

#define CALL(fd, request, arg) call(fd, request, (uintptr_t)(arg), #request)

static uint64_t load_elf(uint8_t *ram, const char *path)
{
	_Alignas(8) uint8_t head[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 ||
	    pread(fd, head, sizeof(head), 0) < (int)sizeof(Elf64_Ehdr))
		die(path);
	const Elf64_Ehdr *eh = (const void *)head;
	const Elf64_Phdr *ph = (const void *)(head + eh->e_phoff);
	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD || ph[i].p_filesz == 0)
			continue;
		if (pread(fd, ram + ph[i].p_paddr, ph[i].p_filesz,
			  (off_t)ph[i].p_offset) != (ssize_t)ph[i].p_filesz)
			die(path);
	}
	close(fd);
	return eh->e_entry;
}

static void put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* What a kernel finds at its first instruction. */
static void write_boot_data(uint8_t *ram, const char *cmdline)
{
	static const uint64_t gdt[] = {0, 0x00af9b000000ffff,
				       0x00cf93000000ffff, 0x008f8b000000ffff};
	static const struct e820 map[] = {
		{0, GPA_EBDA, 1}, {GPA_HIMEM, RAM_BYTES - GPA_HIMEM, 1}};
	uint64_t *pml4 = (void *)(ram + GPA_PML4);
	uint64_t *pdpt = (void *)(ram + GPA_PDPT);
	uint64_t *pd = (void *)(ram + GPA_PD);
	pml4[0] = GPA_PDPT | 3;
	pdpt[0] = GPA_PD | 3;
	for (uint64_t i = 0; i < 512; i++)
		pd[i] = i << 21 | 0x83;
	memcpy(ram + GPA_GDT, gdt, sizeof(gdt));

	uint8_t *zero_page = ram + GPA_ZERO_PAGE;
	memcpy(ram + GPA_CMDLINE, cmdline, strlen(cmdline));
	zero_page[0x1e8] = sizeof(map) / sizeof(map[0]);
	put16(zero_page + 0x1fe, 0xaa55);
	put32(zero_page + 0x202, 0x53726448);
	zero_page[0x210] = 0xff;
	put32(zero_page + 0x228, GPA_CMDLINE);
	put32(zero_page + 0x238, (uint32_t)strlen(cmdline));
	memcpy(zero_page + 0x2d0, map, sizeof(map));
}

static void set_cpuid(int kvm, int vcpu)
{
	_Alignas(8)
		uint8_t buf[sizeof(struct kvm_cpuid2) +
			    CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
	struct kvm_cpuid2 *cpuid = (void *)buf;
	cpuid->nent = CPUID_ENTRIES;
	CALL(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	CALL(vcpu, KVM_SET_CPUID2, cpuid);
}

static void set_msrs(int vcpu)
{
	static const struct kvm_msr_entry entry[] = {
		{.index = 0x174}, /* SYSENTER_CS, _ESP, _EIP */
		{.index = 0x175},
		{.index = 0x176},
		{.index = 0xc0000081},		 /* STAR */
		{.index = 0xc0000083},		 /* CSTAR */
		{.index = 0xc0000102},		 /* KERNEL_GS_BASE */
		{.index = 0xc0000084},		 /* SYSCALL_MASK */
		{.index = 0xc0000082},		 /* LSTAR */
		{.index = 0x10},		 /* TSC */
		{.index = 0x1a0, .data = 1},	 /* MISC_ENABLE: fast strings */
		{.index = 0x2ff, .data = 0x806}, /* MTRR: write-back */
	};
	_Alignas(8) uint8_t buf[sizeof(struct kvm_msrs) + sizeof(entry)];
	struct kvm_msrs *msrs = (void *)buf;
	msrs->nmsrs = sizeof(entry) / sizeof(entry[0]);
	memcpy(msrs->entries, entry, sizeof(entry));
	CALL(vcpu, KVM_SET_MSRS, msrs);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.selector = selector,
		.limit = 0xfffff,
		.type = type,
		.present = 1,
		.s = selector != 0x18,
		.l = selector == 0x8,
		.db = selector == 0x10,
		.g = 1,
	};
}

static void set_registers(int vcpu, uint64_t entry)
{
	struct kvm_sregs s;
	CALL(vcpu, KVM_GET_SREGS, &s);
	s.cs = segment(0x8, 0xb);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(0x10, 0x3);
	s.tr = segment(0x18, 0xb);
	s.gdt = (struct kvm_dtable){.base = GPA_GDT, .limit = 31};
	s.cr0 |= 0x80000001;
	s.cr3 = GPA_PML4;
	s.cr4 |= 0x20;
	s.efer |= 0x500;
	CALL(vcpu, KVM_SET_SREGS, &s);

	struct kvm_regs r = {
		.rip = entry,
		.rsp = GPA_STACK,
		.rbp = GPA_STACK,
		.rsi = GPA_ZERO_PAGE,
		.rflags = 2,
	};
	CALL(vcpu, KVM_SET_REGS, &r);
	struct kvm_fpu fpu = {.fcw = 0x37f, .mxcsr = 0x1f80};
	CALL(vcpu, KVM_SET_FPU, &fpu);

	struct kvm_lapic_state lapic;
	CALL(vcpu, KVM_GET_LAPIC, &lapic);
	put32((uint8_t *)lapic.regs + LAPIC_LINT0, LINT_EXTINT);
	put32((uint8_t *)lapic.regs + LAPIC_LINT1, LINT_NMI);
	CALL(vcpu, KVM_SET_LAPIC, &lapic);
}

/* Answer one port access; false when the program is to end. */
static bool port_io(struct kvm_run *run, bool until_shutdown)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	size_t bytes = (size_t)run->io.size * run->io.count;
	if (run->io.direction == KVM_EXIT_IO_IN) {
		memset(data, run->io.port == PORT_COM1_LSR ? LSR_EMPTY : 0xff,
		       bytes);
		return true;
	}
	if (run->io.port == PORT_COM1) {
		if (write(1, data, until_shutdown ? bytes : 1) < 0)
			die("write");
		return until_shutdown;
	}
	return run->io.port != PORT_I8042 || data[0] != I8042_RESET;
}

static void run_guest(int vcpu, struct kvm_run *run, bool until_shutdown)
{
	for (;;) {
		CALL(vcpu, KVM_RUN, 0);
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (!port_io(run, until_shutdown))
				return;
			break;
		case KVM_EXIT_MMIO:
			if (!run->mmio.is_write)
				memset(run->mmio.data, 0xff, run->mmio.len);
			break;
		default:
			die("the guest stopped");
		}
	}
}

int main(int argc, char **argv)
{
	bool until_shutdown =
		argc > 1 && strcmp(argv[1], "--until-shutdown") == 0;
	if (argc < 2 + until_shutdown)
		die("usage: floor [--until-shutdown] ELF [COMMAND-LINE]");
	const char *path = argv[1 + until_shutdown];
	const char *cmdline = argv[2 + until_shutdown];

	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm");
	int vm = CALL(kvm, KVM_CREATE_VM, 0);
	CALL(vm, KVM_SET_TSS_ADDR, GPA_TSS);
	uint64_t identity = GPA_IDENTITY;
	CALL(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);

	uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED)
		die("mmap");
	/* Before the irqchip: after it, KVM waits for a grace period. */
	struct kvm_userspace_memory_region slot = {
		.memory_size = RAM_BYTES, .userspace_addr = (uintptr_t)ram};
	CALL(vm, KVM_SET_USER_MEMORY_REGION, &slot);
	CALL(vm, KVM_CREATE_IRQCHIP, 0);
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	CALL(vm, KVM_CREATE_PIT2, &pit);

	int vcpu = CALL(vm, KVM_CREATE_VCPU, 0);
	size_t run_bytes = (size_t)CALL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE,
				   MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		die("mmap");

	uint64_t entry = load_elf(ram, path);
	write_boot_data(ram, cmdline ? cmdline : "");
	set_cpuid(kvm, vcpu);
	set_msrs(vcpu);
	set_registers(vcpu, entry);
	run_guest(vcpu, run, until_shutdown);
	_exit(0);
}
