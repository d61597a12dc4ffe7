/* SPDX-License-Identifier: Apache-2.0 */
/* ELF kernels and initrds; bzImages are in test_bzimage.c. */
#include "tests/vmm/images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/num.h"
#include "vmm/kernel.h"

#define RAM_BYTES (4 * MIB)

#define FAILED "Kernel Loader: failed to load ELF kernel image: Kernel Loader: "

static const uint8_t code[] = {0x66, 0xba, 0xf8, 0x03, 0xb0, 0x16, 0xee, 0xf4};

static struct elf_image good(void)
{
	return elf_image(code, sizeof(code));
}

/* Load the image; the text must be FAILED + text. */
static void refused(const struct elf_image *i, const char *text)
{
	struct kernel k = {.entry_gpa = 77};
	struct gmem m;
	struct err e;
	int fd = elf_file(i);

	ram_init(&m, RAM_BYTES);
	assert_int_equal(kernel_load(&k, &m, fd, &e), -ENOEXEC);
	assert_int_equal(strncmp(e.text, FAILED, strlen(FAILED)), 0);
	assert_string_equal(e.text + strlen(FAILED), text);
	assert_int_equal(k.entry_gpa, 77);
	gmem_exit(&m);
	close(fd);
}

static void refused_file(int fd, const char *text)
{
	struct gmem m;
	struct kernel k;
	struct err e;

	ram_init(&m, RAM_BYTES);
	assert_int_equal(kernel_load(&k, &m, fd, &e), -ENOEXEC);
	assert_string_equal(e.text, text);
	gmem_exit(&m);
	close(fd);
}

static struct kernel accepted(const struct elf_image *i, struct gmem *m)
{
	int fd = elf_file(i);
	struct kernel k;
	struct err e;

	ram_init(m, RAM_BYTES);
	assert_int_equal(kernel_load(&k, m, fd, &e), 0);
	close(fd);
	return k;
}

static void elf_is_loaded_for_the_linux_protocol(void **state)
{
	struct elf_image i = good();
	const uint8_t *ram;
	struct kernel k;
	struct gmem m;

	(void)state;
	k = accepted(&i, &m);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_int_equal(k.entry_gpa, IMAGE_GPA);
	assert_int_equal(k.end_gpa, IMAGE_GPA + 0x1800);
	assert_int_equal(k.setup_header_len, 0);
	ram = gmem_ptr(&m, IMAGE_GPA, 0x1000);
	assert_memory_equal(ram, code, sizeof(code));
	assert_int_equal(ram[sizeof(i.code)], 0);
	gmem_exit(&m);
}

static void note_selects_pvh(void **state)
{
	struct elf_image i = good();
	struct kernel k;
	struct gmem m;

	(void)state;
	elf_note(&i, 18, "Xen", IMAGE_GPA + 8);
	k = accepted(&i, &m);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_int_equal(k.entry_gpa, IMAGE_GPA + 8);
	gmem_exit(&m);

	/* A PVH kernel's ELF entry may be a virtual address. */
	i.head.e_entry = 0xffffffff80200000;
	k = accepted(&i, &m);
	assert_int_equal(k.protocol, BOOT_PVH);
	gmem_exit(&m);
}

static void other_notes_do_not(void **state)
{
	struct elf_image i = good();
	struct kernel k;
	struct gmem m;

	(void)state;
	elf_note(&i, 17, "Xen", IMAGE_GPA + 8);
	k = accepted(&i, &m);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	gmem_exit(&m);
	elf_note(&i, 18, "GNU", IMAGE_GPA + 8);
	k = accepted(&i, &m);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	gmem_exit(&m);
}

static void pvh_note_is_found_behind_others(void **state)
{
	const Elf64_Nhdr first = {.n_namesz = 4, .n_descsz = 3, .n_type = 1};
	const Elf64_Nhdr second = {.n_namesz = 4, .n_descsz = 4, .n_type = 18};
	const uint32_t entry = IMAGE_GPA + 4;
	struct elf_image i = good();
	struct kernel k;
	struct gmem m;

	(void)state;
	elf_note(&i, 1, "GNU", 0);
	memcpy(i.notes, &first, sizeof(first));
	memcpy(i.notes + 20, &second, sizeof(second));
	memcpy(i.notes + 32, "Xen", 4);
	memcpy(i.notes + 36, &entry, sizeof(entry));
	i.ph[1].p_filesz = 40;
	k = accepted(&i, &m);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_int_equal(k.entry_gpa, entry);
	gmem_exit(&m);
}

static void files_that_are_no_kernel_are_refused(void **state)
{
	char text[2048];

	(void)state;
	memset(text, 'a', sizeof(text));
	refused_file(image_file("", 0), FAILED "Unable to read elf header");
	refused_file(image_file(ELFMAG, 4), FAILED "Unable to read elf header");
	refused_file(image_file(text, 63), FAILED "Unable to read elf header");
	refused_file(image_file(text, 64), FAILED "Invalid Elf magic number");
	refused_file(image_file(text, sizeof(text)),
		     FAILED "Invalid Elf magic number");
	refused_file(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		     FAILED "Unable to read elf header");
	refused_file(open("/dev/null", O_RDONLY | O_CLOEXEC),
		     FAILED "Unable to read elf header");
	refused_file(open("/dev/zero", O_RDONLY | O_CLOEXEC),
		     FAILED "Invalid Elf magic number");
}

