/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "vmm/gmem.h"

static int make(bool may_call, struct err *e)
{
	cleanup_fd int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	unsigned long flags = O_CLOEXEC | O_NONBLOCK;
	int fd;

	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
		return fd < 0 ? err_sys(e, "Failed to UFFD object") : fd;
	}
	if (!may_call)
		return err_sys(e, "Failed to UFFD object: /dev/userfaultfd "
				  "cannot be opened");
	fd = (int)syscall(SYS_userfaultfd, flags);
	return fd < 0 ? err_sys(e, "Failed to UFFD object: /dev/userfaultfd "
				   "cannot be opened, and without")
		      : fd;
}

int uffd_open(uint64_t features, bool may_call, struct err *e)
{
	cleanup_fd int fd = make(may_call, e);
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return err_sys(e, "Failed to UFFD object: features %#llx",
			       (unsigned long long)features);
	return fd_steal(&fd);
}

int uffd_register(int fd, const struct gmem *m, uint64_t mode, struct err *e)
{
	for (unsigned int i = 0; i < m->n_regions; i++) {
		struct uffdio_register r = {
			.range = {.start = (uintptr_t)m->region[i].hva,
				  .len = m->region[i].bytes},
			.mode = mode,
		};

		if (ioctl(fd, UFFDIO_REGISTER, &r) < 0)
			return err_sys(e, "Failed to register memory address "
					  "range with the userfaultfd object");
	}
	return 0;
}

void uffd_unregister(int fd, const struct gmem *m)
{
	for (unsigned int i = 0; i < m->n_regions; i++) {
		struct uffdio_range r = {
			.start = (uintptr_t)m->region[i].hva,
			.len = m->region[i].bytes,
		};

		(void)ioctl(fd, UFFDIO_UNREGISTER, &r);
	}
}
