/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/vmm/images.h"

#include <asm/bootparam.h>
#include <errno.h>

#include "base/num.h"
#include "vmm/cmdline.h"
#include "vmm/kernel.h"
#include "vmm/x86/boot.h"

/* What a guest needs that boots from these parameters. */
struct env {
	struct gmem m;
	struct cmdline cmdline;
	struct kernel kernel;
	struct initrd initrd;
	struct boot_info info;
	struct err e;
};

static void env_init(struct env *x, uint64_t ram_bytes)
{
	*x = (struct env){0};
	ram_init(&x->m, ram_bytes);
	assert_int_equal(cmdline_init(&x->cmdline, "console=ttyS0", &x->e), 0);
	x->info = (struct boot_info){.kernel = &x->kernel,
				     .initrd = &x->initrd,
				     .cmdline = &x->cmdline,
				     .n_vcpus = 2};
}

static uint32_t get32(const struct env *x, uint64_t gpa)
{
	uint32_t v;

	assert_int_equal(gmem_read(&x->m, gpa, &v, sizeof(v)), 0);
	return v;
}

static uint64_t get64(const struct env *x, uint64_t gpa)
{
	uint64_t v;

	assert_int_equal(gmem_read(&x->m, gpa, &v, sizeof(v)), 0);
	return v;
}

static void check_map(const struct gmem *m, const struct e820_entry *want,
		      unsigned int n)
{
	struct e820_entry map[E820_MAX];

	assert_int_equal(e820_map(m, map), n);
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(map[i].gpa, want[i].gpa);
		assert_int_equal(map[i].bytes, want[i].bytes);
		assert_int_equal(map[i].type, want[i].type);
	}
}

static void map_names_ram_around_the_system_area(void **state)
{
	const struct e820_entry small[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x40400, 2},
		{0x100000, 127 * MIB, 1},
	};
	const struct e820_entry large[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x40400, 2},
		{0x100000, 0xbff00000, 1},
		{0x100000000, GIB, 1},
	};
	struct gmem m = {.region = {{.bytes = 128 * MIB}}, .n_regions = 1};

	(void)state;
	check_map(&m, small, 3);
	m.region[0].bytes = MIB;
	check_map(&m, small, 2);
	m.region[0].bytes = 3 * GIB;
	m.region[1] = (struct gmem_region){.gpa = 4 * GIB, .bytes = GIB};
	m.n_regions = 2;
	check_map(&m, large, 4);
}

static void zero_page_of_an_elf_kernel(void **state)
{
	struct env x;

	(void)state;
	env_init(&x, 8 * MIB);
	x.initrd = (struct initrd){.gpa = 0x7ff000, .bytes = 77};
	assert_int_equal(boot_write(&x.m, &x.info, &x.e), 0);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x1fe) & 0xffff, 0xaa55);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x202), 0x53726448);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x210) & 0xff, 0xff);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x218), 0x7ff000);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x21c), 77);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x228), GPA_CMDLINE);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x238), 13);
	assert_int_equal(get64(&x, GPA_ZERO_PAGE + 0x70), GPA_RSDP);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x1e8) & 0xff, 3);
	assert_int_equal(get64(&x, GPA_ZERO_PAGE + 0x2d0 + 40), 0x100000);
	assert_int_equal(get64(&x, GPA_ZERO_PAGE + 0x2d0 + 48), 7 * MIB);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x2d0 + 56), E820_RAM);
	assert_string_equal(gmem_ptr(&x.m, GPA_CMDLINE, 14), "console=ttyS0");
	/* The sentinel and all else is clear. */
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x1ec), 0);
	gmem_exit(&x.m);
}

