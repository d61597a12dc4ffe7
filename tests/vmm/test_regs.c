/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boots a guest of a few bytes by both protocols on the real KVM. Its code
 * means the same in 32-bit and in 64-bit mode.
 */
#include "tests/vmm/kvm_env.h"

#include <errno.h>

#include "base/num.h"
#include "vmm/cmdline.h"
#include "vmm/kernel.h"
#include "vmm/x86/boot.h"

#define RAM_BYTES (8 * MIB)

static const uint8_t code[] = {
	0x66, 0xba, 0xf8, 0x03, /* mov dx, 0x3f8 */
	0xb0, 0x16,		/* mov al, 0x16 */
	0xee,			/* out dx, al */
	0x8b, 0x06,		/* mov eax, [rsi] */
	0xef,			/* out dx, eax */
	0xf4,			/* hlt */
};

struct guest {
	struct kvm_env kvm;
	struct kernel kernel;
};

static void guest_init(struct guest *g, enum boot_protocol protocol)
{
	const struct cpu_config cfg = {.n_vcpus = KVM_ENV_VCPUS};
	struct elf_image image = elf_image(code, sizeof(code));
	const struct initrd initrd = {0};
	struct cmdline cmdline;
	const struct boot_info info = {.kernel = &g->kernel,
				       .initrd = &initrd,
				       .cmdline = &cmdline,
				       .n_vcpus = cfg.n_vcpus};
	struct gmem *m = &g->kvm.m;
	struct cpu_host host;
	struct cpuid c;
	struct err e;
	int fd;

	kvm_env_init(&g->kvm, RAM_BYTES);
	if (protocol == BOOT_PVH)
		elf_note(&image, 18, "Xen", IMAGE_GPA);
	fd = elf_file(&image);
	assert_int_equal(kernel_load(&g->kernel, m, fd, &e), 0);
	close(fd);
	assert_int_equal(g->kernel.protocol, protocol);
	assert_int_equal(cmdline_init(&cmdline, NULL, &e), 0);
	assert_int_equal(boot_write(m, &info, &e), 0);
	assert_int_equal(boot_tables_write(m, &g->kernel, &e), 0);
	assert_int_equal(cpu_host_read(&host, g->kvm.kvm_fd, &e), 0);
	assert_int_equal(cpuid_build(&c, &host, &cfg, &e), 0);
	for (unsigned int i = 0; i < KVM_ENV_VCPUS; i++) {
		int vcpu = g->kvm.vcpu_fd[i];

		assert_int_equal(cpuid_set(&c, vcpu, i, &cfg, &e), 0);
		assert_int_equal(msr_set_boot(vcpu, &cfg, &e), 0);
		assert_int_equal(regs_set_boot(vcpu, i, &g->kernel, &e), 0);
	}
}

/* Run to the next OUT; its value. */
static uint32_t next_out(struct guest *g, uint8_t size)
{
	const struct kvm_run *run = g->kvm.run;
	uint32_t v = 0;

	assert_int_equal(ioctl(g->kvm.vcpu_fd[0], KVM_RUN, 0), 0);
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.direction, KVM_EXIT_IO_OUT);
	assert_int_equal(run->io.port, 0x3f8);
	assert_int_equal(run->io.size, size);
	memcpy(&v, (const char *)run + run->io.data_offset, size);
	return v;
}

static void linux64_guest_runs(void **state)
{
	struct guest g;
	uint32_t zero_page = 0;

	(void)state;
	guest_init(&g, BOOT_LINUX64);
	assert_int_equal(next_out(&g, 1), 0x16);
	/* rsi is the zero page: give it a value to read. */
	memcpy(gmem_ptr(&g.kvm.m, GPA_ZERO_PAGE, 4), "page", 4);
	zero_page = next_out(&g, 4);
	assert_memory_equal(&zero_page, "page", 4);
	kvm_env_exit(&g.kvm);
}

static void pvh_guest_runs(void **state)
{
	struct kvm_regs r;
	struct guest g;

	(void)state;
	guest_init(&g, BOOT_PVH);
	assert_int_equal(next_out(&g, 1), 0x16);
	assert_int_equal(ioctl(g.kvm.vcpu_fd[0], KVM_GET_REGS, &r), 0);
	assert_int_equal(r.rbx, GPA_PVH_START_INFO);
	assert_int_equal(r.rsi, 0);
	kvm_env_exit(&g.kvm);
}

static uint64_t descriptor_base(uint64_t d)
{
	return (d >> 16 & 0xffffff) | (d >> 56) << 24;
}

