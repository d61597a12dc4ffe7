/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "base/zero.h"
#include "snapshot/file.h"
#include "snapshot/partial.h"
#include "snapshot/target.h"
#include "vmm/dirty.h"
#include "vmm/gmem.h"

#define PAGE_BYTES  DIRTY_PAGE_BYTES
#define CHUNK_PAGES (MEMORY_CHUNK_BYTES / PAGE_BYTES)
#define CHUNK_WORDS (CHUNK_PAGES / 64)

/* Read of a file at a time: less than a cache holds. */
#define COMPARE_BYTES ((size_t)(128 * KIB))

#define READ_BASE "Cannot read the memory file that RAM is mapped from"

static const uint8_t zero_page[PAGE_BYTES];

/* One chunk of RAM. */
struct chunk {
	const uint8_t *data;
	size_t pages;
	uint64_t offset;	       /* in the file */
	bool empty;		       /* no page is there */
	unsigned char in[CHUNK_PAGES]; /* mincore(2): bit 0, it is there */
};

uint32_t memory_chunks(const struct gmem *m)
{
	return (uint32_t)((m->bytes + MEMORY_CHUNK_BYTES - 1) /
			  MEMORY_CHUNK_BYTES);
}

bool memory_no_swap(void)
{
	struct sysinfo info;

	return sysinfo(&info) == 0 && info.totalswap == 0;
}

/*
 * A page of private anonymous memory that is not resident is zero or swapped
 * out: without swap, zero. Of a file it says whether the page cache has it.
 */
static bool absent_is_zero(const struct gmem *m)
{
	return m->anonymous && memory_no_swap();
}

bool memory_is_zero(const uint8_t *page)
{
	return is_zero(page, PAGE_BYTES);
}

/* Chunk i, and, if asked, which of its pages are there; or all. */
static void take_chunk(struct chunk *c, const struct gmem *m, uint32_t i,
		       bool look)
{
	uint64_t at = (uint64_t)i * MEMORY_CHUNK_BYTES;
	size_t len = MIN(m->bytes - at, (uint64_t)MEMORY_CHUNK_BYTES);

	/* Regions follow one another in the address space, as in the file. */
	c->data = m->region[0].hva + at;
	c->pages = len / PAGE_BYTES;
	c->offset = at;
	if (!look || mincore((void *)(uintptr_t)c->data, len, c->in) < 0)
		memset(c->in, 1, sizeof(c->in));
	c->empty = true;
	for (size_t p = 0; c->empty && p < c->pages; p++)
		c->empty = !(c->in[p] & 1);
}

int memory_put(int fd, const uint8_t *p, size_t len, uint64_t offset,
	       struct err *e)
{
	while (len > 0) {
		/* pwritev(), which filters allow already, for pwrite(). */
		struct iovec v = {.iov_base = (void *)(uintptr_t)p,
				  .iov_len = len};
		ssize_t n = pwritev(fd, &v, 1, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "Cannot write memory file");
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* ---- all of it ---- */

/* Whether a page has to be written; what it holds goes into the digest. */
static bool take_page(const struct chunk *c, size_t i, uint32_t *crc)
{
	const uint8_t *page = c->data + i * PAGE_BYTES;
	bool data = (c->in[i] & 1) && !memory_is_zero(page);

	*crc = crc32c(*crc, data ? page : zero_page, PAGE_BYTES);
	return data;
}

static int write_chunk(const struct chunk *c, int fd, uint32_t *crc,
		       struct err *e)
{
	size_t start = 0, i;
	int ret = 0;

	*crc = 0;
	for (i = 0; ret == 0 && i < c->pages; i++) {
		if (take_page(c, i, crc))
			continue;
		ret = memory_put(fd, c->data + start * PAGE_BYTES,
				 (i - start) * PAGE_BYTES,
				 c->offset + start * PAGE_BYTES, e);
		start = i + 1;
	}
	if (ret < 0)
		return ret;
	return memory_put(fd, c->data + start * PAGE_BYTES,
			  (i - start) * PAGE_BYTES,
			  c->offset + start * PAGE_BYTES, e);
}

static uint32_t digest_chunk(const struct chunk *c)
{
	uint32_t crc = 0;

	for (size_t i = 0; i < c->pages; i++)
		crc = crc32c(crc,
			     c->in[i] & 1 ? c->data + i * PAGE_BYTES
					  : zero_page,
			     PAGE_BYTES);
	return crc;
}

int memory_size(const struct gmem *m, int fd, struct err *e)
{
	if (ftruncate(fd, (off_t)m->bytes) < 0)
		return err_sys(e, "Cannot perform truncate on the memory "
				  "backing file");
	return 0;
}

int memory_write_chunk(const struct gmem *m, uint32_t i, int fd, uint32_t *crc,
		       uint32_t *empty, struct err *e)
{
	struct chunk c;
	bool whole;
	int ret = 0;

	take_chunk(&c, m, i, absent_is_zero(m));
	whole = c.pages == CHUNK_PAGES;
	if (c.empty && *empty && whole)
		*crc = *empty;
	else
		ret = write_chunk(&c, fd, crc, e);
	if (c.empty && whole)
		*empty = *crc;
	return ret;
}

int memory_write(const struct gmem *m, int fd, uint32_t *crc, struct err *e)
{
	uint32_t empty = 0;
	int ret = memory_size(m, fd, e);

	for (uint32_t i = 0; ret == 0 && i < memory_chunks(m); i++)
		ret = memory_write_chunk(m, i, fd, &crc[i], &empty, e);
	return ret;
}

/* ---- some pages ---- */

static int punch_hole(int fd, uint64_t offset, uint64_t bytes, struct err *e)
{
	if (bytes > 0 &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)offset, (off_t)bytes) < 0)
		return err_sys(e, "Cannot write memory file");
	return 0;
}

