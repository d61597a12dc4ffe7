/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf.c: kernels as ELF files (vmlinux). The header and the program headers are
 * copied once; everything is checked before the first byte reaches guest RAM.
 */
#include "vmm/x86/image.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/kernel.h"
#include "vmm/x86/layout.h"

/* Real kernels have fewer than ten of either. */
#define MAX_PHDRS 64
#define MAX_NOTES 256

#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

#define FAILED "Kernel Loader: failed to load ELF kernel image: Kernel Loader: "

#define refuse(e, ...) err_set((e), -ENOEXEC, FAILED __VA_ARGS__)

struct elf {
	int fd;
	const struct gmem *mem;
	Elf64_Ehdr head;
	Elf64_Phdr ph[MAX_PHDRS];
};

static bool is_loaded(const Elf64_Phdr *p)
{
	return p->p_type == PT_LOAD && p->p_memsz > 0;
}

static int check_head(const Elf64_Ehdr *h, struct err *e)
{
	if (h->e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse(e, "Trying to load big-endian binary on "
				 "little-endian machine");
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != EM_X86_64)
		return refuse(e, "Not a 64-bit x86 file: class %u, machine %u",
			      h->e_ident[EI_CLASS], h->e_machine);
	if (h->e_phentsize != sizeof(Elf64_Phdr))
		return refuse(e, "Invalid program header size");
	if (h->e_phoff < sizeof(Elf64_Ehdr))
		return refuse(e, "Invalid program header offset");
	if (h->e_entry < GPA_KERNEL)
		return refuse(e, "Invalid entry address");
	return 0;
}

static int read_heads(struct elf *f, struct err *e)
{
	size_t bytes;
	int ret;

	if (image_read(f->fd, &f->head, sizeof(f->head), 0) !=
	    (ssize_t)sizeof(f->head))
		return refuse(e, "Unable to read elf header");
	ret = check_head(&f->head, e);
	if (ret < 0)
		return ret;
	if (f->head.e_phnum > MAX_PHDRS)
		return refuse(e,
			      "Invalid program header size: %u program "
			      "headers, at most %d are allowed",
			      f->head.e_phnum, MAX_PHDRS);
	bytes = f->head.e_phnum * sizeof(f->ph[0]);
	if (image_read(f->fd, f->ph, bytes, f->head.e_phoff) != (ssize_t)bytes)
		return refuse(e, "Unable to read program header");
	return 0;
}

static int check_segment(const struct elf *f, unsigned int i, struct err *e)
{
	const Elf64_Phdr *p = &f->ph[i];
	uint64_t low_bytes = f->mem->region[0].bytes;

	if (p->p_filesz > p->p_memsz)
		return refuse(e,
			      "Invalid program header size: segment %u has "
			      "%" PRIu64 " bytes in the file but only %" PRIu64
			      " in memory",
			      i, p->p_filesz, p->p_memsz);
	if (p->p_paddr < GPA_KERNEL)
		return refuse(e,
			      "Invalid Program Header Address: segment %u at "
			      "0x%" PRIx64 " is below 0x%x",
			      i, p->p_paddr, GPA_KERNEL);
	if (!num_inside(p->p_paddr, p->p_filesz, low_bytes))
		return refuse(e, "Unable to read kernel image");
	if (!num_inside(p->p_paddr, p->p_memsz, low_bytes))
		return refuse(e,
			      "Invalid Program Header Address: segment %u, "
			      "%" PRIu64 " bytes at 0x%" PRIx64
			      ", does not fit in RAM below 4 GiB",
			      i, p->p_memsz, p->p_paddr);
	return 0;
}

/* Both lie in RAM, so the sums do not wrap. */
static bool overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_paddr < b->p_paddr + b->p_memsz &&
	       b->p_paddr < a->p_paddr + a->p_memsz;
}

static int check_segments(const struct elf *f, struct err *e)
{
	for (unsigned int i = 0; i < f->head.e_phnum; i++) {
		int ret;

		/* With p_memsz 0 as well, only a wrong p_filesz is left. */
		if (f->ph[i].p_type != PT_LOAD ||
		    (f->ph[i].p_memsz == 0 && f->ph[i].p_filesz == 0))
			continue;
		ret = check_segment(f, i, e);
		if (ret < 0)
			return ret;
		for (unsigned int j = 0; j < i; j++) {
			if (is_loaded(&f->ph[j]) &&
			    overlap(&f->ph[i], &f->ph[j]))
				return refuse(e,
					      "Invalid Program Header Address: "
					      "segments %u and %u overlap",
					      j, i);
		}
	}
	return 0;
}

