/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images.h: kernel files made in memory, and RAM to load them into.
 */
#ifndef TESTS_VMM_IMAGES_H
#define TESTS_VMM_IMAGES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "vmm/gmem.h"

#define IMAGE_GPA   0x200000
#define IMAGE_CODE  0x1000 /* offset of the code in the file */
#define IMAGE_NOTES 0x800
#define IMAGE_BYTES 0x2000

/* An ELF file: one segment of code, perhaps a note segment. */
struct elf_image {
	Elf64_Ehdr head;
	Elf64_Phdr ph[4];
	uint8_t code[64];
	uint8_t notes[64];
	size_t bytes; /* of the file */
};

static inline struct elf_image elf_image(const uint8_t *code, size_t len)
{
	struct elf_image i = {
		.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
				     ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			 .e_type = ET_EXEC,
			 .e_machine = EM_X86_64,
			 .e_entry = IMAGE_GPA,
			 .e_phoff = sizeof(Elf64_Ehdr),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 1},
		.ph = {{.p_type = PT_LOAD,
			.p_offset = IMAGE_CODE,
			.p_paddr = IMAGE_GPA,
			.p_filesz = sizeof(i.code),
			.p_memsz = 0x1800}},
		.bytes = IMAGE_BYTES,
	};

	assert_true(len <= sizeof(i.code));
	memcpy(i.code, code, len);
	return i;
}

/* Add a note, 4-byte name, as the second segment. */
static inline void elf_note(struct elf_image *i, uint32_t type,
			    const char name[4], uint64_t entry)
{
	const Elf64_Nhdr note = {
		.n_namesz = 4, .n_descsz = sizeof(entry), .n_type = type};

	memcpy(i->notes, &note, sizeof(note));
	memcpy(i->notes + sizeof(note), name, 4);
	memcpy(i->notes + sizeof(note) + 4, &entry, sizeof(entry));
	i->ph[1] = (Elf64_Phdr){.p_type = PT_NOTE,
				.p_offset = IMAGE_NOTES,
				.p_filesz = sizeof(note) + 4 + sizeof(entry),
				.p_align = 4};
	i->head.e_phnum = 2;
}

static inline int image_file(const void *bytes, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	if (len)
		assert_int_equal(pwrite(fd, bytes, len, 0), len);
	return fd;
}

static inline int elf_file(const struct elf_image *i)
{
	uint8_t file[IMAGE_BYTES] = {0};

	memcpy(file, &i->head, sizeof(i->head));
	memcpy(file + sizeof(i->head), i->ph, sizeof(i->ph));
	memcpy(file + IMAGE_NOTES, i->notes, sizeof(i->notes));
	memcpy(file + IMAGE_CODE, i->code, sizeof(i->code));
	return image_file(file, i->bytes);
}

static inline void ram_init(struct gmem *m, uint64_t bytes)
{
	struct err e;

	assert_int_equal(gmem_reserve(m, bytes, &e), 0);
	assert_int_equal(gmem_back(m, GMEM_ANON, &e), 0);
}

#endif
