/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/gmem.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/x86/layout.h"

#define HUGE_BYTES (2 * MIB)

int gmem_reserve(struct gmem *m, uint64_t bytes, struct err *e)
{
	uint64_t low = MIN(bytes, (uint64_t)GPA_GAP);
	uint64_t total;
	uint8_t *base;
	void *p;

	*m = (struct gmem){0};
	if (bytes > LLONG_MAX - HUGE_BYTES)
		return err_set(e, -EFBIG,
			       "Total sum of memory regions exceeds largest "
			       "possible file offset");
	/* Room to start at a 2 MiB boundary: hugetlbfs needs it, THP likes it.
	 */
	total = bytes + HUGE_BYTES;
	p = mmap(NULL, total, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "Cannot create mmap region");
	m->reserved = p;
	m->reserved_bytes = total;
	base = (uint8_t *)ALIGN_UP((uintptr_t)p, HUGE_BYTES);
	m->region[0] = (struct gmem_region){.bytes = low, .hva = base};
	m->n_regions = 1;
	if (bytes > low) {
		m->region[1] = (struct gmem_region){
			.gpa = GPA_GAP_END,
			.bytes = bytes - low,
			.hva = base + low,
		};
		m->n_regions = 2;
	}
	m->bytes = bytes;
	return 0;
}

/*
 * A MAP_FIXED that failed may have removed what was there, and another thread
 * may have mapped something into the hole: it is no longer ours to unmap.
 */
static void leave_hole(struct gmem *m)
{
	uint8_t *start = m->reserved;
	uint8_t *base = m->region[0].hva;
	uint8_t *end = base + m->bytes;

	if (base > start)
		(void)munmap(start, (size_t)(base - start));
	if (end < start + m->reserved_bytes)
		(void)munmap(end, (size_t)(start + m->reserved_bytes - end));
	*m = (struct gmem){0};
}

static int back(struct gmem *m, int flags, int fd, size_t page_bytes,
		struct err *e)
{
	uint8_t *base = m->region[0].hva;

	if (mmap(base, m->bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | flags, fd, 0) == MAP_FAILED) {
		(void)err_sys(e, "Cannot create mmap region");
		leave_hole(m);
		return e->code;
	}
	/* A core file of the monitor must not hold the guest's secrets. */
	(void)madvise(base, m->bytes, MADV_DONTDUMP);
	m->anonymous = flags & MAP_ANONYMOUS;
	m->page_bytes = page_bytes;
	return 0;
}

int gmem_back(struct gmem *m, enum gmem_backing backing, struct err *e)
{
	if (backing == GMEM_HUGE_2M)
		return back(
			m, MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT),
			-1, HUGE_BYTES, e);
	return back(m, MAP_ANONYMOUS | MAP_NORESERVE, -1, GMEM_PAGE_BYTES, e);
}

int gmem_back_file(struct gmem *m, int fd, struct err *e)
{
	size_t page = gmem_file_page(fd);

	if (page > HUGE_BYTES || m->bytes % page != 0)
		return err_set(e, -EINVAL,
			       "The memory file has pages of %zu bytes; RAM is "
			       "%llu bytes and can be of pages of 4096 or, if "
			       "they divide it, 2097152",
			       page, (unsigned long long)m->bytes);
	return back(m, page == GMEM_PAGE_BYTES ? MAP_NORESERVE : 0, fd, page,
		    e);
}

size_t gmem_file_page(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) == 0 && st.f_type == HUGETLBFS_MAGIC)
		return (size_t)st.f_bsize;
	return GMEM_PAGE_BYTES;
}

void gmem_exit(struct gmem *m)
{
	if (m->reserved)
		(void)munmap(m->reserved, m->reserved_bytes);
	*m = (struct gmem){0};
}

void gmem_mark_pages(const struct gmem *m, const void *p, size_t len)
{
	/* Regions follow one another in the address space. */
	uint64_t at = (uint64_t)((uintptr_t)p - (uintptr_t)m->region[0].hva);

	if (len == 0 || !num_inside(at, len, m->bytes))
		return;
	for (uint64_t n = at / GMEM_PAGE_BYTES;
	     n <= (at + len - 1) / GMEM_PAGE_BYTES; n++) {
		/* A full barrier too: the write is seen before its mark. */
		(void)__atomic_fetch_or(&m->marks[n / 64],
					(uint64_t)1 << (n % 64),
					__ATOMIC_RELEASE);
	}
}

void gmem_mark_iov(const struct gmem *m, const struct iovec *v, uint64_t bytes)
{
	while (m->marks && bytes > 0) {
		size_t part = MIN(v->iov_len, bytes);

		gmem_mark_pages(m, v->iov_base, part);
		bytes -= part;
		v++;
	}
}

void *gmem_ptr(const struct gmem *m, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < m->n_regions; i++) {
		const struct gmem_region *r = &m->region[i];

		if (gpa >= r->gpa && num_inside(gpa - r->gpa, len, r->bytes))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

bool gmem_valid(const struct gmem *m, uint64_t gpa, uint64_t len)
{
	return gmem_ptr(m, gpa, len) != NULL;
}

int gmem_read(const struct gmem *m, uint64_t gpa, void *dst, size_t len)
{
	const void *src = gmem_ptr(m, gpa, len);

	if (!src)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

int gmem_write(const struct gmem *m, uint64_t gpa, const void *src, size_t len)
{
	void *dst = gmem_ptr(m, gpa, len);

	if (!dst)
		return -EFAULT;
	memcpy(dst, src, len);
	gmem_mark(m, dst, len);
	return 0;
}
