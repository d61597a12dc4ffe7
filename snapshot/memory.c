/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/memory.h"

#include <errno.h>
#include <stdbool.h>
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
#include "snapshot/file.h"
#include "snapshot/target.h"
#include "vmm/gmem.h"

#define PAGE_BYTES  4096
#define CHUNK_PAGES (MEMORY_CHUNK_BYTES / PAGE_BYTES)

static const uint8_t zero_page[PAGE_BYTES];

/* One chunk on its way to the file. */
struct chunk {
	const uint8_t *data;
	size_t pages;
	uint64_t offset;	       /* in the file */
	unsigned char in[CHUNK_PAGES]; /* mincore(2): bit 0, it is there */
};

uint32_t memory_chunks(const struct gmem *m)
{
	return (uint32_t)((m->bytes + MEMORY_CHUNK_BYTES - 1) /
			  MEMORY_CHUNK_BYTES);
}

/*
 * A page of private anonymous memory that is not resident is zero or swapped
 * out: without swap, zero. Of a file it says whether the page cache has it.
 */
static bool absent_is_zero(const struct gmem *m)
{
	struct sysinfo info;

	return m->anonymous && sysinfo(&info) == 0 && info.totalswap == 0;
}

static bool is_zero(const uint8_t *page)
{
	return memcmp(page, zero_page, PAGE_BYTES) == 0;
}

static int write_all(int fd, const uint8_t *p, size_t len, uint64_t offset,
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

/* Whether a page has to be written; what it holds goes into the digest. */
static bool take_page(const struct chunk *c, size_t i, uint32_t *crc)
{
	const uint8_t *page = c->data + i * PAGE_BYTES;
	bool data = (c->in[i] & 1) && !is_zero(page);

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
		ret = write_all(fd, c->data + start * PAGE_BYTES,
				(i - start) * PAGE_BYTES,
				c->offset + start * PAGE_BYTES, e);
		start = i + 1;
	}
	if (ret < 0)
		return ret;
	return write_all(fd, c->data + start * PAGE_BYTES,
			 (i - start) * PAGE_BYTES,
			 c->offset + start * PAGE_BYTES, e);
}

static bool nothing_in(const struct chunk *c)
{
	for (size_t i = 0; i < c->pages; i++) {
		if (c->in[i] & 1)
			return false;
	}
	return true;
}

int memory_write(const struct gmem *m, int fd, uint32_t *crc, struct err *e)
{
	/* Regions follow one another in the address space, as in the file. */
	const uint8_t *base = m->region[0].hva;
	bool skip = absent_is_zero(m);
	uint32_t empty = 0; /* digest of an empty chunk, once there was one */
	struct chunk c;
	int ret = 0;

	if (ftruncate(fd, (off_t)m->bytes) < 0)
		return err_sys(e, "Cannot perform truncate on the memory "
				  "backing file");
	for (uint64_t at = 0; ret == 0 && at < m->bytes;
	     at += sizeof(c.in) * PAGE_BYTES) {
		size_t len = MIN(m->bytes - at, (uint64_t)MEMORY_CHUNK_BYTES);

		c.data = base + at;
		c.pages = len / PAGE_BYTES;
		c.offset = at;
		if (!skip || mincore((void *)(uintptr_t)c.data, len, c.in) < 0)
			memset(c.in, 1, sizeof(c.in));
		if (len == MEMORY_CHUNK_BYTES && nothing_in(&c) && empty)
			*crc = empty;
		else
			ret = write_chunk(&c, fd, crc, e);
		if (len == MEMORY_CHUNK_BYTES && nothing_in(&c))
			empty = *crc;
		crc++;
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
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size >= f->mem_bytes)
		return fd_steal(&fd);
	return err_set(e, -EINVAL,
		       "Failed to restore guest memory: Total sum of memory "
		       "regions exceeds largest possible file offset");
}
