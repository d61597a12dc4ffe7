/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/irq.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "base/cleanup.h"
#include "base/err.h"

int irq_init(struct irq *i, uint32_t gsi, struct err *e)
{
	i->gsi = gsi;
	i->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (i->fd < 0)
		return err_sys(e, "eventfd for interrupt line %u", gsi);
	return 0;
}

int irq_bind(struct irq *i, int vm_fd, struct err *e)
{
	struct kvm_irqfd bind = {.fd = (uint32_t)i->fd, .gsi = i->gsi};

	if (ioctl(vm_fd, KVM_IRQFD, &bind) < 0)
		return err_sys(e, "KVM_IRQFD for interrupt line %u", i->gsi);
	return 0;
}

void irq_exit(struct irq *i)
{
	fd_close(&i->fd);
}

void irq_raise(const struct irq *i)
{
	const uint64_t one = 1;

	/* Full means 2^64 - 2 edges that KVM has not seen: one more is lost. */
	if (write(i->fd, &one, sizeof(one)) < 0)
		return;
}
