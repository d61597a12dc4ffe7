/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h: load a kernel and an initrd into guest RAM.
 *
 * The files are untrusted: every offset, length and address in them is checked
 * before use, and a refusal leaves nothing but garbage in guest RAM. Kernels
 * are ELF (entered by the 64-bit Linux protocol, or by PVH when the file has a
 * XEN_ELFNOTE_PHYS32_ENTRY note) or bzImage with a 64-bit entry.
 *
 * Helper thread; reads files with pread.
 */
#ifndef VMM_KERNEL_H
#define VMM_KERNEL_H

#include <stdint.h>

struct err;
struct gmem;

enum boot_protocol {
	BOOT_LINUX64, /* long mode, rsi = zero page */
	BOOT_PVH,     /* 32-bit protected mode, ebx = start info */
};

/* Bytes from 0x1f1 of a bzImage's setup header that the zero page repeats. */
#define SETUP_HEADER_OFFSET 0x1f1
#define SETUP_HEADER_MAX    0x8f

struct kernel {
	enum boot_protocol protocol;
	uint64_t entry_gpa;
	uint64_t
		end_gpa; /* first byte after it with bss, in the first region */
	uint8_t setup_header[SETUP_HEADER_MAX]; /* of a bzImage */
	uint32_t setup_header_len;		/* 0 for an ELF file */
};

struct initrd {
	uint64_t gpa;
	uint64_t bytes; /* 0: none */
};

/*
 * Load the kernel in file fd; -ENOEXEC for a file that is not a kernel, or not
 * one that fits. Guest RAM must be fresh: what a segment has in memory but not
 * in the file is left as it is, zero. Errors carry Firecracker's texts ("Kernel
 * Loader: failed to load ELF kernel image: Kernel Loader: Unable to read elf
 * header", ...), without the prefix of the caller.
 */
int kernel_load(struct kernel *k, const struct gmem *m, int fd, struct err *e);

/*
 * Load the file into the end of the first region, page-aligned, above the
 * kernel. Errors: "Cannot load initrd due to an invalid memory configuration.."
 * or "... due to an invalid image: <os error>."; all stops are Firecracker's.
 */
int initrd_load(struct initrd *i, const struct gmem *m, const struct kernel *k,
		int fd, struct err *e);

#endif
