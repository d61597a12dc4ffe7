/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/origin.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"

/* ---- the host ---- */

void origin_host_set(struct origin_host *h, const char *release)
{
	*h = (struct origin_host){0};
	memcpy(h->release, release, strnlen(release, ORIGIN_RELEASE_MAX));
}

int origin_host_read(struct origin_host *h, struct err *e)
{
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "Release of the host's kernel");
	origin_host_set(h, u.release);
	return 0;
}

void origin_host_describe(struct origin_host *h, struct archive *a)
{
	archive_bytes(a, h->release, ORIGIN_RELEASE_MAX);
	h->release[ORIGIN_RELEASE_MAX] = '\0';
	for (const char *p = h->release; *p; p++) {
		if (*p <= ' ' || *p > '~')
			a->failed = true;
	}
}

bool origin_host_is_older(const struct origin_host *h,
			  const struct origin_host *than)
{
	const char *a = h->release, *b = than->release;

	for (int i = 0; i < 3; i++) {
		char *end_a, *end_b;
		unsigned long x = strtoul(a, &end_a, 10);
		unsigned long y = strtoul(b, &end_b, 10);

		if (x != y)
			return x < y;
		if (*end_a != '.' || *end_b != '.')
			return false;
		a = end_a + 1;
		b = end_b + 1;
	}
	return false;
}

/* ---- files ---- */

int origin_file_read(struct origin_file *f, int fd, struct err *e)
{
	struct stat st;
	off_t bytes = lseek(fd, 0, SEEK_END); /* also of a block device */

	if (bytes < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "Size and time of a drive's file");
	*f = (struct origin_file){
		.bytes = (uint64_t)bytes,
		.inode = st.st_ino,
		.mtime_s = (uint64_t)st.st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st.st_mtim.tv_nsec,
	};
	return 0;
}

void origin_file_describe(struct origin_file *f, struct archive *a)
{
	archive_u64(a, &f->bytes);
	archive_u64(a, &f->inode);
	archive_u64(a, &f->mtime_s);
	archive_u32(a, &f->mtime_ns);
}

struct list {
	char *text;
	size_t n, at;
};

__attribute__((format(printf, 2, 3))) static void put(struct list *l,
						      const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(l->text + l->at, l->n - l->at, fmt, args);
	va_end(args);
	if (len > 0)
		l->at = MIN(l->at + (size_t)len, l->n - 1);
}

bool origin_file_differs(const struct origin_file *was,
			 const struct origin_file *now, bool size_only,
			 char *text, size_t n)
{
	struct list l = {.text = text, .n = n};

	if (was->bytes != now->bytes)
		put(&l, "%" PRIu64 " bytes, were %" PRIu64, now->bytes,
		    was->bytes);
	if (!size_only && was->inode != now->inode)
		put(&l, "%sinode %" PRIu64 ", was %" PRIu64, l.at ? "; " : "",
		    now->inode, was->inode);
	if (!size_only &&
	    (was->mtime_s != now->mtime_s || was->mtime_ns != now->mtime_ns))
		put(&l,
		    "%schanged at %" PRIu64 ".%09" PRIu32 ", was at %" PRIu64
		    ".%09" PRIu32,
		    l.at ? "; " : "", now->mtime_s, now->mtime_ns, was->mtime_s,
		    was->mtime_ns);
	return l.at > 0;
}
