/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels and initrds: the input is the file, behind a byte that says whether
 * to make its beginning that of an ELF file, of a bzImage, or to leave it. RAM
 * is ordinary heap memory, so that a write outside it is seen. Whatever is
 * accepted must lie in RAM.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "vmm/gmem.h"
#include "vmm/kernel.h"
#include "vmm/x86/layout.h"

#define RAM_BYTES   (3U << 20)
#define FILE_BYTES  8192
#define NOTE_OFFSET 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
	if (!ok)
		abort();
}

static void load(const struct gmem *m, int fd)
{
	struct kernel k = {0};
	struct initrd i = {0};
	struct err e = {0};
	int ret;

	ret = kernel_load(&k, m, fd, &e);
	if (ret == 0) {
		check(k.entry_gpa >= GPA_KERNEL && k.entry_gpa < k.end_gpa);
		check(k.end_gpa <= RAM_BYTES);
		check(k.setup_header_len <= SETUP_HEADER_MAX);
	} else {
		check(ret < 0 && e.code == ret && e.text[0]);
	}
	e = (struct err){0};
	ret = initrd_load(&i, m, &k, fd, &e);
	if (ret == 0)
		check(i.gpa >= k.end_gpa && gmem_valid(m, i.gpa, i.bytes));
	else
		check(ret < 0 && e.code == ret && e.text[0]);
}

/*
 * What a file must have to be looked at further, found too seldom by chance;
 * the rest is the input's. One segment, one note segment, one PVH note.
 */
static void make_elf(uint8_t *file)
{
	static const uint32_t note[] = {4, 8, 18, 0x006e6558};
	Elf64_Ehdr h;
	Elf64_Phdr p[2];

	memcpy(&h, file, sizeof(h));
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_machine = EM_X86_64;
	h.e_phoff = sizeof(h);
	h.e_phentsize = sizeof(Elf64_Phdr);
	h.e_phnum %= 8;
	memcpy(file, &h, sizeof(h));
	memcpy(p, file + sizeof(h), sizeof(p));
	p[0].p_type = PT_LOAD;
	p[0].p_paddr %= RAM_BYTES;
	p[1].p_type = PT_NOTE;
	p[1].p_offset %= NOTE_OFFSET + 64;
	memcpy(file + sizeof(h), p, sizeof(p));
	memcpy(file + NOTE_OFFSET, note, sizeof(note));
}

static void make_bzimage(uint8_t *file)
{
	struct setup_header h;

	memcpy(&h, file + SETUP_HEADER_OFFSET, sizeof(h));
	h.boot_flag = 0xaa55;
	h.header = 0x53726448;
	h.version |= 0x0200;
	h.loadflags |= LOADED_HIGH;
	h.xloadflags |= XLF_KERNEL_64;
	h.setup_sects %= 4;
	h.syssize %= FILE_BYTES / 16;
	h.pref_address %= RAM_BYTES;
	h.init_size %= RAM_BYTES;
	memcpy(file + SETUP_HEADER_OFFSET, &h, sizeof(h));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gmem m = {.n_regions = 1, .bytes = RAM_BYTES};
	uint8_t file[FILE_BYTES] = {0};
	static uint8_t *ram;
	static int fd = -1;

	if (fd < 0) {
		ram = malloc(RAM_BYTES);
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	}
	check(ram && fd >= 0);
	if (size == 0 || size > sizeof(file))
		return 0;
	memcpy(file, data + 1, size - 1);
	if (data[0] % 4 == 1)
		make_elf(file);
	else if (data[0] % 4 == 2)
		make_bzimage(file);
	m.region[0] = (struct gmem_region){.bytes = RAM_BYTES, .hva = ram};
	check(ftruncate(fd, 0) == 0);
	check(pwrite(fd, file, size - 1, 0) == (ssize_t)size - 1);
	load(&m, fd);
	return 0;
}
