/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootparams.c: the memory map and what the boot protocol hands to the kernel:
 * the zero page of Linux, or the start info of PVH
 * (xen/include/public/arch-x86/hvm/start_info.h).
 */
#include "vmm/x86/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/cmdline.h"
#include "vmm/gmem.h"
#include "vmm/kernel.h"

#define BOOT_FLAG	 0xaa55
#define HDRS		 0x53726448 /* "HdrS" */
#define LOADER_UNDEFINED 0xff
#define PROTOCOL_2_15	 0x020f
#define KERNEL_ALIGNMENT 0x1000000

#define PVH_MAGIC   0x336ec578
#define PVH_VERSION 1

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t n_modules;
	uint64_t modlist_gpa;
	uint64_t cmdline_gpa;
	uint64_t rsdp_gpa;
	uint64_t memmap_gpa;
	uint32_t n_memmap;
	uint32_t reserved;
};

struct pvh_module {
	uint64_t gpa;
	uint64_t bytes;
	uint64_t cmdline_gpa;
	uint64_t reserved;
};

struct pvh_memmap {
	uint64_t gpa;
	uint64_t bytes;
	uint32_t type; /* as in the e820 map */
	uint32_t reserved;
};

_Static_assert(sizeof(struct pvh_start_info) == 56, "PVH start info");
_Static_assert(GPA_PVH_START_INFO + sizeof(struct pvh_start_info) <=
		       GPA_PVH_MODLIST,
	       "the start info must end before the module list");
_Static_assert(sizeof(struct pvh_module) == 32, "PVH module");
_Static_assert(sizeof(struct pvh_memmap) == 24, "PVH memory map");
_Static_assert(sizeof(struct boot_params) == 4096, "zero page");
_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER_OFFSET,
	       "zero page");

uint8_t boot_checksum(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	unsigned int sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += p[i];
	return (uint8_t)(0 - sum);
}

unsigned int e820_map(const struct gmem *m, struct e820_entry *map)
{
	uint64_t low_bytes = m->region[0].bytes;
	unsigned int n = 0;

	map[n++] = (struct e820_entry){0, GPA_SYSTEM, E820_RAM};
	map[n++] = (struct e820_entry){GPA_SYSTEM, GPA_SYSTEM_END - GPA_SYSTEM,
				       E820_RESERVED};
	if (low_bytes > GPA_KERNEL)
		map[n++] = (struct e820_entry){
			GPA_KERNEL, low_bytes - GPA_KERNEL, E820_RAM};
	for (unsigned int i = 1; i < m->n_regions; i++)
		map[n++] = (struct e820_entry){m->region[i].gpa,
					       m->region[i].bytes, E820_RAM};
	return n;
}

static int put(const struct gmem *m, uint64_t gpa, const void *src, size_t len,
	       const char *what, struct err *e)
{
	if (gmem_write(m, gpa, src, len) < 0)
		return err_set(e, -ENOMEM, "No room for the %s", what);
	return 0;
}

/* The setup header: of the bzImage, or made up for an ELF file. */
static void fill_header(struct setup_header *h, const struct boot_info *b)
{
	const struct kernel *k = b->kernel;

	if (k->setup_header_len) {
		memcpy(h, k->setup_header,
		       MIN(sizeof(*h), (size_t)k->setup_header_len));
	} else {
		h->boot_flag = BOOT_FLAG;
		h->header = HDRS;
		h->version = PROTOCOL_2_15;
		h->kernel_alignment = KERNEL_ALIGNMENT;
	}
	h->type_of_loader = LOADER_UNDEFINED;
	h->cmd_line_ptr = GPA_CMDLINE;
	h->cmdline_size = (uint32_t)b->cmdline->len;
	if (b->initrd->bytes) {
		h->ramdisk_image = (uint32_t)b->initrd->gpa;
		h->ramdisk_size = (uint32_t)b->initrd->bytes;
	}
}

int bootparams_write_linux(const struct gmem *m, const struct boot_info *b,
			   struct err *e)
{
	struct e820_entry map[E820_MAX];
	struct boot_params p;

	memset(&p, 0, sizeof(p));
	fill_header(&p.hdr, b);
	p.acpi_rsdp_addr = GPA_RSDP;
	p.e820_entries = (uint8_t)e820_map(m, map);
	for (unsigned int i = 0; i < p.e820_entries; i++)
		p.e820_table[i] = (struct boot_e820_entry){
			map[i].gpa, map[i].bytes, map[i].type};
	return put(m, GPA_ZERO_PAGE, &p, sizeof(p), "zero page", e);
}

int bootparams_write_pvh(const struct gmem *m, const struct boot_info *b,
			 struct err *e)
{
	struct pvh_module initrd = {b->initrd->gpa, b->initrd->bytes, 0, 0};
	struct pvh_memmap memmap[E820_MAX] = {0};
	struct e820_entry map[E820_MAX];
	unsigned int n = e820_map(m, map);
	struct pvh_start_info s = {
		.magic = PVH_MAGIC,
		.version = PVH_VERSION,
		.cmdline_gpa = GPA_CMDLINE,
		.rsdp_gpa = GPA_RSDP,
		.memmap_gpa = GPA_PVH_MEMMAP,
		.n_memmap = n,
	};
	int ret;

	for (unsigned int i = 0; i < n; i++)
		memmap[i] = (struct pvh_memmap){map[i].gpa, map[i].bytes,
						map[i].type, 0};
	if (initrd.bytes) {
		s.n_modules = 1;
		s.modlist_gpa = GPA_PVH_MODLIST;
		ret = put(m, GPA_PVH_MODLIST, &initrd, sizeof(initrd),
			  "PVH module list", e);
		if (ret < 0)
			return ret;
	}
	ret = put(m, GPA_PVH_MEMMAP, memmap, n * sizeof(memmap[0]),
		  "PVH memory map", e);
	if (ret < 0)
		return ret;
	return put(m, GPA_PVH_START_INFO, &s, sizeof(s), "PVH start info", e);
}

int boot_write(const struct gmem *m, const struct boot_info *b, struct err *e)
{
	int ret;

	ret = put(m, GPA_CMDLINE, b->cmdline->text, b->cmdline->len + 1,
		  "kernel command line", e);
	if (ret == 0 && b->kernel->protocol == BOOT_PVH)
		ret = bootparams_write_pvh(m, b, e);
	else if (ret == 0)
		ret = bootparams_write_linux(m, b, e);
	if (ret == 0)
		ret = mptable_write(m, b->n_vcpus, e);
	if (ret == 0)
		ret = acpi_write(m, b, e);
	return ret;
}