/* Look for the PVH entry in one note segment: 1 if found, 0, or an error. */
static int search_notes(const struct elf *f, const Elf64_Phdr *p,
			uint32_t *entry, struct err *e)
{
	uint64_t align = p->p_align == 8 ? 8 : 4;
	uint64_t at = 0;

	for (unsigned int i = 0; at < p->p_filesz; i++) {
		struct {
			Elf64_Nhdr head;
			char name[4];
		} note = {0};
		uint64_t desc;

		if (i == MAX_NOTES)
			return refuse(e,
				      "Invalid PVH note header: more than %d "
				      "notes",
				      MAX_NOTES);
		if (!num_inside(at, sizeof(note.head), p->p_filesz))
			return 0; /* padding */
		if (image_read(f->fd, &note, sizeof(note), p->p_offset + at) <
		    (ssize_t)sizeof(note.head))
			return refuse(e, "Unable to read note header");
		desc = at + sizeof(note.head) +
		       ALIGN_UP((uint64_t)note.head.n_namesz, align);
		if (note.head.n_type == NOTE_PHYS32_ENTRY &&
		    note.head.n_namesz == sizeof(note.name) &&
		    memcmp(note.name, "Xen", sizeof(note.name)) == 0) {
			if (note.head.n_descsz < sizeof(*entry) ||
			    !num_inside(desc, sizeof(*entry), p->p_filesz))
				return refuse(e, "Invalid PVH note header");
			if (image_read(f->fd, entry, sizeof(*entry),
				       p->p_offset + desc) != sizeof(*entry))
				return refuse(e, "Unable to read note header");
			return 1;
		}
		at = desc + ALIGN_UP((uint64_t)note.head.n_descsz, align);
	}
	return 0;
}

static int find_entry(const struct elf *f, struct kernel *k, struct err *e)
{
	k->protocol = BOOT_LINUX64;
	k->entry_gpa = f->head.e_entry;
	for (unsigned int i = 0; i < f->head.e_phnum; i++) {
		uint32_t entry = 0;
		int ret;

		if (f->ph[i].p_type != PT_NOTE)
			continue;
		/* An offset near 2^64 would wrap; no file is that long. */
		if (!num_inside(f->ph[i].p_offset, f->ph[i].p_filesz,
				INT64_MAX))
			return refuse(e, "Unable to seek to note header");
		ret = search_notes(f, &f->ph[i], &entry, e);
		if (ret < 0)
			return ret;
		if (ret > 0) {
			k->protocol = BOOT_PVH;
			k->entry_gpa = entry;
			return 0;
		}
	}
	return 0;
}

/* The first instruction must be one that was loaded, and be reachable. */
static int check_entry(const struct elf *f, const struct kernel *k,
		       struct err *e)
{
	if (k->protocol == BOOT_LINUX64 && k->entry_gpa >= BOOT_MAPPED_BYTES)
		return refuse(e,
			      "Invalid entry address: 0x%" PRIx64
			      " is above the first GiB",
			      k->entry_gpa);
	for (unsigned int i = 0; i < f->head.e_phnum; i++) {
		const Elf64_Phdr *p = &f->ph[i];

		if (is_loaded(p) && k->entry_gpa >= p->p_paddr &&
		    k->entry_gpa - p->p_paddr < p->p_memsz)
			return 0;
	}
	return refuse(e,
		      "Invalid entry address: 0x%" PRIx64
		      " is in no segment of the file",
		      k->entry_gpa);
}

static int load_segments(const struct elf *f, struct kernel *k, struct err *e)
{
	for (unsigned int i = 0; i < f->head.e_phnum; i++) {
		const Elf64_Phdr *p = &f->ph[i];

		if (!is_loaded(p))
			continue;
		k->end_gpa = MAX(k->end_gpa, p->p_paddr + p->p_memsz);
		if (p->p_filesz == 0)
			continue;
		if (image_load(f->fd, f->mem, p->p_paddr, p->p_filesz,
			       p->p_offset) != (ssize_t)p->p_filesz)
			return refuse(e, "Unable to read kernel image");
	}
	return 0;
}

int elf_load(struct kernel *k, const struct gmem *m, int fd, struct err *e)
{
	struct elf f = {.fd = fd, .mem = m};
	struct kernel found = {0};
	int ret;

	ret = read_heads(&f, e);
	if (ret == 0)
		ret = check_segments(&f, e);
	if (ret == 0)
		ret = find_entry(&f, &found, e);
	if (ret == 0)
		ret = check_entry(&f, &found, e);
	if (ret == 0)
		ret = load_segments(&f, &found, e);
	if (ret == 0)
		*k = found;
	return ret;
}