/* What a segment register holds is what its descriptor says. */
static void check_segment(const struct gmem *m, const struct kvm_segment *s)
{
	uint64_t d;

	assert_int_equal(gmem_read(m, GPA_GDT + s->selector, &d, sizeof(d)), 0);
	assert_int_equal(descriptor_base(d), s->base);
	assert_int_equal(d >> 40 & 0xf, s->type);
	assert_int_equal(d >> 44 & 1, s->s);
	assert_int_equal(d >> 47 & 1, s->present);
	assert_int_equal(d >> 53 & 1, s->l);
	assert_int_equal(d >> 54 & 1, s->db);
	assert_int_equal(d >> 55 & 1, s->g);
	assert_int_equal((d & 0xffff) | (d >> 48 & 0xf) << 16,
			 s->g ? s->limit >> 12 : s->limit);
}

static void check_sregs(enum boot_protocol protocol)
{
	bool long_mode = protocol == BOOT_LINUX64;
	struct kvm_sregs s;
	struct guest g;

	guest_init(&g, protocol);
	assert_int_equal(ioctl(g.kvm.vcpu_fd[0], KVM_GET_SREGS, &s), 0);
	check_segment(&g.kvm.m, &s.cs);
	check_segment(&g.kvm.m, &s.ds);
	check_segment(&g.kvm.m, &s.ss);
	check_segment(&g.kvm.m, &s.tr);
	assert_int_equal(s.cs.l, long_mode);
	assert_int_equal(s.cs.db, !long_mode);
	assert_int_equal(s.cr0 & 0x80000001, long_mode ? 0x80000001 : 1);
	assert_int_equal(s.efer & 0x500, long_mode ? 0x500 : 0);
	assert_int_equal(s.cr3, long_mode ? GPA_PML4 : 0);
	assert_int_equal(s.gdt.base, GPA_GDT);
	assert_int_equal(s.idt.base, GPA_IDT);
	assert_int_equal(s.apic_base, 0xfee00900);
	kvm_env_exit(&g.kvm);
}

static void segments_match_the_gdt(void **state)
{
	(void)state;
	check_sregs(BOOT_LINUX64);
	check_sregs(BOOT_PVH);
}

static void page_tables_map_the_first_gib(void **state)
{
	const struct kernel k = {.protocol = BOOT_LINUX64};
	const uint64_t *pd;
	uint64_t entry;
	struct gmem m;
	struct err e;

	(void)state;
	ram_init(&m, MIB);
	assert_int_equal(boot_tables_write(&m, &k, &e), 0);
	assert_int_equal(gmem_read(&m, GPA_PML4, &entry, 8), 0);
	assert_int_equal(entry, GPA_PDPT | 3);
	assert_int_equal(gmem_read(&m, GPA_PDPT, &entry, 8), 0);
	assert_int_equal(entry, GPA_PD | 3);
	pd = gmem_ptr(&m, GPA_PD, 4096);
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(pd[i], i * 2 * MIB | 0x83);
	gmem_exit(&m);
	ram_init(&m, 0xb000);
	assert_int_equal(boot_tables_write(&m, &k, &e), -ENOMEM);
	assert_string_equal(e.text, "No room for the page tables");
	gmem_exit(&m);
}

/* KVM's own value, which regs_set_boot() relies on. */
static void fpu_is_in_its_reset_state(void **state)
{
	struct kvm_xsave x;
	struct guest g;

	(void)state;
	guest_init(&g, BOOT_LINUX64);
	assert_int_equal(ioctl(g.kvm.vcpu_fd[0], KVM_GET_XSAVE, &x), 0);
	assert_int_equal(x.region[0] & 0xffff, 0x37f); /* FCW */
	assert_int_equal(x.region[6], 0x1f80);	       /* MXCSR */
	kvm_env_exit(&g.kvm);
}

static void lapic_lines_are_wired(void **state)
{
	struct kvm_lapic_state l;
	uint32_t lint[2];
	struct guest g;

	(void)state;
	guest_init(&g, BOOT_LINUX64);
	assert_int_equal(ioctl(g.kvm.vcpu_fd[0], KVM_GET_LAPIC, &l), 0);
	memcpy(&lint[0], l.regs + 0x350, 4);
	memcpy(&lint[1], l.regs + 0x360, 4);
	assert_int_equal(lint[0] & 0x10700, 0x700);
	assert_int_equal(lint[1] & 0x10700, 0x400);
	kvm_env_exit(&g.kvm);
}

static void other_vcpus_wait_for_their_ipi(void **state)
{
	struct kvm_mp_state mp;
	struct guest g;

	(void)state;
	guest_init(&g, BOOT_LINUX64);
	assert_int_equal(ioctl(g.kvm.vcpu_fd[0], KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_int_equal(ioctl(g.kvm.vcpu_fd[1], KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_UNINITIALIZED);
	kvm_env_exit(&g.kvm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux64_guest_runs),
		cmocka_unit_test(pvh_guest_runs),
		cmocka_unit_test(segments_match_the_gdt),
		cmocka_unit_test(page_tables_map_the_first_gib),
		cmocka_unit_test(fpu_is_in_its_reset_state),
		cmocka_unit_test(lapic_lines_are_wired),
		cmocka_unit_test(other_vcpus_wait_for_their_ipi),
	};

	if (kvm_missing())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
