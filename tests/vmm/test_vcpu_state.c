/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers out of a real KVM, through an archive and back; without one the
 * program is skipped.
 */
#include "tests/vmm/kvm_env.h"

#include <errno.h>
#include <stdlib.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"
#include "vmm/x86/state.h"

#define RAM_BYTES     (2 * MIB)
#define BUF_BYTES     65536
#define MSR_TSC	      0x10
#define MSR_GS_KERNEL 0xc0000102
#define MSR_DEADLINE  0x6e0

struct fixture {
	struct kvm_env k;
	struct state_host host;
	struct vcpu_state a, b;
	struct chip_state chips, chips2;
	uint8_t buf[BUF_BYTES];
	size_t len;
};

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(64, ALIGN_UP(sizeof(*f), (size_t)64));
	struct kvm_pit_config pit = {0};
	struct cpu_host host;
	struct cpuid c;
	const struct cpu_config cfg = {.n_vcpus = KVM_ENV_VCPUS};
	struct err e;

	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	kvm_env_init(&f->k, RAM_BYTES);
	assert_int_equal(ioctl(f->k.vm_fd, KVM_CREATE_PIT2, &pit), 0);
	assert_int_equal(cpu_host_read(&host, f->k.kvm_fd, &e), 0);
	assert_int_equal(cpuid_build(&c, &host, &cfg, &e), 0);
	for (unsigned int i = 0; i < KVM_ENV_VCPUS; i++) {
		assert_int_equal(cpuid_set(&c, f->k.vcpu_fd[i], i, &cfg, &e),
				 0);
		assert_int_equal(msr_set_boot(f->k.vcpu_fd[i], &cfg, &e), 0);
	}
	assert_int_equal(state_host_read(&f->host, f->k.kvm_fd, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	kvm_env_exit(&f->k);
	free(f);
	return 0;
}

static void save(struct fixture *f, struct vcpu_state *s)
{
	struct archive a = archive_saver(f->buf, sizeof(f->buf));

	vcpu_state_describe(s, &a);
	assert_true(archive_ok(&a));
	f->len = a.at;
}

static bool load(struct fixture *f, struct vcpu_state *s)
{
	struct archive a = archive_loader(f->buf, f->len);

	vcpu_state_describe(s, &a);
	return archive_ok(&a);
}

static void get(struct fixture *f, struct vcpu_state *s, int vcpu)
{
	struct err e = {0};

	assert_int_equal(vcpu_state_get(s, f->k.vcpu_fd[vcpu], &f->host, &e),
			 0);
}

static int set(struct fixture *f, const struct vcpu_state *s, int vcpu,
	       struct err *e)
{
	return vcpu_state_set(s, f->k.vcpu_fd[vcpu], tsc_scales(f->k.kvm_fd),
			      e);
}

static struct kvm_msr_entry *msr(struct vcpu_state *s, uint32_t index)
{
	for (uint32_t i = 0; i < s->n_msrs; i++) {
		if (s->msr[i].index == index)
			return &s->msr[i];
	}
	fail_msg("MSR 0x%x is not saved", index);
	return NULL;
}

static void assert_same(struct vcpu_state *x, struct vcpu_state *y)
{
	assert_memory_equal(&x->regs, &y->regs, sizeof(x->regs));
	assert_memory_equal(&x->sregs, &y->sregs, sizeof(x->sregs));
	assert_memory_equal(&x->xcrs, &y->xcrs, sizeof(x->xcrs));
	assert_memory_equal(&x->debugregs, &y->debugregs, sizeof(x->debugregs));
	assert_memory_equal(&x->mp_state, &y->mp_state, sizeof(x->mp_state));
	assert_memory_equal(&x->events, &y->events, sizeof(x->events));
	assert_memory_equal(x->xsave, y->xsave, sizeof(x->xsave));
	assert_int_equal(x->tsc_khz, y->tsc_khz);
	assert_int_equal(x->n_msrs, y->n_msrs);
	for (uint32_t i = 0; i < x->n_msrs; i++) {
		assert_int_equal(x->msr[i].index, y->msr[i].index);
		if (x->msr[i].index != MSR_TSC)
			assert_int_equal(x->msr[i].data, y->msr[i].data);
	}
}

static void restored_vcpu_is_the_saved_one(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	get(f, &f->a, 0);
	f->a.regs.rax = 0x1122334455667788;
	f->a.regs.rip = 0xfff0;
	f->a.debugregs.db[0] = 0x1000;
	f->a.xsave[160] = 0x5a; /* XMM0 */
	f->a.xsave[512] |= 3;	/* x87 and SSE are there */
	f->a.xcrs.xcrs[0].value |= 3;
	f->a.mp_state.mp_state = KVM_MP_STATE_HALTED;
	msr(&f->a, MSR_GS_KERNEL)->data = 0x123000;
	/* Through the file, and into a vCPU that has other registers. */
	save(f, &f->a);
	assert_true(load(f, &f->b));
	assert_int_equal(set(f, &f->b, 1, &e), 0);
	get(f, &f->b, 1);
	assert_int_equal(f->b.regs.rax, 0x1122334455667788);
	assert_int_equal(f->b.mp_state.mp_state, KVM_MP_STATE_HALTED);
	assert_int_equal(f->b.xsave[160], 0x5a);
	assert_int_equal(msr(&f->b, MSR_GS_KERNEL)->data, 0x123000);
	/* And that again is the same, but for the id of its local APIC. */
	f->a = f->b;
	assert_int_equal(set(f, &f->a, 1, &e), 0);
	get(f, &f->b, 1);
	assert_same(&f->a, &f->b);
	assert_memory_equal(&f->a.lapic, &f->b.lapic, sizeof(f->a.lapic));
}

static void tsc_goes_on_from_the_saved_value(void **state)
{
	const uint64_t ahead = 1ULL << 50;
	struct fixture *f = *state;
	struct err e = {0};

	if (access("/sys/module/kvm_pvm", F_OK) == 0)
		skip(); /* its guests have the host's TSC */
	get(f, &f->a, 0);
	msr(&f->a, MSR_TSC)->data += ahead;
	assert_int_equal(set(f, &f->a, 0, &e), 0);
	get(f, &f->b, 0);
	assert_true(msr(&f->b, MSR_TSC)->data >= msr(&f->a, MSR_TSC)->data);
	assert_true(msr(&f->b, MSR_TSC)->data <
		    msr(&f->a, MSR_TSC)->data + ahead);
}

/* The sizes and counts that are in the file, against what is there. */
static void cut_off_state_is_refused(void **state)
{
	struct fixture *f = *state;
	size_t len;

	get(f, &f->a, 0);
	save(f, &f->a);
	len = f->len;
	for (f->len = 0; f->len < len; f->len++)
		assert_false(load(f, &f->b));
	f->len = len + 1;
	assert_false(load(f, &f->b));
}

static void counts_beyond_the_tables_are_refused(void **state)
{
	const uint32_t counts[] = {STATE_MAX_MSRS + 1, 1U << 31, UINT32_MAX};
	const uint32_t sizes[] = {STATE_XSAVE_BYTES + 1, 1U << 31, UINT32_MAX};
	struct fixture *f = *state;
	struct archive a;
	size_t n_msrs_at, xsave_at;

	get(f, &f->a, 0);
	save(f, &f->a);
	xsave_at = f->len - f->a.xsave_bytes - 4;
	n_msrs_at = xsave_at - f->a.n_msrs * 12UL - 4;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		uint32_t n = counts[i];

		a = archive_saver(f->buf + n_msrs_at, 4);
		archive_u32(&a, &n);
		assert_false(load(f, &f->b));
		assert_true(f->b.n_msrs <= STATE_MAX_MSRS);
	}
	save(f, &f->a);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t n = sizes[i];

		a = archive_saver(f->buf + xsave_at, 4);
		archive_u32(&a, &n);
		assert_false(load(f, &f->b));
		assert_true(f->b.xsave_bytes <= STATE_XSAVE_BYTES);
	}
}

