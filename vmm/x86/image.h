/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h: the kernel file formats behind kernel_load().
 *
 * Each fills *k only when it succeeds. Errors are texts for the user, complete
 * as kernel.h describes them.
 */
#ifndef VMM_X86_IMAGE_H
#define VMM_X86_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct gmem;
struct kernel;

/* An ELF file; fd begins with the ELF magic number. */
int elf_load(struct kernel *k, const struct gmem *m, int fd, struct err *e);

/* A bzImage; fd has "HdrS" where a setup header has it. */
int bzimage_load(struct kernel *k, const struct gmem *m, int fd, struct err *e);

/*
 * Read len bytes at offset: the number read, which is less than len only at
 * the end of the file, or a negative errno.
 */
ssize_t image_read(int fd, void *buf, size_t len, uint64_t offset);

/* The same into RAM, of which [gpa, gpa + len) was checked. */
ssize_t image_load(int fd, const struct gmem *m, uint64_t gpa, size_t len,
		   uint64_t offset);

#endif
