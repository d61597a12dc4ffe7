/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/protect.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/uffd.h"

#define PAGE_BYTES 4096

/* Regions follow one another in the address space. */
static struct uffdio_range all_of(const struct gmem *m)
{
	return (struct uffdio_range){
		.start = (uintptr_t)m->region[0].hva,
		.len = m->bytes,
	};
}

int protect_open(struct protect *p, const struct gmem *m, struct err *e)
{
	int ret;

	*p = (struct protect){
		.mem = m,
		.fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP, false, e),
	};
	/*
	 * Not MISSING: what is not there needs no protection, and a guest that
	 * takes new pages shall not wait.
	 */
	ret = p->fd < 0 ? p->fd
			: uffd_register(p->fd, m, UFFDIO_REGISTER_MODE_WP, e);
	if (ret == 0)
		return 0;
	protect_close(p);
	e->code = -ENOTSUP;
	return e->code;
}

static int change(struct protect *p, struct uffdio_range range, uint64_t mode,
		  struct err *e)
{
	struct uffdio_writeprotect wp = {.range = range, .mode = mode};

	/* EAGAIN: the mappings of the process are changing. */
	while (ioctl(p->fd, UFFDIO_WRITEPROTECT, &wp) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, "UFFDIO_WRITEPROTECT");
	}
	return 0;
}

/* Places are those in the order of addresses, as in the memory file. */
static struct uffdio_range part_of(const struct gmem *m, uint64_t offset,
				   uint64_t bytes)
{
	return (struct uffdio_range){
		.start = all_of(m).start + offset,
		.len = bytes,
	};
}

int protect_start(struct protect *p, uint64_t offset, uint64_t bytes,
		  struct err *e)
{
	return change(p, part_of(p->mem, offset, bytes),
		      UFFDIO_WRITEPROTECT_MODE_WP, e);
}

int protect_waiting(struct protect *p, uint64_t *offset, struct err *e)
{
	struct uffdio_range all = all_of(p->mem);
	struct uffd_msg msg;
	ssize_t n = read(p->fd, &msg, sizeof(msg));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_sys(e, "userfaultfd: read");
	if (n != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT ||
	    msg.arg.pagefault.address - all.start >= all.len)
		return err_set(e, -EPROTO, "userfaultfd: event 0x%x",
			       msg.event);
	*offset = (msg.arg.pagefault.address - all.start) &
		  ~(uint64_t)(PAGE_BYTES - 1);
	return 1;
}

int protect_release(struct protect *p, uint64_t offset, uint64_t bytes,
		    struct err *e)
{
	return change(p, part_of(p->mem, offset, bytes), 0, e);
}

void protect_close(struct protect *p)
{
	/* The kernel unprotects, and wakes who waits, with the last of it. */
	fd_close(&p->fd);
}