static void msr_of_no_snapshot_is_refused_by_number(void **state)
{
	const uint32_t indexes[] = {0, 0x79, 0xc0000080, 0xc0010117,
				    UINT32_MAX};
	struct fixture *f = *state;

	get(f, &f->a, 0);
	for (size_t i = 0; i < ARRAY_LEN(indexes); i++) {
		struct err e = {0};
		char text[80];

		f->b = f->a;
		f->b.msr[f->b.n_msrs - 1].index = indexes[i];
		assert_int_equal(vcpu_state_check(&f->b, UINT64_MAX, &e),
				 -EINVAL);
		(void)snprintf(text, sizeof(text),
			       "The snapshot sets MSR 0x%x, which no snapshot "
			       "may",
			       indexes[i]);
		assert_string_equal(e.text, text);
	}
}

static void state_that_the_host_lacks_is_refused_with_both(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	get(f, &f->a, 0);
	f->a.xcrs.nr_xcrs = 1;
	f->a.xcrs.xcrs[0].xcr = 0;
	f->a.xcrs.xcrs[0].value = 7;
	assert_int_equal(vcpu_state_check(&f->a, 7, &e), 0);
	assert_int_equal(vcpu_state_check(&f->a, 6, &e), 0); /* x87: always */
	assert_int_equal(vcpu_state_check(&f->a, 3, &e), -ENOTSUP);
	assert_string_equal(e.text, "XCR0 of the snapshot is 0x7, this host "
				    "can have 0x3");
	/* A count that KVM will refuse is not followed. */
	f->a.xcrs.nr_xcrs = UINT32_MAX;
	assert_int_equal(vcpu_state_check(&f->a, 7, &e), 0);
}

