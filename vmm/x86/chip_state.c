/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/state.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "base/archive.h"
#include "base/err.h"

static int call(int fd, unsigned long request, void *p, const char *what,
		const char *name, struct err *e)
{
	return ioctl(fd, request, p) < 0
		       ? err_sys(e, "Cannot %s the VM: %s", what, name)
		       : 0;
}

#define GET(request, p) call(fd, request, p, "save", #request, e)
#define SET(request, p) call(fd, request, p, "restore", #request, e)

int chip_state_get(struct chip_state *s, int fd, struct err *e)
{
	int ret = 0;

	*s = (struct chip_state){.pic[1].chip_id = KVM_IRQCHIP_PIC_SLAVE,
				 .ioapic.chip_id = KVM_IRQCHIP_IOAPIC};
	for (int i = 0; ret == 0 && i < 2; i++)
		ret = GET(KVM_GET_IRQCHIP, &s->pic[i]);
	if (ret == 0)
		ret = GET(KVM_GET_IRQCHIP, &s->ioapic);
	if (ret == 0)
		ret = GET(KVM_GET_PIT2, &s->pit);
	if (ret == 0)
		ret = GET(KVM_GET_CLOCK, &s->clock);
	return ret;
}

int chip_state_set(const struct chip_state *saved, int fd, bool realtime,
		   struct err *e)
{
	struct chip_state copy = *saved, *s = &copy;
	int ret;

	s->pic[0].chip_id = KVM_IRQCHIP_PIC_MASTER;
	s->pic[1].chip_id = KVM_IRQCHIP_PIC_SLAVE;
	s->ioapic.chip_id = KVM_IRQCHIP_IOAPIC;
	s->clock.flags &= realtime ? KVM_CLOCK_REALTIME : 0;
	if (realtime && !s->clock.flags)
		return err_set(e, -ENOTSUP,
			       "The host that made the snapshot did not record "
			       "the time of day, which clock_realtime needs");
	ret = SET(KVM_SET_PIT2, &s->pit);
	if (ret == 0)
		ret = SET(KVM_SET_CLOCK, &s->clock);
	for (int i = 0; ret == 0 && i < 2; i++)
		ret = SET(KVM_SET_IRQCHIP, &s->pic[i]);
	if (ret == 0)
		ret = SET(KVM_SET_IRQCHIP, &s->ioapic);
	return ret;
}

void chip_state_describe(struct chip_state *s, struct archive *a)
{
	for (int i = 0; i < 2; i++)
		archive_bytes(a, &s->pic[i].chip, sizeof(s->pic[i].chip.pic));
	archive_bytes(a, &s->ioapic.chip, sizeof(s->ioapic.chip.ioapic));
	archive_bytes(a, &s->pit, sizeof(s->pit));
	archive_u64(a, (uint64_t *)&s->clock.clock);
	archive_u32(a, &s->clock.flags);
	archive_u64(a, (uint64_t *)&s->clock.realtime);
}
