/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/memfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/memory.h"

#define EVERY_NS   (200 * NS_PER_MS)
#define STEP_BYTES (16 * MIB) /* copied at once, then said */

/* ---- progress ---- */

struct progress progress_begin(const char *what, uint64_t total)
{
	return (struct progress){
		.what = what, .total = total, .on = isatty(STDERR_FILENO)};
}

static void progress_at(struct progress *p, uint64_t done)
{
	uint64_t now;

	p->done = done;
	if (!p->on)
		return;
	now = clock_now_ns();
	if (now < p->next_ns)
		return;
	p->next_ns = now + EVERY_NS;
	(void)fprintf(
		stderr, "\r%s: %3llu %%", p->what,
		(unsigned long long)(p->total ? done * 100 / p->total : 100));
}

void progress_end(const struct progress *p)
{
	if (p->on && p->next_ns)
		(void)fprintf(stderr, "\r\033[K");
}

/* ---- ranges ---- */

/*
 * The next range with data from *at on, in [*at, *end); false: there is none.
 * A file system without holes says that all is data.
 */
static int next_data(int fd, uint64_t bytes, uint64_t *at, uint64_t *end,
		     struct err *e)
{
	off_t start = lseek(fd, (off_t)*at, SEEK_DATA);
	off_t stop;

	if (start < 0 && errno == ENXIO)
		return 0;
	if (start < 0)
		return err_sys(e, "Cannot look for data");
	if ((uint64_t)start >= bytes)
		return 0;
	stop = lseek(fd, start, SEEK_HOLE);
	if (stop < 0)
		return err_sys(e, "Cannot look for holes");
	*at = (uint64_t)start;
	*end = MIN((uint64_t)stop, bytes);
	return 1;
}

static int read_all(int fd, uint8_t *p, size_t len, uint64_t at, struct err *e)
{
	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "Cannot read");
		if (n == 0)
			return err_set(e, -EIO, "The file has become shorter");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *p, size_t len, uint64_t at,
		     struct err *e)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "Cannot write");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- digests ---- */

uint32_t memfile_chunks(uint64_t bytes)
{
	return (uint32_t)((bytes + MEMORY_CHUNK_BYTES - 1) /
			  MEMORY_CHUNK_BYTES);
}

int memfile_digests(int fd, uint64_t bytes, uint32_t *crc, struct progress *p,
		    struct err *e)
{
	cleanup_free uint8_t *buf = calloc(1, MEMORY_CHUNK_BYTES);
	uint64_t start = 0, end = 0; /* of the data at hand */
	uint32_t empty;
	int ret = 1;

	if (!buf)
		return err_code(e, -ENOMEM, "Room for a chunk");
	empty = crc32c(0, buf, MEMORY_CHUNK_BYTES);
	for (uint64_t at = 0; at < bytes; at += MEMORY_CHUNK_BYTES) {
		size_t len = MIN(bytes - at, (uint64_t)MEMORY_CHUNK_BYTES);

		if (ret > 0 && end <= at) {
			start = at;
			ret = next_data(fd, bytes, &start, &end, e);
			if (ret < 0)
				return ret;
		}
		if (len == MEMORY_CHUNK_BYTES &&
		    (ret == 0 || start >= at + len)) {
			*crc++ = empty;
			continue;
		}
		if (read_all(fd, buf, len, at, e) < 0)
			return e->code;
		*crc++ = crc32c(0, buf, len);
		progress_at(p, at);
	}
	return 0;
}

/* ---- copies ---- */

/* By reading and writing, where the kernel cannot. */
static int copy_slowly(int from, int to, uint64_t at, uint64_t len,
		       struct err *e)
{
	cleanup_free uint8_t *buf = malloc(MEMORY_CHUNK_BYTES);
	int ret = buf ? 0 : err_code(e, -ENOMEM, "Room for a chunk");

	while (ret == 0 && len > 0) {
		size_t n = MIN(len, (uint64_t)MEMORY_CHUNK_BYTES);

		ret = read_all(from, buf, n, at, e);
		if (ret == 0)
			ret = write_all(to, buf, n, at, e);
		at += n;
		len -= n;
	}
	return ret;
}

static int copy_range(int from, int to, uint64_t at, uint64_t len,
		      struct err *e)
{
	while (len > 0) {
		off_t in = (off_t)at, out = (off_t)at;
		ssize_t n = copy_file_range(from, &in, to, &out, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ENOSPC || errno == EIO))
			return err_sys(e, "Cannot copy");
		if (n <= 0)
			return copy_slowly(from, to, at, len, e);
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int memfile_lay_over(int from, int to, uint64_t bytes, struct progress *p,
		     struct err *e)
{
	uint64_t at = 0, end = 0;
	int ret;

	while ((ret = next_data(from, bytes, &at, &end, e)) > 0) {
		while (at < end) {
			uint64_t n = MIN(end - at, (uint64_t)STEP_BYTES);

			if (copy_range(from, to, at, n, e) < 0)
				return e->code;
			at += n;
			progress_at(p, at);
		}
	}
	return ret;
}