/* A rate within 250 ppm is the same; another one needs scaling. */
static void tsc_rate_of_another_host_is_refused_with_both(void **state)
{
	struct fixture *f = *state;
	uint32_t khz[] = {0, 1, 0, UINT32_MAX};
	struct err e = {0};

	get(f, &f->a, 0);
	khz[2] = f->a.tsc_khz + f->a.tsc_khz / 2000;
	for (size_t i = 0; i < ARRAY_LEN(khz); i++) {
		char text[160];

		f->b = f->a;
		f->b.tsc_khz = khz[i];
		assert_int_equal(
			vcpu_state_set(&f->b, f->k.vcpu_fd[0], false, &e),
			-ENOTSUP);
		(void)snprintf(text, sizeof(text),
			       "The TSC of the snapshot runs at %u kHz, that "
			       "of this host at %u kHz, and the host cannot "
			       "scale it",
			       khz[i], f->a.tsc_khz);
		assert_string_equal(e.text, text);
	}
	f->b = f->a;
	f->b.tsc_khz += f->b.tsc_khz / 5000;
	assert_int_equal(vcpu_state_set(&f->b, f->k.vcpu_fd[0], false, &e), 0);
}

static void rate_of_zero_is_refused_though_the_host_scales(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	get(f, &f->a, 0);
	f->a.tsc_khz = 0;
	assert_int_equal(vcpu_state_set(&f->a, f->k.vcpu_fd[0], true, &e),
			 -ENOTSUP);
}

static void register_that_kvm_refuses_is_named(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	get(f, &f->a, 0);
	f->a.xcrs.nr_xcrs = KVM_MAX_XCRS + 1;
	assert_true(set(f, &f->a, 0, &e) < 0);
	assert_string_equal(e.text, "Cannot restore the vCPU: KVM_SET_XCRS: "
				    "Invalid argument (os error 22)");
}

static void restored_chips_are_the_saved_ones(void **state)
{
	struct fixture *f = *state;
	struct archive a = archive_saver(f->buf, sizeof(f->buf));
	struct err e = {0};
	int fd = f->k.vm_fd;

	assert_int_equal(chip_state_get(&f->chips, fd, &e), 0);
	f->chips.ioapic.chip.ioapic.redirtbl[22].bits = 0x42;
	f->chips.pic[1].chip.pic.irq_base = 0x28;
	f->chips.pit.channels[0].count = 0x1234;
	chip_state_describe(&f->chips, &a);
	assert_true(archive_ok(&a));
	a = archive_loader(f->buf, a.at);
	chip_state_describe(&f->chips2, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(chip_state_set(&f->chips2, fd, false, &e), 0);
	assert_int_equal(chip_state_get(&f->chips2, fd, &e), 0);
	assert_memory_equal(&f->chips.ioapic, &f->chips2.ioapic,
			    sizeof(f->chips.ioapic));
	for (int i = 0; i < 2; i++)
		assert_memory_equal(&f->chips.pic[i], &f->chips2.pic[i],
				    sizeof(f->chips.pic[i]));
	assert_int_equal(f->chips2.pit.channels[0].count, 0x1234);
	/* The clock stands still between the two. */
	assert_true(f->chips2.clock.clock >= f->chips.clock.clock);
	assert_true(f->chips2.clock.clock < f->chips.clock.clock + 10000000000);
}

static void time_of_day_needs_one_that_was_saved(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_int_equal(chip_state_get(&f->chips, f->k.vm_fd, &e), 0);
	f->chips.clock.flags = 0;
	assert_int_equal(chip_state_set(&f->chips, f->k.vm_fd, true, &e),
			 -ENOTSUP);
	assert_non_null(strstr(e.text, "clock_realtime"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(restored_vcpu_is_the_saved_one),
		TEST(tsc_goes_on_from_the_saved_value),
		TEST(cut_off_state_is_refused),
		TEST(counts_beyond_the_tables_are_refused),
		TEST(msr_of_no_snapshot_is_refused_by_number),
		TEST(state_that_the_host_lacks_is_refused_with_both),
		TEST(tsc_rate_of_another_host_is_refused_with_both),
		TEST(rate_of_zero_is_refused_though_the_host_scales),
		TEST(register_that_kvm_refuses_is_named),
		TEST(restored_chips_are_the_saved_ones),
		TEST(time_of_day_needs_one_that_was_saved),
	};

	if (kvm_missing())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