static void zero_page_repeats_the_setup_header(void **state)
{
	struct setup_header h = {.boot_flag = 0xaa55,
				 .header = 0x53726448,
				 .version = 0x020d,
				 .type_of_loader = 1,
				 .ramdisk_image = 0x1234,
				 .init_size = 0x5678,
				 .kernel_info_offset = 0x9abc};
	struct env x;

	(void)state;
	env_init(&x, 8 * MIB);
	memcpy(x.kernel.setup_header, &h, sizeof(h));
	x.kernel.setup_header_len = sizeof(h) - 4;
	assert_int_equal(boot_write(&x.m, &x.info, &x.e), 0);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x206) & 0xffff, 0x020d);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x260), 0x5678);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x268), 0);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x210) & 0xff, 0xff);
	assert_int_equal(get32(&x, GPA_ZERO_PAGE + 0x228), GPA_CMDLINE);
	gmem_exit(&x.m);
}

static void pvh_start_info(void **state)
{
	const uint64_t s = GPA_PVH_START_INFO;
	struct env x;

	(void)state;
	env_init(&x, 8 * MIB);
	x.kernel.protocol = BOOT_PVH;
	assert_int_equal(boot_write(&x.m, &x.info, &x.e), 0);
	assert_int_equal(get32(&x, s), 0x336ec578);
	assert_int_equal(get32(&x, s + 4), 1);
	assert_int_equal(get32(&x, s + 12), 0);
	assert_int_equal(get64(&x, s + 16), 0);
	assert_int_equal(get64(&x, s + 24), GPA_CMDLINE);
	assert_int_equal(get64(&x, s + 32), GPA_RSDP);
	assert_int_equal(get64(&x, s + 40), GPA_PVH_MEMMAP);
	assert_int_equal(get32(&x, s + 48), 3);
	assert_int_equal(get64(&x, GPA_PVH_MEMMAP + 24), GPA_SYSTEM);
	assert_int_equal(get64(&x, GPA_PVH_MEMMAP + 32), 0x40400);
	assert_int_equal(get32(&x, GPA_PVH_MEMMAP + 40), E820_RESERVED);
	gmem_exit(&x.m);
}

static void pvh_initrd_is_a_module(void **state)
{
	const uint64_t s = GPA_PVH_START_INFO;
	struct env x;

	(void)state;
	env_init(&x, 8 * MIB);
	x.kernel.protocol = BOOT_PVH;
	x.initrd = (struct initrd){.gpa = 0x7ff000, .bytes = 77};
	assert_int_equal(boot_write(&x.m, &x.info, &x.e), 0);
	assert_int_equal(get32(&x, s + 12), 1);
	assert_int_equal(get64(&x, s + 16), GPA_PVH_MODLIST);
	assert_int_equal(get64(&x, GPA_PVH_MODLIST), 0x7ff000);
	assert_int_equal(get64(&x, GPA_PVH_MODLIST + 8), 77);
	gmem_exit(&x.m);
}

static void too_little_ram_is_an_error(void **state)
{
	const uint64_t sizes[] = {0x1000,  0x6000,  0x7000,  0x8000, 0x20000,
				  0x9f000, 0xa0000, 0xa3000, 0xe0000};
	struct env x;

	(void)state;
	for (int p = BOOT_LINUX64; p <= BOOT_PVH; p++) {
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			env_init(&x, sizes[i]);
			x.kernel.protocol = (enum boot_protocol)p;
			x.initrd = (struct initrd){.bytes = 1};
			assert_int_equal(boot_write(&x.m, &x.info, &x.e),
					 -ENOMEM);
			assert_memory_equal(x.e.text, "No room for the ", 16);
			gmem_exit(&x.m);
		}
		env_init(&x, 0xe1000);
		assert_int_equal(boot_write(&x.m, &x.info, &x.e), 0);
		gmem_exit(&x.m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_names_ram_around_the_system_area),
		cmocka_unit_test(zero_page_of_an_elf_kernel),
		cmocka_unit_test(zero_page_repeats_the_setup_header),
		cmocka_unit_test(pvh_start_info),
		cmocka_unit_test(pvh_initrd_is_a_module),
		cmocka_unit_test(too_little_ram_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
