/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"

#define MSR_TSC_DEADLINE 0x6e0
#define XCR0_X87	 1 /* always there */

/* Equal rates, as far as two measurements of one crystal agree. */
#define TSC_TOLERANCE_PPM 250

/* struct kvm_msrs with room. */
struct msrs {
	uint32_t n;
	uint32_t padding;
	struct kvm_msr_entry entry[STATE_MAX_MSRS];
};

_Static_assert(offsetof(struct msrs, entry) ==
		       offsetof(struct kvm_msrs, entries),
	       "struct msrs is handed to KVM as it is");

static int get(int fd, unsigned long request, void *p, const char *name,
	       struct err *e)
{
	return ioctl(fd, request, p) < 0
		       ? err_sys(e, "Cannot save the vCPU: %s", name)
		       : 0;
}

static int set(int fd, unsigned long request, const void *p, const char *name,
	       struct err *e)
{
	return ioctl(fd, request, p) < 0
		       ? err_sys(e, "Cannot restore the vCPU: %s", name)
		       : 0;
}

#define GET(request, field) get(fd, request, &s->field, #request, e)
#define SET(request, field) set(fd, request, &s->field, #request, e)

/* ---- saving ---- */

/* Those that cannot be read, though KVM lists them, are left out. */
static int get_msrs(struct vcpu_state *s, int fd, const struct state_host *h,
		    struct err *e)
{
	struct msrs m;
	uint32_t at = 0;

	s->n_msrs = 0;
	while (at < h->n_msrs) {
		int done;

		m.n = h->n_msrs - at;
		for (uint32_t i = 0; i < m.n; i++)
			m.entry[i] =
				(struct kvm_msr_entry){.index = h->msr[at + i]};
		done = ioctl(fd, KVM_GET_MSRS, &m);
		if (done < 0)
			return err_sys(e, "Cannot save the vCPU: KVM_GET_MSRS");
		memcpy(&s->msr[s->n_msrs], m.entry,
		       (uint32_t)done * sizeof(m.entry[0]));
		s->n_msrs += (uint32_t)done;
		at += (uint32_t)done + ((uint32_t)done < m.n);
	}
	return 0;
}

int vcpu_state_get(struct vcpu_state *s, int fd, const struct state_host *h,
		   struct err *e)
{
	int khz, ret;

	/* Before the local APIC and the events: it may deliver some. */
	ret = GET(KVM_GET_MP_STATE, mp_state);
	if (ret == 0)
		ret = GET(KVM_GET_REGS, regs);
	if (ret == 0)
		ret = GET(KVM_GET_SREGS2, sregs);
	if (ret == 0)
		ret = GET(KVM_GET_XCRS, xcrs);
	if (ret == 0)
		ret = GET(KVM_GET_XSAVE2, xsave);
	if (ret == 0)
		ret = GET(KVM_GET_DEBUGREGS, debugregs);
	/*
	 * A timer that ends between the two is then in both and fires twice; in
	 * the other order it would be in neither.
	 */
	if (ret == 0)
		ret = get_msrs(s, fd, h, e);
	if (ret == 0)
		ret = GET(KVM_GET_LAPIC, lapic);
	if (ret == 0)
		ret = GET(KVM_GET_VCPU_EVENTS, events);
	if (ret < 0)
		return ret;
	khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);
	if (khz <= 0)
		return err_sys(e, "Cannot save the vCPU: KVM_GET_TSC_KHZ");
	s->tsc_khz = (uint32_t)khz;
	s->xsave_bytes = h->xsave_bytes;
	return 0;
}

/* ---- restoring ---- */

static int check_msrs(const struct vcpu_state *s, struct err *e)
{
	for (uint32_t i = 0; i < s->n_msrs; i++) {
		if (!msr_saved(s->msr[i].index))
			return err_set(e, -EINVAL,
				       "The snapshot sets MSR 0x%x, which no "
				       "snapshot may",
				       s->msr[i].index);
	}
	return 0;
}

int vcpu_state_check(const struct vcpu_state *s, uint64_t host_xcr0,
		     struct err *e)
{
	const struct kvm_xcrs *x = &s->xcrs;

	for (uint32_t i = 0; i < x->nr_xcrs && i < KVM_MAX_XCRS; i++) {
		uint64_t has = host_xcr0 | XCR0_X87;

		if (x->xcrs[i].xcr == 0 && (x->xcrs[i].value & ~has) != 0)
			return err_set(e, -ENOTSUP,
				       "XCR0 of the snapshot is 0x%llx, this "
				       "host can have 0x%" PRIx64,
				       (unsigned long long)x->xcrs[i].value,
				       has);
	}
	return check_msrs(s, e);
}

