/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kernel.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/x86/image.h"
#include "vmm/x86/layout.h"

#define NOT_A_KERNEL \
	"Kernel Loader: failed to load ELF kernel image: Kernel Loader: "
#define BAD_INITRD "Cannot load initrd due to an invalid "

#define HDRS_OFFSET 0x202
#define PAGE_BYTES  4096ULL

ssize_t image_read(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	if (offset > INT64_MAX - len)
		return 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t image_load(int fd, const struct gmem *m, uint64_t gpa, size_t len,
		   uint64_t offset)
{
	void *p = gmem_ptr(m, gpa, len);
	ssize_t n = image_read(fd, p, len, offset);

	gmem_mark(m, p, len);
	return n;
}

int kernel_load(struct kernel *k, const struct gmem *m, int fd, struct err *e)
{
	unsigned char head[HDRS_OFFSET + 4];
	ssize_t n = image_read(fd, head, sizeof(head), 0);

	if (n < (ssize_t)sizeof(Elf64_Ehdr))
		return err_set(e, -ENOEXEC,
			       NOT_A_KERNEL "Unable to read elf header");
	if (memcmp(head, ELFMAG, SELFMAG) == 0)
		return elf_load(k, m, fd, e);
	if (n == (ssize_t)sizeof(head) &&
	    memcmp(head + HDRS_OFFSET, "HdrS", 4) == 0)
		return bzimage_load(k, m, fd, e);
	return err_set(e, -ENOEXEC, NOT_A_KERNEL "Invalid Elf magic number");
}

static int bad_image(struct err *e, int os_err)
{
	char os[96];

	err_os_text(os_err, os, sizeof(os));
	return err_set(e, -os_err, BAD_INITRD "image: %s.", os);
}

int initrd_load(struct initrd *i, const struct gmem *m, const struct kernel *k,
		int fd, struct err *e)
{
	const struct gmem_region *low = &m->region[0];
	uint64_t floor, bytes, gpa;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return bad_image(e, errno);
	bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0;
	floor = ALIGN_UP(MAX(k->end_gpa, (uint64_t)GPA_KERNEL), PAGE_BYTES);
	if (bytes == 0 || bytes > low->bytes)
		return err_set(e, -ENOMEM, BAD_INITRD "memory configuration..");
	gpa = (low->bytes - bytes) & ~(PAGE_BYTES - 1);
	if (gpa < floor)
		return err_set(e, -ENOMEM, BAD_INITRD "memory configuration..");

	n = image_load(fd, m, gpa, bytes, 0);
	if (n < 0)
		return bad_image(e, (int)-n);
	if ((uint64_t)n < bytes)
		return err_set(e, -ENODATA,
			       BAD_INITRD
			       "image: failed to fill whole buffer.");
	i->gpa = gpa;
	i->bytes = bytes;
	return 0;
}
