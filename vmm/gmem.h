/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.h: guest RAM, the only way to it.
 *
 * RAM is at most two regions in one reserved range of address space: [0, up to
 * 3 GiB) and, for what does not fit below the MMIO gap, [4 GiB, ...). A gpa is
 * a number; only this module turns it into an address, and every function
 * checks the whole [gpa, gpa + len) against one region: nothing spans a hole,
 * and device windows are not RAM.
 *
 * The guest writes RAM while we read it: copy once, check the copy, use the
 * copy. Any thread; the regions do not change while vCPUs run.
 */
#ifndef VMM_GMEM_H
#define VMM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;

#define GMEM_MAX_REGIONS 2
#define GMEM_PAGE_BYTES	 4096

enum gmem_backing {
	GMEM_ANON,    /* private anonymous pages */
	GMEM_HUGE_2M, /* private 2 MiB pages of hugetlbfs */
};

struct gmem_region {
	uint64_t gpa;
	uint64_t bytes;
	uint8_t *hva;
};

struct gmem {
	struct gmem_region region[GMEM_MAX_REGIONS];
	unsigned int n_regions;
	uint64_t bytes;	   /* of all regions */
	bool anonymous;	   /* what was never touched is zero, and not there */
	size_t page_bytes; /* of what is under it */
	void *reserved;	   /* the range of address space, NULL if not ours */
	size_t reserved_bytes;
	uint64_t *marks; /* see gmem_mark(); NULL: nobody asks */
};

/*
 * Reserve address space for `bytes` of RAM (a multiple of 4 KiB, not 0) and
 * lay the regions out in it. No memory is committed.
 */
int gmem_reserve(struct gmem *m, uint64_t bytes, struct err *e);

/* Put memory under the reserved range. */
int gmem_back(struct gmem *m, enum gmem_backing backing, struct err *e);

/*
 * Put a file of exactly that many bytes under the range, privately: RAM in the
 * order of addresses. What the guest writes is its own; what it does not write
 * is shared with everybody who maps the file, which must not change. A file of
 * hugetlbfs gives RAM huge pages, as many as it has, set aside at once: there
 * is none to wait for, or to die for, when the guest writes.
 */
int gmem_back_file(struct gmem *m, int fd, struct err *e);

/* Bytes of a page of that file: GMEM_PAGE_BYTES, or those of its hugetlbfs. */
size_t gmem_file_page(int fd);

/* Release the range; accepts a zeroed or half-built object. */
void gmem_exit(struct gmem *m);

/* Whether [gpa, gpa + len) lies in one region of RAM. */
bool gmem_valid(const struct gmem *m, uint64_t gpa, uint64_t len);

/*
 * The address of [gpa, gpa + len), or NULL if it is not all in one region: for
 * handing payload to the kernel and for ring memory that is accessed by the
 * atomics below. Valid until gmem_exit().
 */
void *gmem_ptr(const struct gmem *m, uint64_t gpa, uint64_t len);

/* Copy; 0 or -EFAULT, and then nothing was copied. */
int gmem_read(const struct gmem *m, uint64_t gpa, void *dst, size_t len);
int gmem_write(const struct gmem *m, uint64_t gpa, const void *src, size_t len);

/*
 * Who writes through gmem_ptr() marks what was written, when it is: for
 * dirty.h, which may be reading the page meanwhile. What of it is not RAM is
 * ignored. gmem_write() marks by itself. Loop thread, or before vCPUs run.
 */
void gmem_mark_pages(const struct gmem *m, const void *p, size_t len);

static inline void gmem_mark(const struct gmem *m, const void *p, size_t len)
{
	if (m->marks)
		gmem_mark_pages(m, p, len);
}

/* The same for the first `bytes` of an array. */
void gmem_mark_iov(const struct gmem *m, const struct iovec *v, uint64_t bytes);

/*
 * Aligned little-endian fields that the guest's CPUs write or read meanwhile:
 * exactly one access of the field's width. p comes from gmem_ptr().
 */
static inline uint16_t gmem_load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

static inline uint16_t gmem_load16_acquire(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}

static inline void gmem_store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED);
}

static inline void gmem_store16_release(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}

static inline uint32_t gmem_load32(const void *p)
{
	return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}

static inline void gmem_store32(void *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED);
}

static inline uint64_t gmem_load64(const void *p)
{
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
}

#endif
