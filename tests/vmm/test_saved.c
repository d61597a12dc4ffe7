/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a machine from and to a stand-in for KVM, which remembers what
 * it was told: on hosts that this one is not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/num.h"
#include "vmm/saved.h"
#include "vmm/vm.h"

#define N_VCPUS	     2
#define TSC_KHZ	     2000000
#define CALLS_MAX    128
#define MSR_TSC	     0x10
#define MSR_DEADLINE 0x6e0
#define MSR_KVM	     0x4b564d00
#define NO_CAP	     (~0U)

/* The stand-in. */
static struct kvm {
	unsigned long call[CALLS_MAX];
	unsigned int n_calls;
	uint32_t lacks; /* a capability */
	bool scales, scaling_fails;
	uint32_t tsc_khz; /* that was set */
	uint32_t refused; /* an MSR */
	uint32_t last_msr;
	uint32_t clock_flags;
	uint32_t more_msrs; /* that it lists */
} kvm;

static int has(uint32_t cap)
{
	if (cap == kvm.lacks)
		return 0;
	return cap == KVM_CAP_TSC_CONTROL ? kvm.scales : 1;
}

static int set_tsc(unsigned long khz)
{
	if (kvm.scaling_fails)
		errno = EINVAL;
	else
		kvm.tsc_khz = (uint32_t)khz;
	return kvm.scaling_fails ? -1 : 0;
}

static int set_msrs(const struct kvm_msrs *m)
{
	for (uint32_t i = 0; i < m->nmsrs; i++) {
		if (m->entries[i].index == kvm.refused)
			return (int)i;
		kvm.last_msr = m->entries[i].index;
	}
	return (int)m->nmsrs;
}

static void list_msrs(struct kvm_msr_list *l)
{
	l->nmsrs = 2 + kvm.more_msrs;
	l->indices[0] = MSR_DEADLINE;
	l->indices[1] = MSR_TSC;
	for (uint32_t i = 0; i < kvm.more_msrs; i++)
		l->indices[2 + i] = MSR_KVM + i;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *p;

	(void)fd;
	va_start(args, request);
	p = va_arg(args, void *);
	va_end(args);
	if (request == KVM_CHECK_EXTENSION)
		return has((uint32_t)(uintptr_t)p);
	if (kvm.n_calls < CALLS_MAX)
		kvm.call[kvm.n_calls++] = request;
	switch (request) {
	case KVM_GET_TSC_KHZ:
		return TSC_KHZ;
	case KVM_SET_TSC_KHZ:
		return set_tsc((unsigned long)(uintptr_t)p);
	case KVM_GET_MSRS:
		return (int)((struct kvm_msrs *)p)->nmsrs;
	case KVM_SET_MSRS:
		return set_msrs(p);
	case KVM_SET_CLOCK:
		kvm.clock_flags = ((struct kvm_clock_data *)p)->flags;
		return 0;
	case KVM_GET_CLOCK:
		((struct kvm_clock_data *)p)->flags =
			KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME;
		return 0;
	case KVM_GET_MSR_INDEX_LIST:
		list_msrs(p);
		return 0;
	default:
		return 0;
	}
}

/* When it was called for the n-th time, counted from 0; or CALLS_MAX. */
static unsigned int when(unsigned long request, unsigned int n)
{
	for (unsigned int i = 0; i < kvm.n_calls; i++) {
		if (kvm.call[i] == request && n-- == 0)
			return i;
	}
	return CALLS_MAX;
}

struct fixture {
	struct vm vm;
	struct vcpu vcpu[N_VCPUS];
	struct saved *saved;
};

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(64, ALIGN_UP(sizeof(*f), (size_t)64));
	struct err e;

	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	kvm = (struct kvm){.lacks = NO_CAP, .refused = NO_CAP};
	f->vm.vcpu = f->vcpu;
	f->vm.cfg.cpu.n_vcpus = N_VCPUS;
	f->vm.cpuid.n = 1;
	f->vm.cpuid.entry[0] = (struct kvm_cpuid_entry2){
		.function = 0xd, .flags = 1, .eax = 7};
	for (int i = 0; i < N_VCPUS; i++)
		f->vcpu[i].fd = FD_VCPU0 + i;
	assert_int_equal(saved_new(&f->saved, N_VCPUS, &e), 0);
	assert_int_equal(saved_capture(f->saved, &f->vm, &e), 0);
	kvm.n_calls = 0;
	log_set_level(LOG_OFF);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	saved_free(f->saved);
	free(f);
	return 0;
}

