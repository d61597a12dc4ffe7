/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/cpu.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/num.h"

#define MSR_TSC		   0x10
#define MSR_SYSENTER_CS	   0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_MISC_ENABLE	   0x1a0
#define MSR_MTRR_DEF_TYPE  0x2ff
#define MSR_STAR	   0xc0000081
#define MSR_LSTAR	   0xc0000082
#define MSR_CSTAR	   0xc0000083
#define MSR_SYSCALL_MASK   0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

#define MISC_FAST_STRING 1
#define MTRR_ENABLE	 (1 << 11)
#define MTRR_WRITE_BACK	 6

/* Read and written at a time; KVM takes at most 256. */
#define CHUNK 32

/* struct kvm_msrs with room. */
struct msrs {
	uint32_t n;
	uint32_t padding;
	struct kvm_msr_entry entry[CHUNK];
};

_Static_assert(offsetof(struct msrs, entry) ==
		       offsetof(struct kvm_msrs, entries),
	       "struct msrs is handed to KVM as it is");

/* KVM stops at the first MSR that it refuses and says how many it did. */
static int do_msrs(int vcpu_fd, unsigned long request, struct msrs *m,
		   const char *failed, struct err *e)
{
	int done = ioctl(vcpu_fd, request, m);

	if (done < 0)
		return err_sys(e,
			       "System configuration error: %s KVM vcpu "
			       "msrs",
			       failed);
	if ((uint32_t)done < m->n)
		return err_set(e, -ENOTSUP,
			       "System configuration error: %s KVM vcpu msr: "
			       "0x%x",
			       failed, m->entry[done].index);
	return 0;
}

static int set_template(int vcpu_fd, const struct msr_modifier *mod,
			unsigned int n, struct err *e)
{
	struct msrs m = {.n = n};
	int ret;

	for (unsigned int i = 0; i < n; i++)
		m.entry[i].index = mod[i].index;
	ret = do_msrs(vcpu_fd, KVM_GET_MSRS, &m,
		      "Failed to create guest config: KVM vcpu ioctl failed: "
		      "Failed to get",
		      e);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < n; i++)
		m.entry[i].data = (m.entry[i].data & ~mod[i].value.filter) |
				  mod[i].value.bits;
	return do_msrs(vcpu_fd, KVM_SET_MSRS, &m, "Failed to set", e);
}

int msr_set_boot(int vcpu_fd, const struct cpu_config *cfg, struct err *e)
{
	struct msrs m = {
		.n = 11,
		.entry = {
			{.index = MSR_SYSENTER_CS},
			{.index = MSR_SYSENTER_ESP},
			{.index = MSR_SYSENTER_EIP},
			{.index = MSR_STAR},
			{.index = MSR_CSTAR},
			{.index = MSR_KERNEL_GS_BASE},
			{.index = MSR_SYSCALL_MASK},
			{.index = MSR_LSTAR},
			{.index = MSR_TSC},
			{.index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING},
			{.index = MSR_MTRR_DEF_TYPE,
			 .data = MTRR_ENABLE | MTRR_WRITE_BACK},
		}};
	const struct cpu_template *t = cfg->custom;
	int ret;

	ret = do_msrs(vcpu_fd, KVM_SET_MSRS, &m, "Failed to set", e);
	for (unsigned int i = 0; ret == 0 && t && i < t->n_msr; i += CHUNK)
		ret = set_template(vcpu_fd, &t->msr[i],
				   MIN(t->n_msr - i, (unsigned int)CHUNK), e);
	return ret;
}