/* Runs of zeros, and of what is not, in turns. */
static int write_or_punch(int fd, const uint8_t *p, size_t len, uint64_t offset,
			  struct err *e)
{
	int ret = 0;

	while (ret == 0 && len > 0) {
		bool zero = memory_is_zero(p);
		size_t n = PAGE_BYTES;

		while (n < len && memory_is_zero(p + n) == zero)
			n += PAGE_BYTES;
		ret = zero ? punch_hole(fd, offset, n, e)
			   : memory_put(fd, p, n, offset, e);
		p += n;
		len -= n;
		offset += n;
	}
	return ret;
}

int memory_write_pages(const struct gmem *m, int fd, const uint64_t *pages,
		       bool punch, struct err *e)
{
	int (*put)(int, const uint8_t *, size_t, uint64_t, struct err *) =
		punch ? write_or_punch : memory_put;
	size_t at = 0, n;
	int ret = 0;

	while (ret == 0 && (n = dirty_run(pages, m, at, &at)) > 0) {
		ret = put(fd, m->region[0].hva + at * PAGE_BYTES,
			  n * PAGE_BYTES, at * PAGE_BYTES, e);
		at += n;
	}
	return ret;
}

bool memory_has_any(const uint64_t *pages, const struct gmem *m, uint32_t i)
{
	size_t first = (size_t)i * CHUNK_WORDS;
	uint64_t any = 0;

	for (size_t w = 0; w < CHUNK_WORDS && first + w < dirty_words(m); w++)
		any |= pages[first + w];
	return any != 0;
}

void memory_digest(const struct gmem *m, const uint64_t *pages, uint32_t *crc)
{
	bool look = absent_is_zero(m);
	uint32_t empty = 0;
	struct chunk c;

	for (uint32_t i = 0; i < memory_chunks(m); i++) {
		if (pages && !memory_has_any(pages, m, i))
			continue;
		take_chunk(&c, m, i, look);
		crc[i] = c.empty && empty && c.pages == CHUNK_PAGES
				 ? empty
				 : digest_chunk(&c);
		if (c.empty && c.pages == CHUNK_PAGES)
			empty = crc[i];
	}
}

void memory_resident(const struct gmem *m, uint64_t *map)
{
	bool look = memory_no_swap();
	struct chunk c;

	for (uint32_t i = 0; i < memory_chunks(m); i++) {
		take_chunk(&c, m, i, look);
		for (size_t p = 0; p < c.pages; p++) {
			if (c.in[p] & 1)
				dirty_add(map, (size_t)i * CHUNK_PAGES + p);
		}
	}
}

/* ---- what a file holds already ---- */

static int read_part(int fd, uint8_t *buf, size_t len, uint64_t offset,
		     struct err *e)
{
	while (len > 0) {
		struct iovec v = {.iov_base = buf, .iov_len = len};
		ssize_t n = preadv(fd, &v, 1, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, READ_BASE);
		if (n == 0)
			return err_code(e, -ENODATA, READ_BASE);
		buf += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int memory_compare(const struct gmem *m, int fd, uint8_t *buf, size_t at,
		   size_t n, uint64_t *map, struct err *e)
{
	const uint8_t *ram = m->region[0].hva + at * PAGE_BYTES;
	int ret = read_part(fd, buf, n * PAGE_BYTES, at * PAGE_BYTES, e);

	for (size_t i = 0; ret == 0 && i < n; i++) {
		if (memcmp(ram + i * PAGE_BYTES, buf + i * PAGE_BYTES,
			   PAGE_BYTES) != 0)
			dirty_add(map, at + i);
	}
	return ret;
}

/*
 * A page of a private mapping that is not in the page cache either has never
 * been written to, and need not be read. All are looked at before the first is
 * read: reading brings those behind it there.
 */
int memory_differs(const struct gmem *m, int fd, uint64_t *map, struct err *e)
{
	cleanup_free uint8_t *buf = malloc(COMPARE_BYTES);
	cleanup_free uint64_t *there = dirty_map(m);
	size_t at = 0, n;
	int ret = 0;

	if (!buf || !there)
		return err_code(e, -ENOMEM, "Memory to compare by");
	memory_resident(m, there);
	while (ret == 0 && (n = dirty_run(there, m, at, &at)) > 0) {
		n = MIN(n, COMPARE_BYTES / PAGE_BYTES);
		ret = memory_compare(m, fd, buf, at, n, map, e);
		at += n;
	}
	return ret;
}

int memory_open(const char *path, const struct state_file *f, struct err *e)
{
	cleanup_fd int fd = target_read(path, state_number(f));
	struct stat st;

	if (fd < 0)
		return err_code(e, fd, "Failed to load guest memory");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "Failed to load guest memory");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < f->mem_bytes)
		return err_set(e, -EINVAL,
			       "Failed to restore guest memory: Total sum of "
			       "memory regions exceeds largest possible file "
			       "offset");
	if (partial_check(f, fd, e) < 0)
		return err_wrap(e, "Failed to restore guest memory: ");
	return fd_steal(&fd);
}
