/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caps_state.c: the KVM capabilities that a guest depends on, in a snapshot.
 */
#include "vmm/x86/cpu.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"

#define CAP(x)                     \
	{                          \
		KVM_##x, "KVM_" #x \
	}

static const struct {
	uint32_t cap;
	const char *name;
} names[] = {
	CAP(CAP_IRQCHIP),      CAP(CAP_IOEVENTFD),
	CAP(CAP_IRQFD),	       CAP(CAP_USER_MEMORY),
	CAP(CAP_SET_TSS_ADDR), CAP(CAP_PIT2),
	CAP(CAP_PIT_STATE2),   CAP(CAP_ADJUST_CLOCK),
	CAP(CAP_DEBUGREGS),    CAP(CAP_MP_STATE),
	CAP(CAP_VCPU_EVENTS),  CAP(CAP_XCRS),
	CAP(CAP_XSAVE),	       CAP(CAP_EXT_CPUID),
	CAP(CAP_XSAVE2),       CAP(CAP_SREGS2),
	CAP(CAP_GET_TSC_KHZ),  CAP(CAP_TSC_DEADLINE_TIMER),
};

static const char *name_of(uint32_t cap)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].cap == cap)
			return names[i].name;
	}
	return "unnamed";
}

void kvm_caps_add(struct kvm_caps *k, uint32_t cap)
{
	for (uint32_t i = 0; i < k->n; i++) {
		if (k->cap[i] == cap)
			return;
	}
	if (k->n < KVM_CAPS_MAX)
		k->cap[k->n++] = cap;
}

void kvm_caps_describe(struct kvm_caps *k, struct archive *a)
{
	archive_u32(a, &k->n);
	if (k->n > KVM_CAPS_MAX) {
		k->n = 0;
		a->failed = true;
	}
	for (uint32_t i = 0; i < k->n; i++)
		archive_u32(a, &k->cap[i]);
}

int kvm_caps_check(const struct kvm_caps *k, int kvm_fd, struct err *e)
{
	for (uint32_t i = 0; i < k->n; i++) {
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION,
			  (unsigned long)k->cap[i]) <= 0)
			return err_set(e, -ENOTSUP,
				       "The snapshot needs a capability of KVM "
				       "that this host lacks: %s (%u)",
				       name_of(k->cap[i]), k->cap[i]);
	}
	return 0;
}
