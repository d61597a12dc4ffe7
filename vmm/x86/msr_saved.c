/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr_saved.c: the MSRs that are a part of a guest's state. What sregs, the
 * local APIC or KVM's own structures hold is not here.
 */
#include "vmm/x86/state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/log.h"
#include "base/num.h"

#define HOST_MAX_MSRS 1024

struct range {
	uint32_t first, last;
	bool unlisted; /* KVM_GET_MSR_INDEX_LIST does not name them */
};

static const struct range saved[] = {
	{0x10, 0x10},	      /* TSC */
	{0x11, 0x12},	      /* kvmclock, old numbers */
	{0x3a, 0x3b},	      /* FEATURE_CONTROL, TSC_ADJUST */
	{0x48, 0x48},	      /* SPEC_CTRL */
	{0x8b, 0x8b},	      /* microcode revision */
	{0xe1, 0xe1},	      /* UMWAIT_CONTROL */
	{0x10a, 0x10a},	      /* ARCH_CAPABILITIES */
	{0x122, 0x122},	      /* TSX_CTRL */
	{0x140, 0x140},	      /* MISC_FEATURES_ENABLES */
	{0x174, 0x176},	      /* SYSENTER */
	{0x17a, 0x17b},	      /* machine check */
	{0x1a0, 0x1a0},	      /* MISC_ENABLE */
	{0x1c4, 0x1c5},	      /* XFD */
	{0x1d9, 0x1d9},	      /* DEBUGCTL */
	{0x1fc, 0x1fc},	      /* POWER_CTL */
	{0x200, 0x20f, true}, /* variable MTRRs */
	{0x250, 0x250, true}, /* fixed MTRRs */
	{0x258, 0x259, true},
	{0x268, 0x26f, true},
	{0x277, 0x277},		  /* PAT */
	{0x2ff, 0x2ff, true},	  /* MTRR default type */
	{0x6e0, 0x6e0},		  /* TSC_DEADLINE */
	{0xda0, 0xda0},		  /* XSS */
	{0x4b564d00, 0x4b564dff}, /* KVM's own: clock, async faults, steal */
	{0xc0000081, 0xc0000084}, /* SYSCALL */
	{0xc0000102, 0xc0000103}, /* KERNEL_GS_BASE, TSC_AUX */
	{0xc0000104, 0xc0000104}, /* TSC_RATIO */
	{0xc001011f, 0xc001011f}, /* VIRT_SPEC_CTRL */
};

static const struct range *find(uint32_t index)
{
	for (size_t i = 0; i < ARRAY_LEN(saved); i++) {
		if (index >= saved[i].first && index <= saved[i].last)
			return &saved[i];
	}
	return NULL;
}

bool msr_saved(uint32_t index)
{
	return find(index) != NULL;
}

static int add(struct state_host *h, uint32_t index, struct err *e)
{
	if (h->n_msrs == STATE_MAX_MSRS)
		return err_set(e, -ENOTSUP, "MSR 0x%x: at most %d are saved",
			       index, STATE_MAX_MSRS);
	h->msr[h->n_msrs++] = index;
	return 0;
}

static int read_list(struct state_host *h, int kvm_fd, struct err *e)
{
	struct {
		uint32_t n;
		uint32_t index[HOST_MAX_MSRS];
	} list = {.n = HOST_MAX_MSRS};
	int ret = 0;

	if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) < 0)
		return err_sys(e, "KVM_GET_MSR_INDEX_LIST");
	for (uint32_t i = 0; ret == 0 && i < list.n; i++) {
		const struct range *r = find(list.index[i]);

		if (!r)
			log_debug("MSR 0x%x of this host is not saved",
				  list.index[i]);
		else if (!r->unlisted)
			ret = add(h, list.index[i], e);
	}
	return ret;
}

int state_host_read(struct state_host *h, int kvm_fd, struct err *e)
{
	int bytes = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	int ret;

	*h = (struct state_host){0};
	if (bytes <= 0)
		bytes = sizeof(struct kvm_xsave);
	if (bytes > STATE_XSAVE_BYTES)
		return err_set(e, -ENOTSUP,
			       "The extended state of a vCPU has %d bytes on "
			       "this host, at most %d are saved",
			       bytes, STATE_XSAVE_BYTES);
	h->xsave_bytes = (uint32_t)bytes;
	ret = read_list(h, kvm_fd, e);
	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(saved); i++) {
		for (uint32_t m = saved[i].first;
		     ret == 0 && saved[i].unlisted && m <= saved[i].last; m++)
			ret = add(h, m, e);
	}
	return ret;
}