static void applied(struct fixture *f)
{
	struct err e = {0};

	if (saved_apply(f->saved, &f->vm, &e) < 0)
		fail_msg("%s", e.text);
}

/* Before anything is set. */
static void refused(struct fixture *f, const char *text)
{
	struct err e = {0};

	assert_int_equal(saved_apply(f->saved, &f->vm, &e), -ENOTSUP);
	assert_string_equal(e.text, text);
	for (unsigned int i = 0; i < kvm.n_calls; i++)
		assert_true(kvm.call[i] == KVM_GET_TSC_KHZ ||
			    kvm.call[i] == KVM_SET_CPUID2);
}

static void deadline_is_read_before_the_interrupt_that_it_causes(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(saved_capture(f->saved, &f->vm, &e), 0);
	for (unsigned int i = 0; i < N_VCPUS; i++)
		assert_true(when(KVM_GET_MSRS, i) < when(KVM_GET_LAPIC, i));
	assert_true(when(KVM_GET_LAPIC, 1) < CALLS_MAX);
}

static void registers_are_set_in_the_order_that_they_need(void **state)
{
	static const unsigned long order[] = {
		KVM_SET_CPUID2, KVM_SET_SREGS2,	     KVM_SET_REGS,
		KVM_SET_XCRS,	KVM_SET_XSAVE,	     KVM_SET_LAPIC,
		KVM_SET_MSRS,	KVM_SET_VCPU_EVENTS, KVM_SET_MP_STATE,
	};
	struct fixture *f = *state;

	applied(f);
	for (size_t i = 0; i + 1 < ARRAY_LEN(order); i++)
		assert_true(when(order[i], 0) < when(order[i + 1], 0));
	/* The deadline once more, last of all. */
	assert_true(when(KVM_SET_MP_STATE, 0) < when(KVM_SET_MSRS, 1));
	assert_int_equal(kvm.last_msr, MSR_DEADLINE);
	/* Every vCPU has its clock, and time, when it is told of the gap. */
	assert_true(when(KVM_SET_MSRS, 2 * N_VCPUS - 1) <
		    when(KVM_KVMCLOCK_CTRL, 0));
	assert_true(when(KVM_SET_CLOCK, 0) < when(KVM_KVMCLOCK_CTRL, 0));
	assert_true(when(KVM_KVMCLOCK_CTRL, N_VCPUS - 1) < CALLS_MAX);
}

/* As vm_build() looks at them. */
static void lacking(const struct fixture *f, const char *text)
{
	struct err e = {0};

	assert_int_equal(kvm_caps_check(&f->saved->caps, FD_KVM, &e), -ENOTSUP);
	assert_string_equal(e.text, text);
}

static void capability_that_is_missing_is_named(void **state)
{
	struct fixture *f = *state;

	kvm.lacks = KVM_CAP_PIT_STATE2;
	lacking(f, "The snapshot needs a capability of KVM that this host "
		   "lacks: KVM_CAP_PIT_STATE2 (35)");
}

static void capabilities_of_a_template_go_from_copy_to_copy(void **state)
{
	struct kvm_cap_modifier mod[] = {{.cap = 171},
					 {.cap = KVM_CAP_XCRS, .remove = true}};
	const struct cpu_template t = {.cap = mod, .n_cap = ARRAY_LEN(mod)};
	struct fixture *f = *state;
	struct err e;

	f->vm.cfg.cpu.custom = &t;
	assert_int_equal(saved_capture(f->saved, &f->vm, &e), 0);
	applied(f);
	/* A machine from a snapshot has no template. */
	f->vm.cfg.cpu.custom = NULL;
	assert_int_equal(saved_capture(f->saved, &f->vm, &e), 0);
	kvm.lacks = KVM_CAP_XCRS;
	assert_int_equal(kvm_caps_check(&f->saved->caps, FD_KVM, &e), 0);
	kvm.lacks = 171;
	lacking(f, "The snapshot needs a capability of KVM that this host "
		   "lacks: unnamed (171)");
}

static void rate_of_another_host_is_refused_with_both(void **state)
{
	struct fixture *f = *state;

	f->saved->vcpu[0].tsc_khz = TSC_KHZ + TSC_KHZ / 3900;
	refused(f, "The TSC of the snapshot runs at 2000512 kHz, that of this "
		   "host at 2000000 kHz, and the host cannot scale it");
	assert_int_equal(kvm.tsc_khz, 0);
	/* 250 ppm. */
	f->saved->vcpu[0].tsc_khz = TSC_KHZ - TSC_KHZ / 4000;
	applied(f);
	assert_int_equal(kvm.tsc_khz, 0);
}

