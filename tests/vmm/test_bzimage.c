/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/vmm/images.h"

#include <asm/bootparam.h>
#include <errno.h>

#include "base/num.h"
#include "vmm/kernel.h"

#define RAM_BYTES (4 * MIB)
#define FAILED \
	"Kernel Loader: failed to load bzImage kernel image: Kernel Loader: "

#define SETUP_BYTES 1024
#define CODE_BYTES  0x1000

struct bz_image {
	struct setup_header h;
	size_t bytes;
};

static struct bz_image good(void)
{
	return (struct bz_image){
		.h = {.setup_sects = 1,
		      .syssize = CODE_BYTES / 16,
		      .boot_flag = 0xaa55,
		      .jump = 0x66eb, /* to 0x268 */
		      .header = 0x53726448,
		      .version = 0x020f,
		      .loadflags = LOADED_HIGH,
		      .xloadflags = XLF_KERNEL_64,
		      .relocatable_kernel = 1,
		      .pref_address = 0x200000,
		      .init_size = 0x100000},
		.bytes = SETUP_BYTES + CODE_BYTES,
	};
}

static int file_of(const struct bz_image *i)
{
	uint8_t file[SETUP_BYTES + CODE_BYTES] = {0};

	memset(file + SETUP_HEADER_OFFSET, 0x5a, SETUP_HEADER_MAX);
	memcpy(file + SETUP_HEADER_OFFSET, &i->h, sizeof(i->h));
	memset(file + SETUP_BYTES, 0xc3, CODE_BYTES);
	return image_file(file, i->bytes);
}

static int load(const struct bz_image *i, struct gmem *m, struct kernel *k,
		struct err *e)
{
	int fd = file_of(i);
	int ret;

	ram_init(m, RAM_BYTES);
	ret = kernel_load(k, m, fd, e);
	close(fd);
	return ret;
}

static void refused(const struct bz_image *i, const char *text)
{
	struct kernel k;
	struct gmem m;
	struct err e;

	assert_int_equal(load(i, &m, &k, &e), -ENOEXEC);
	assert_int_equal(strncmp(e.text, FAILED, strlen(FAILED)), 0);
	assert_string_equal(e.text + strlen(FAILED), text);
	gmem_exit(&m);
}

static void image_is_loaded_where_it_prefers(void **state)
{
	struct bz_image i = good();
	const uint8_t *ram;
	struct kernel k;
	struct gmem m;
	struct err e;

	(void)state;
	assert_int_equal(load(&i, &m, &k, &e), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_int_equal(k.entry_gpa, 0x200200);
	assert_int_equal(k.end_gpa, 0x300000);
	ram = gmem_ptr(&m, 0x200000, CODE_BYTES + 1);
	assert_int_equal(ram[0], 0xc3);
	assert_int_equal(ram[CODE_BYTES - 1], 0xc3);
	assert_int_equal(ram[CODE_BYTES], 0);
	gmem_exit(&m);

	i.h.pref_address = 0;
	assert_int_equal(load(&i, &m, &k, &e), 0);
	assert_int_equal(k.entry_gpa, 0x100200);
	gmem_exit(&m);
}

static void setup_header_is_kept_to_its_end(void **state)
{
	struct bz_image i = good();
	struct kernel k;
	struct gmem m;
	struct err e;

	(void)state;
	assert_int_equal(load(&i, &m, &k, &e), 0);
	assert_int_equal(k.setup_header_len, 0x268 - 0x1f1);
	assert_memory_equal(k.setup_header, &i.h, k.setup_header_len);
	assert_int_equal(k.setup_header[k.setup_header_len], 0);
	assert_int_equal(k.setup_header[SETUP_HEADER_MAX - 1], 0);
	gmem_exit(&m);
}

static void rounded_size_is_accepted(void **state)
{
	struct bz_image i = good();
	struct kernel k;
	struct gmem m;
	struct err e;

	(void)state;
	i.bytes -= 15;
	assert_int_equal(load(&i, &m, &k, &e), 0);
	gmem_exit(&m);
	i.bytes -= 1;
	refused(&i, "Unable to read bzImage compressed image");
}

static void no_setup_sectors_mean_four(void **state)
{
	struct bz_image i = good();

	(void)state;
	i.h.setup_sects = 0;
	refused(&i, "Unable to read bzImage compressed image");
	i.h.syssize = (CODE_BYTES + SETUP_BYTES - 5 * 512) / 16;
	{
		struct kernel k;
		struct gmem m;
		struct err e;

		assert_int_equal(load(&i, &m, &k, &e), 0);
		gmem_exit(&m);
	}
}

static void wrong_headers_are_refused(void **state)
{
	struct bz_image i;

	(void)state;
	i = good();
	i.h.boot_flag = 0xaa54;
	refused(&i, "Invalid bzImage: boot flag 0xaa54");
	i = good();
	i.h.version = 0x020b;
	refused(&i, "Invalid bzImage: boot protocol 2.11 is older than 2.12");
	i = good();
	i.h.xloadflags = 0;
	refused(&i, "Invalid bzImage: no 64-bit entry");
	i = good();
	i.h.loadflags = 0;
	refused(&i, "Invalid bzImage: no 64-bit entry");
	i = good();
	i.h.jump = 0x10eb;
	refused(&i, "Invalid bzImage: setup header of 33 bytes");
	i.h.jump = 0xffeb;
	refused(&i, "Invalid bzImage: setup header of 272 bytes");
}

static void truncated_files_are_refused(void **state)
{
	struct bz_image i = good();

	(void)state;
	i.bytes = SETUP_HEADER_OFFSET + sizeof(i.h) - 1;
	refused(&i, "Unable to read bzImage header");
	i.bytes = SETUP_BYTES;
	refused(&i, "Unable to read bzImage compressed image");
	i = good();
	i.h.setup_sects = 255;
	refused(&i, "Unable to read bzImage compressed image");
	i = good();
	i.h.syssize = 0;
	refused(&i, "Invalid bzImage: 0 bytes of code");
	i.h.syssize = 0x20;
	refused(&i, "Invalid bzImage: 512 bytes of code");
}

static void images_outside_ram_are_refused(void **state)
{
	struct bz_image i;

	(void)state;
	i = good();
	i.h.pref_address = 0xff000;
	refused(&i, "Invalid bzImage: load address 0xff000 is not in the first "
		    "GiB above 0x100000");
	i.h.pref_address = UINT64_MAX;
	refused(&i, "Invalid bzImage: load address 0xffffffffffffffff is not "
		    "in the first GiB above 0x100000");
	i.h.pref_address = 0x400000;
	refused(&i, "Unable to read kernel image: 1048576 bytes at 0x400000 do "
		    "not fit in RAM");
	i = good();
	i.h.init_size = 0x200001;
	refused(&i, "Unable to read kernel image: 2097153 bytes at 0x200000 do "
		    "not fit in RAM");
	i = good();
	i.h.syssize = UINT32_MAX;
	refused(&i, "Invalid bzImage: load address 0x200000 is not in the "
		    "first GiB above 0x100000");
	i.h.syssize = 0x3000000;
	refused(&i, "Unable to read kernel image: 805306368 bytes at 0x200000 "
		    "do not fit in RAM");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_is_loaded_where_it_prefers),
		cmocka_unit_test(setup_header_is_kept_to_its_end),
		cmocka_unit_test(rounded_size_is_accepted),
		cmocka_unit_test(no_setup_sectors_mean_four),
		cmocka_unit_test(wrong_headers_are_refused),
		cmocka_unit_test(truncated_files_are_refused),
		cmocka_unit_test(images_outside_ram_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