static void wrong_headers_are_refused(void **state)
{
	struct elf_image i;

	(void)state;
	i = good();
	i.head.e_ident[EI_DATA] = ELFDATA2MSB;
	refused(&i, "Trying to load big-endian binary on little-endian "
		    "machine");
	i = good();
	i.head.e_ident[EI_CLASS] = ELFCLASS32;
	refused(&i, "Not a 64-bit x86 file: class 1, machine 62");
	i = good();
	i.head.e_machine = EM_AARCH64;
	refused(&i, "Not a 64-bit x86 file: class 2, machine 183");
	i = good();
	i.head.e_phentsize = 32;
	refused(&i, "Invalid program header size");
	i = good();
	i.head.e_phoff = 8;
	refused(&i, "Invalid program header offset");
	i = good();
	i.head.e_phnum = 65535;
	refused(&i, "Invalid program header size: 65535 program headers, at "
		    "most 64 are allowed");
}

static void truncated_files_are_refused(void **state)
{
	struct elf_image i;

	(void)state;
	i = good();
	i.bytes = sizeof(Elf64_Ehdr);
	refused(&i, "Unable to read program header");
	i.bytes += sizeof(Elf64_Phdr) - 1;
	refused(&i, "Unable to read program header");
	i = good();
	i.head.e_phoff = UINT64_MAX - 8;
	refused(&i, "Unable to read program header");
	i = good();
	i.bytes = IMAGE_CODE;
	refused(&i, "Unable to read kernel image");
	i.bytes = IMAGE_CODE + sizeof(i.code) - 1;
	refused(&i, "Unable to read kernel image");
	i = good();
	i.ph[0].p_offset = UINT64_MAX - 4;
	refused(&i, "Unable to read kernel image");
}

static void segments_outside_ram_are_refused(void **state)
{
	struct elf_image i;

	(void)state;
	i = good();
	i.ph[0].p_paddr = RAM_BYTES;
	refused(&i, "Unable to read kernel image");
	i.ph[0].p_paddr = UINT64_MAX - 16;
	refused(&i, "Unable to read kernel image");
	i.ph[0].p_paddr = RAM_BYTES - sizeof(i.code) + 1;
	refused(&i, "Unable to read kernel image");
	i = good();
	i.ph[0].p_filesz = UINT64_MAX;
	i.ph[0].p_memsz = UINT64_MAX;
	refused(&i, "Unable to read kernel image");
	i = good();
	i.ph[0].p_memsz = RAM_BYTES;
	refused(&i, "Invalid Program Header Address: segment 0, 4194304 bytes "
		    "at 0x200000, does not fit in RAM below 4 GiB");
	i = good();
	i.ph[0].p_paddr = 0xfffff;
	refused(&i, "Invalid Program Header Address: segment 0 at 0xfffff is "
		    "below 0x100000");
}

static void more_in_the_file_than_in_memory_is_refused(void **state)
{
	struct elf_image i = good();

	(void)state;
	i.ph[0].p_memsz = 63;
	refused(&i, "Invalid program header size: segment 0 has 64 bytes in "
		    "the file but only 63 in memory");
	i.ph[0].p_memsz = 0;
	refused(&i, "Invalid program header size: segment 0 has 64 bytes in "
		    "the file but only 0 in memory");
}

static void overlapping_segments_are_refused(void **state)
{
	struct elf_image i = good();
	struct gmem m;

	(void)state;
	i.head.e_phnum = 2;
	i.ph[1] = i.ph[0];
	refused(&i, "Invalid Program Header Address: segments 0 and 1 "
		    "overlap");
	i.ph[1].p_paddr = IMAGE_GPA + 0x17ff;
	refused(&i, "Invalid Program Header Address: segments 0 and 1 "
		    "overlap");
	i.ph[1].p_paddr = IMAGE_GPA - 0x17ff;
	refused(&i, "Invalid Program Header Address: segments 0 and 1 "
		    "overlap");
	i.ph[1].p_paddr = IMAGE_GPA + 0x1800;
	(void)accepted(&i, &m);
	gmem_exit(&m);
}

static void entries_outside_are_refused(void **state)
{
	struct elf_image i = good();

	(void)state;
	i.head.e_entry = 0xfffff;
	refused(&i, "Invalid entry address");
	i.head.e_entry = IMAGE_GPA + 0x1800;
	refused(&i, "Invalid entry address: 0x201800 is in no segment of the "
		    "file");
	i.head.e_entry = UINT64_MAX;
	refused(&i, "Invalid entry address: 0xffffffffffffffff is above the "
		    "first GiB");
	i = good();
	i.head.e_phnum = 0;
	refused(&i, "Invalid entry address: 0x200000 is in no segment of the "
		    "file");
	i = good();
	elf_note(&i, 18, "Xen", 0x1000);
	refused(&i, "Invalid entry address: 0x1000 is in no segment of the "
		    "file");
}