static void host_that_scales_takes_another_rate(void **state)
{
	struct fixture *f = *state;

	kvm.scales = true;
	f->saved->vcpu[1].tsc_khz = 3 * TSC_KHZ;
	applied(f);
	assert_int_equal(kvm.tsc_khz, 3 * TSC_KHZ);
	kvm.n_calls = 0;
	kvm.scaling_fails = true;
	f->saved->vcpu[0].tsc_khz = TSC_KHZ / 2;
	kvm.tsc_khz = 0;

	struct err e = {0};

	assert_int_equal(saved_apply(f->saved, &f->vm, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "runs at 1000000 kHz"));
}

static void msr_that_the_host_refuses_is_named(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	kvm.refused = MSR_TSC;
	f->saved->vcpu[1].msr[1].data = 0x1234;
	assert_int_equal(saved_apply(f->saved, &f->vm, &e), -ENOTSUP);
	assert_string_equal(e.text,
			    "Cannot restore the vCPU: this host refuses "
			    "MSR 0x10 = 0x0");
}

static void what_the_vcpus_lack_is_refused_before_any_is_set(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	f->saved->vcpu[1].xcrs.nr_xcrs = 1;
	f->saved->vcpu[1].xcrs.xcrs[0].value = 0x207;
	refused(f, "XCR0 of the snapshot is 0x207, this host can have 0x7");
	assert_int_equal(kvm.n_calls, 0);
	f->saved->vcpu[1].xcrs.xcrs[0].value = 7;
	f->saved->vcpu[1].msr[0].index = 0x79;
	assert_int_equal(saved_apply(f->saved, &f->vm, &e), -EINVAL);
	assert_int_equal(kvm.n_calls, 0);
}

/* TSC_STABLE and the like are what KVM says, not what it is told. */
static void clock_follows_the_day_only_if_asked(void **state)
{
	struct fixture *f = *state;

	applied(f);
	assert_int_equal(kvm.clock_flags, 0);
	f->saved->realtime = true;
	applied(f);
	assert_int_equal(kvm.clock_flags, KVM_CLOCK_REALTIME);
}

static void capabilities_are_bounded(void **state)
{
	const uint32_t counts[] = {KVM_CAPS_MAX + 1, 1U << 31, UINT32_MAX};
	static struct kvm_caps k;
	uint8_t buf[4 + 4 * KVM_CAPS_MAX];
	struct archive a;

	(void)state;
	for (uint32_t i = 0; i < KVM_CAPS_MAX + 5; i++)
		kvm_caps_add(&k, i / 2 * 2);
	assert_int_equal(k.n, (KVM_CAPS_MAX + 5 + 1) / 2);
	for (uint32_t i = 0; i < 2 * KVM_CAPS_MAX; i++)
		kvm_caps_add(&k, i);
	assert_int_equal(k.n, KVM_CAPS_MAX);
	a = archive_saver(buf, sizeof(buf));
	kvm_caps_describe(&k, &a);
	assert_true(archive_ok(&a));
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		uint32_t n = counts[i];

		a = archive_saver(buf, sizeof(buf));
		archive_u32(&a, &n);
		a = archive_loader(buf, sizeof(buf));
		kvm_caps_describe(&k, &a);
		assert_false(archive_ok(&a));
		assert_int_equal(k.n, 0);
	}
}

static void more_msrs_than_can_be_saved_are_an_error(void **state)
{
	struct state_host h;
	struct err e;

	(void)state;
	kvm.more_msrs = 200;
	assert_int_equal(state_host_read(&h, -1, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "MSR 0x4b564d7e: at most 128"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(deadline_is_read_before_the_interrupt_that_it_causes),
		TEST(registers_are_set_in_the_order_that_they_need),
		TEST(capability_that_is_missing_is_named),
		TEST(capabilities_of_a_template_go_from_copy_to_copy),
		TEST(rate_of_another_host_is_refused_with_both),
		TEST(host_that_scales_takes_another_rate),
		TEST(msr_that_the_host_refuses_is_named),
		TEST(what_the_vcpus_lack_is_refused_before_any_is_set),
		TEST(clock_follows_the_day_only_if_asked),
		TEST(capabilities_are_bounded),
		TEST(more_msrs_than_can_be_saved_are_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
