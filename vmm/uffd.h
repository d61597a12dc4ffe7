/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd.h: userfaultfd(2) over guest RAM. Helper thread. Texts as Firecracker's
 * behind "Error creating guest memory from uffd: ".
 */
#ifndef VMM_UFFD_H
#define VMM_UFFD_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct gmem;

/*
 * A userfaultfd with UFFD_FEATURE_* features, that does not block: from
 * /dev/userfaultfd, which is a matter of the file's mode, or, if may_call, from
 * the system call, which asks for CAP_SYS_PTRACE or the sysctl. Faults of the
 * kernel's own are included: KVM and system calls touch RAM, too.
 */
int uffd_open(uint64_t features, bool may_call, struct err *e);

/* Register all of RAM, with UFFDIO_REGISTER_MODE_* bits. */
int uffd_register(int fd, const struct gmem *m, uint64_t mode, struct err *e);

/*
 * The opposite, whoever else has a copy of the descriptor: who waits for a page
 * goes on, and what is not there is zero. Any thread.
 */
void uffd_unregister(int fd, const struct gmem *m);

#endif
