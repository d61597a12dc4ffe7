/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzimage.c: compressed kernels by the 64-bit Linux boot protocol
 * (Documentation/arch/x86/boot.rst, "64-bit BOOT PROTOCOL"). The real-mode part
 * is skipped; the kernel unpacks itself inside the init_size bytes from where
 * it is loaded.
 */
#include "vmm/x86/image.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/kernel.h"
#include "vmm/x86/layout.h"

#define PROTOCOL_2_12 0x020c /* the first with a 64-bit entry */
#define ENTRY_OFFSET  0x200
#define SECTOR_BYTES  512

/* The header ends where its jump instruction, at 0x200, goes to. */
#define JUMP_END 0x202

#define FAILED \
	"Kernel Loader: failed to load bzImage kernel image: Kernel Loader: "

#define refuse(e, ...) err_set((e), -ENOEXEC, FAILED __VA_ARGS__)

_Static_assert(sizeof(struct setup_header) <= SETUP_HEADER_MAX,
	       "a setup header must fit");
_Static_assert(offsetof(struct setup_header, header) == 0x202 - 0x1f1,
	       "layout of the setup header");
_Static_assert(offsetof(struct setup_header, init_size) == 0x260 - 0x1f1,
	       "layout of the setup header");

static int check_header(const struct setup_header *h, uint32_t len,
			struct err *e)
{
	if (h->boot_flag != 0xaa55)
		return refuse(e, "Invalid bzImage: boot flag 0x%04x",
			      h->boot_flag);
	if (h->version < PROTOCOL_2_12)
		return refuse(e,
			      "Invalid bzImage: boot protocol %u.%02u is older "
			      "than 2.12",
			      h->version >> 8, h->version & 0xffU);
	if (!(h->loadflags & LOADED_HIGH) || !(h->xloadflags & XLF_KERNEL_64))
		return refuse(e, "Invalid bzImage: no 64-bit entry");
	if (len < offsetof(struct setup_header, handover_offset) ||
	    len > SETUP_HEADER_MAX)
		return refuse(e, "Invalid bzImage: setup header of %u bytes",
			      len);
	return 0;
}

/* Where to load: the address that the kernel prefers, or the usual one. */
static int place(const struct setup_header *h, const struct gmem *m,
		 uint64_t bytes, struct kernel *k, struct err *e)
{
	uint64_t load = h->pref_address ? h->pref_address : GPA_KERNEL;
	uint64_t need = MAX(bytes, h->init_size);

	if (load < GPA_KERNEL ||
	    !num_inside(load, bytes, (uint64_t)BOOT_MAPPED_BYTES))
		return refuse(e,
			      "Invalid bzImage: load address 0x%" PRIx64
			      " is not in the first GiB above 0x%x",
			      load, GPA_KERNEL);
	if (!num_inside(load, need, m->region[0].bytes))
		return refuse(e,
			      "Unable to read kernel image: %" PRIu64
			      " bytes at 0x%" PRIx64 " do not fit in RAM",
			      need, load);
	k->entry_gpa = load + ENTRY_OFFSET;
	k->end_gpa = load + need;
	return 0;
}

static int load_payload(const struct setup_header *h, const struct gmem *m,
			int fd, struct kernel *k, struct err *e)
{
	uint64_t sects = h->setup_sects ? h->setup_sects : 4;
	uint64_t bytes = (uint64_t)h->syssize * 16;
	ssize_t n;
	int ret;

	if (bytes <= ENTRY_OFFSET)
		return refuse(e, "Invalid bzImage: %" PRIu64 " bytes of code",
			      bytes);
	ret = place(h, m, bytes, k, e);
	if (ret < 0)
		return ret;
	n = image_load(fd, m, k->entry_gpa - ENTRY_OFFSET, bytes,
		       (sects + 1) * SECTOR_BYTES);
	/* syssize is rounded up to 16 bytes, the file need not be. */
	if (n < 0 || (uint64_t)n + 15 < bytes)
		return refuse(e, "Unable to read bzImage compressed image");
	return 0;
}

int bzimage_load(struct kernel *k, const struct gmem *m, int fd, struct err *e)
{
	struct kernel found = {.protocol = BOOT_LINUX64};
	struct setup_header h = {0};
	uint32_t len;
	ssize_t n;
	int ret;

	n = image_read(fd, found.setup_header, sizeof(found.setup_header),
		       SETUP_HEADER_OFFSET);
	if (n < (ssize_t)sizeof(h))
		return refuse(e, "Unable to read bzImage header");
	memcpy(&h, found.setup_header, sizeof(h));
	len = JUMP_END + (h.jump >> 8) - SETUP_HEADER_OFFSET;
	ret = check_header(&h, len, e);
	if (ret < 0)
		return ret;
	ret = load_payload(&h, m, fd, &found, e);
	if (ret < 0)
		return ret;
	/* What follows the header in the file is code, not ours to repeat. */
	found.setup_header_len = len;
	if (len < sizeof(found.setup_header))
		memset(found.setup_header + len, 0,
		       sizeof(found.setup_header) - len);
	*k = found;
	return 0;
}