bool tsc_scales(int kvm_fd)
{
	return ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
}

/*
 * Without scaling KVM_SET_TSC_KHZ does not fail for a faster TSC, but has KVM
 * chase it; and a rate of 0 means the host's.
 */
static int set_tsc_khz(const struct vcpu_state *s, int fd, bool scales,
		       struct err *e)
{
	int host = ioctl(fd, KVM_GET_TSC_KHZ, 0);
	uint64_t diff;

	if (host <= 0)
		return err_sys(e, "Cannot restore the vCPU: KVM_GET_TSC_KHZ");
	diff = (uint64_t)(s->tsc_khz > (uint32_t)host
				  ? s->tsc_khz - (uint32_t)host
				  : (uint32_t)host - s->tsc_khz);
	if (diff * 1000000 <= (uint64_t)host * TSC_TOLERANCE_PPM)
		return 0;
	if (!scales || s->tsc_khz == 0 ||
	    ioctl(fd, KVM_SET_TSC_KHZ, (unsigned long)s->tsc_khz) < 0)
		return err_set(e, -ENOTSUP,
			       "The TSC of the snapshot runs at %u kHz, that "
			       "of this host at %d kHz, and the host cannot "
			       "scale it",
			       s->tsc_khz, host);
	return 0;
}

/* The deadline is compared with the TSC as soon as it is set: last. */
static int set_msrs(const struct vcpu_state *s, int fd, bool deadline,
		    struct err *e)
{
	struct msrs m = {0};
	int done;

	for (uint32_t i = 0; i < s->n_msrs; i++) {
		if ((s->msr[i].index == MSR_TSC_DEADLINE) == deadline)
			m.entry[m.n++] = s->msr[i];
	}
	done = m.n ? ioctl(fd, KVM_SET_MSRS, &m) : 0;
	if (done < 0)
		return err_sys(e, "Cannot restore the vCPU: KVM_SET_MSRS");
	if ((uint32_t)done < m.n)
		return err_set(e, -ENOTSUP,
			       "Cannot restore the vCPU: this host refuses MSR "
			       "0x%x = 0x%llx",
			       m.entry[done].index,
			       (unsigned long long)m.entry[done].data);
	return 0;
}

int vcpu_state_set(const struct vcpu_state *s, int fd, bool scales,
		   struct err *e)
{
	int ret = set_tsc_khz(s, fd, scales, e);

	if (ret == 0)
		ret = SET(KVM_SET_SREGS2, sregs);
	if (ret == 0)
		ret = SET(KVM_SET_REGS, regs);
	if (ret == 0)
		ret = SET(KVM_SET_XCRS, xcrs);
	if (ret == 0)
		ret = SET(KVM_SET_XSAVE, xsave);
	if (ret == 0)
		ret = SET(KVM_SET_DEBUGREGS, debugregs);
	if (ret == 0)
		ret = SET(KVM_SET_LAPIC, lapic);
	if (ret == 0)
		ret = set_msrs(s, fd, false, e);
	if (ret == 0)
		ret = SET(KVM_SET_VCPU_EVENTS, events);
	if (ret == 0)
		ret = SET(KVM_SET_MP_STATE, mp_state);
	return ret == 0 ? set_msrs(s, fd, true, e) : ret;
}

/* ---- the archive ---- */

static void describe_msrs(struct vcpu_state *s, struct archive *a)
{
	archive_u32(a, &s->n_msrs);
	if (s->n_msrs > STATE_MAX_MSRS) {
		s->n_msrs = 0;
		a->failed = true;
	}
	for (uint32_t i = 0; i < s->n_msrs; i++) {
		archive_u32(a, &s->msr[i].index);
		archive_u64(a, (uint64_t *)&s->msr[i].data);
	}
}

/* KVM's structures are fixed by its ABI and x86 is little-endian. */
void vcpu_state_describe(struct vcpu_state *s, struct archive *a)
{
	archive_bytes(a, &s->regs, sizeof(s->regs));
	archive_bytes(a, &s->sregs, sizeof(s->sregs));
	archive_bytes(a, &s->xcrs, sizeof(s->xcrs));
	archive_bytes(a, &s->debugregs, sizeof(s->debugregs));
	archive_bytes(a, &s->lapic, sizeof(s->lapic));
	archive_bytes(a, &s->mp_state, sizeof(s->mp_state));
	archive_bytes(a, &s->events, sizeof(s->events));
	archive_u32(a, &s->tsc_khz);
	describe_msrs(s, a);
	archive_u32(a, &s->xsave_bytes);
	if (s->xsave_bytes > sizeof(s->xsave)) {
		s->xsave_bytes = 0;
		a->failed = true;
	}
	archive_bytes(a, s->xsave, s->xsave_bytes);
}
