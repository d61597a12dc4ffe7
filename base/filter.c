/* SPDX-License-Identifier: Apache-2.0 */
#include "base/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"

_Static_assert(sizeof(struct filter_header) == 32, "as documented");
_Static_assert(sizeof(struct sock_filter) == 8, "as in the kernel's ABI");

int filter_add(const struct filter *f)
{
	struct sock_fprog program = {
		.len = (unsigned short)f->n,
		.filter = (struct sock_filter *)(uintptr_t)f->code,
	};

	if (f->n == 0)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	return 0;
}

int filter_first(const struct filter *f)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return filter_add(f);
}

static int refuse(struct err *e, const char *why)
{
	return err_set(e, -EINVAL,
		       "%s; mayflyctl seccomp-compile makes such files", why);
}

/* Lengths that the file keeps; its size is then fixed. */
static bool lengths_hold(const struct filter_header *h, size_t len)
{
	size_t total = sizeof(*h);

	for (size_t i = 0; i < ARRAY_LEN(h->n); i++) {
		if (h->n[i] == 0 || h->n[i] > FILTER_MAX_CODE)
			return false;
		total += h->n[i] * sizeof(struct sock_filter);
	}
	return total == len && h->zero == 0;
}

int filter_parse(struct filter filter[FILTER_ROLES], const void *file,
		 size_t len, struct err *e)
{
	const uint8_t *p = file;
	const struct sock_filter *code;
	struct filter_header h;

	if (len < sizeof(h) || memcmp(p, FILTER_MAGIC, sizeof(h.magic)) != 0)
		return refuse(e, "Not a filter file");
	memcpy(&h, p, sizeof(h));
	if (h.version != FILTER_VERSION)
		return err_set(e, -EINVAL,
			       "A filter file of version %u; this program "
			       "takes version %d",
			       h.version, FILTER_VERSION);
	if (!lengths_hold(&h, len))
		return refuse(e, "A filter file of wrong lengths");
	if (h.crc != crc32c(0, p + offsetof(struct filter_header, n),
			    len - offsetof(struct filter_header, n)))
		return refuse(e, "A filter file with a wrong checksum");
	code = (const struct sock_filter *)(const void *)(p + sizeof(h));
	for (size_t i = 0; i < ARRAY_LEN(h.n); i++) {
		filter[FILTER_MAIN + i] = (struct filter){code, h.n[i]};
		code += h.n[i];
	}
	return 0;
}
