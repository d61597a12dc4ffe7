/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/partial.h"

#include <errno.h>
#include <sys/uio.h>

#include "base/archive.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/sections.h"
#include "vmm/dirty.h"

#define PAGE_BYTES DIRTY_PAGE_BYTES

static bool has_page(int fd, uint64_t page, uint32_t crc)
{
	uint8_t buf[PAGE_BYTES];
	struct iovec v = {.iov_base = buf, .iov_len = sizeof(buf)};

	return preadv(fd, &v, 1, (off_t)(page * PAGE_BYTES)) == sizeof(buf) &&
	       crc32c(0, buf, sizeof(buf)) == crc;
}

bool partial_has_all(const struct partial *p, int fd)
{
	for (uint64_t i = 0; i < p->n; i++) {
		if (!has_page(fd, p->of[i].page, p->of[i].crc))
			return false;
	}
	return true;
}

static void describe(struct partial *p, struct archive *a)
{
	archive_u64(a, &p->n);
	if (p->n > PARTIAL_PAGES)
		a->failed = true;
	for (uint64_t i = 0; !a->failed && i < p->n; i++) {
		archive_u64(a, &p->of[i].page);
		archive_u32(a, &p->of[i].crc);
	}
}

void partial_add(struct partial *p, struct state_file *f)
{
	struct archive a = state_begin(f, TAG_DIFF, 0, STATE_REQUIRED);

	describe(p, &a);
	state_end(f, &a);
}

int partial_check(const struct state_file *f, int fd, struct err *e)
{
	struct archive a = state_find(f, TAG_DIFF, 0);
	struct partial p = {0};

	if (a.failed) /* not there: the file is whole */
		return 0;
	describe(&p, &a);
	for (uint64_t i = 0; archive_ok(&a) && i < p.n; i++)
		a.failed = p.of[i].page >= f->mem_bytes / PAGE_BYTES;
	if (!archive_ok(&a))
		return err_set(e, -EBADMSG,
			       "The section of the Diff is broken");
	if (partial_has_all(&p, fd))
		return 0;
	return err_set(e, -ENODATA,
		       "The memory file is a Diff: it has to be merged over "
		       "the file of the snapshot before it");
}
