/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.h: what the guest finds in memory at its first instruction: e820 map,
 * command line, zero page or PVH start info, MP table, ACPI tables. (GDT and
 * page tables go with the registers: cpu.h.) The MP table and ACPI name the
 * same things; a kernel may use either.
 *
 * Helper thread, before vCPUs run.
 */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/x86/layout.h"

struct cmdline;
struct err;
struct gmem;
struct initrd;
struct kernel;

/* A virtio-mmio window as ACPI names it. */
struct boot_dev {
	uint64_t gpa;
	uint32_t gsi;
};

struct boot_info {
	const struct kernel *kernel;
	const struct initrd *initrd;
	const struct cmdline *cmdline;
	const struct boot_dev *dev;
	unsigned int n_devs;
	unsigned int n_vcpus;
};

/* Write all of it. RAM too small for it: -ENOMEM and a text. */
int boot_write(const struct gmem *m, const struct boot_info *b, struct err *e);

/* The parts, for tests; each checks its own bounds. */
int bootparams_write_linux(const struct gmem *m, const struct boot_info *b,
			   struct err *e);
int bootparams_write_pvh(const struct gmem *m, const struct boot_info *b,
			 struct err *e);
int mptable_write(const struct gmem *m, unsigned int n_vcpus, struct err *e);
int acpi_write(const struct gmem *m, const struct boot_info *b, struct err *e);

/* The byte that makes the sum of all bytes zero. */
uint8_t boot_checksum(const void *bytes, size_t len);

/* An e820 entry, also a PVH memmap entry in another shape. */
struct e820_entry {
	uint64_t gpa;
	uint64_t bytes;
	uint32_t type;
};

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_MAX      8

/* Fill map (E820_MAX entries); returns their number. */
unsigned int e820_map(const struct gmem *m, struct e820_entry *map);

#endif
