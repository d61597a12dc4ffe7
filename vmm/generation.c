/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/generation.h"

#include <endian.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "base/err.h"
#include "vmm/gmem.h"
#include "vmm/x86/layout.h"

#define GENID_BYTES   16
#define VMCLOCK_BYTES 4096

/*
 * VMClock's page ("Virtual Machine Clock", version 1), without the clock: we
 * tell of copies, not of time.
 */
struct vmclock {
	uint32_t magic;
	uint32_t bytes;
	uint16_t version;
	uint8_t counter_id;
	uint8_t time_type;
	uint32_t seq_count; /* odd while the page is being changed */
	uint64_t disruption_marker;
	uint64_t flags;
	uint8_t pad[2];
	uint8_t clock_status;
	uint8_t leap_second_smearing_hint;
	uint16_t tai_offset_sec;
	uint8_t leap_indicator;
	uint8_t counter_period_shift;
	uint64_t clock[8]; /* counter and time: not given */
	uint64_t vm_generation_counter;
};

#define VMCLOCK_MAGIC	    0x4b4c4356 /* "VCLK" */
#define VMCLOCK_VERSION	    1
#define VMCLOCK_NO_COUNTER  0xff
#define VMCLOCK_HAS_COUNTER (1U << 8) /* vm_generation_counter is there */
#define VMCLOCK_NOTIFIES    (1U << 9)

_Static_assert(offsetof(struct vmclock, seq_count) == 12, "VMClock");
_Static_assert(offsetof(struct vmclock, vm_generation_counter) == 104,
	       "VMClock");

static int write_genid(const struct gmem *m, struct err *e)
{
	uint8_t id[GENID_BYTES];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return err_sys(e, "No random bytes for VMGenID");
	if (gmem_write(m, GPA_VMGENID, id, sizeof(id)) < 0)
		return err_set(e, -ENOMEM, "No room for VMGenID");
	return 0;
}

int generation_write(const struct gmem *m, struct err *e)
{
	const struct vmclock c = {
		.magic = htole32(VMCLOCK_MAGIC),
		.bytes = htole32(VMCLOCK_BYTES),
		.version = htole16(VMCLOCK_VERSION),
		.counter_id = VMCLOCK_NO_COUNTER,
		.flags = htole64(VMCLOCK_HAS_COUNTER | VMCLOCK_NOTIFIES),
	};
	int ret = write_genid(m, e);

	if (ret < 0)
		return ret;
	if (gmem_write(m, GPA_VMCLOCK, &c, sizeof(c)) < 0)
		return err_set(e, -ENOMEM, "No room for VMClock");
	return 0;
}

/*
 * An edge, seen by the interrupt chips when this returns. KVM serves an eventfd
 * in the background, which may be after the guest's first instruction.
 */
static int pulse(int vm_fd, uint32_t gsi, struct err *e)
{
	for (uint32_t level = 2; level-- > 0;) {
		struct kvm_irq_level line = {.irq = gsi, .level = level};

		if (ioctl(vm_fd, KVM_IRQ_LINE, &line) < 0)
			return err_sys(e, "KVM_IRQ_LINE %u", gsi);
	}
	return 0;
}

/*
 * The guest may have written over the page: that harms its own clock alone. No
 * vCPU runs, so the new, even count is stored in one go with the rest.
 */
int generation_next(const struct gmem *m, int vm_fd, struct err *e)
{
	struct vmclock c;
	int ret = write_genid(m, e);

	if (ret < 0)
		return ret;
	if (gmem_read(m, GPA_VMCLOCK, &c, sizeof(c)) < 0)
		return err_set(e, -ENOMEM, "No room for VMClock");
	c.seq_count = htole32((le32toh(c.seq_count) | 1) + 1);
	c.disruption_marker = htole64(le64toh(c.disruption_marker) + 1);
	c.vm_generation_counter = htole64(le64toh(c.vm_generation_counter) + 1);
	(void)gmem_write(m, GPA_VMCLOCK, &c, sizeof(c));
	ret = pulse(vm_fd, GSI_VMGENID, e);
	return ret == 0 ? pulse(vm_fd, GSI_VMCLOCK, e) : ret;
}