static void broken_notes_are_refused(void **state)
{
	const Elf64_Nhdr huge = {.n_namesz = UINT32_MAX,
				 .n_descsz = UINT32_MAX};
	struct elf_image i = good();
	struct gmem m;

	(void)state;
	elf_note(&i, 18, "Xen", IMAGE_GPA);
	i.notes[4] = 3; /* n_descsz */
	refused(&i, "Invalid PVH note header");
	elf_note(&i, 18, "Xen", IMAGE_GPA);
	i.ph[1].p_filesz = 16;
	refused(&i, "Invalid PVH note header");
	i.ph[1].p_offset = IMAGE_BYTES - 4;
	refused(&i, "Unable to read note header");
	i.ph[1].p_offset = UINT64_MAX - 8;
	refused(&i, "Unable to seek to note header");
	/* Empty notes without an end. */
	elf_note(&i, 0, "Xen", 0);
	memset(i.notes, 0, sizeof(i.notes));
	i.ph[1].p_filesz = 0x10000;
	i.ph[1].p_offset = sizeof(i.head) + sizeof(i.ph);
	refused(&i, "Invalid PVH note header: more than 256 notes");
	/* A length that leads past the end ends the search. */
	elf_note(&i, 18, "Xen", IMAGE_GPA);
	memcpy(i.notes, &huge, sizeof(huge));
	(void)accepted(&i, &m);
	gmem_exit(&m);
}

static void initrd_refused(struct gmem *m, const struct kernel *k, int fd,
			   const char *text)
{
	struct initrd i = {.bytes = 77};
	struct err e;

	assert_true(initrd_load(&i, m, k, fd, &e) < 0);
	assert_string_equal(e.text, text);
	assert_int_equal(i.bytes, 77);
	close(fd);
}

static void initrd_is_loaded_at_the_end(void **state)
{
	const struct kernel k = {.end_gpa = IMAGE_GPA + 1};
	struct initrd i;
	struct gmem m;
	struct err e;
	int fd = image_file("initrd", 6);

	(void)state;
	ram_init(&m, RAM_BYTES);
	assert_int_equal(initrd_load(&i, &m, &k, fd, &e), 0);
	assert_int_equal(i.gpa, RAM_BYTES - 4096);
	assert_int_equal(i.bytes, 6);
	assert_memory_equal(gmem_ptr(&m, i.gpa, 7), "initrd", 7);

	/* As much as fits above the kernel's last page. */
	assert_int_equal(ftruncate(fd, (off_t)(RAM_BYTES - IMAGE_GPA - 4096)),
			 0);
	assert_int_equal(initrd_load(&i, &m, &k, fd, &e), 0);
	assert_int_equal(i.gpa, IMAGE_GPA + 4096);
	assert_int_equal(ftruncate(fd, (off_t)(RAM_BYTES - IMAGE_GPA - 4095)),
			 0);
	initrd_refused(&m, &k, fd,
		       "Cannot load initrd due to an invalid memory "
		       "configuration..");
	gmem_exit(&m);
}

static void bad_initrds_are_refused(void **state)
{
	const struct kernel k = {.end_gpa = IMAGE_GPA};
	const char *memory = "Cannot load initrd due to an invalid memory "
			     "configuration..";
	struct gmem m;
	int fd;

	(void)state;
	ram_init(&m, RAM_BYTES);
	initrd_refused(&m, &k, image_file("", 0), memory);
	initrd_refused(&m, &k, open("/dev/null", O_RDONLY | O_CLOEXEC), memory);
	fd = image_file("", 0);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	initrd_refused(&m, &k, fd, memory);
	initrd_refused(&m, &k, open("/usr", O_RDONLY | O_CLOEXEC),
		       "Cannot load initrd due to an invalid image: Is a "
		       "directory (os error 21).");
	gmem_exit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf_is_loaded_for_the_linux_protocol),
		cmocka_unit_test(note_selects_pvh),
		cmocka_unit_test(other_notes_do_not),
		cmocka_unit_test(pvh_note_is_found_behind_others),
		cmocka_unit_test(files_that_are_no_kernel_are_refused),
		cmocka_unit_test(wrong_headers_are_refused),
		cmocka_unit_test(truncated_files_are_refused),
		cmocka_unit_test(segments_outside_ram_are_refused),
		cmocka_unit_test(more_in_the_file_than_in_memory_is_refused),
		cmocka_unit_test(overlapping_segments_are_refused),
		cmocka_unit_test(entries_outside_are_refused),
		cmocka_unit_test(broken_notes_are_refused),
		cmocka_unit_test(initrd_is_loaded_at_the_end),
		cmocka_unit_test(bad_initrds_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
