/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a template made of a guest's CPU goes along from machine to machine, and
 * is not asked of their hosts.
 */
#include "tests/snapshot/sweep.h"

static int setup_lacking(void **state)
{
	fake_kvm.lacks = 0;
	return setup(state);
}

static void removed_capability_is_not_asked_for(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	fake_kvm.lacks = REMOVED_CAP;
	if (load(f, f->s.data, f->len, false, &e) < 0)
		fail_msg("%s", e.text);
	fake_kvm.lacks = KVM_CAP_PIT_STATE2;
	assert_int_equal(load(f, f->s.data, f->len, false, &e), -ENOTSUP);
	assert_string_equal(e.text,
			    "The snapshot needs a capability of KVM that this "
			    "host lacks: KVM_CAP_PIT_STATE2 (35)");
}

/* Nothing is made before. */
static void lacking_capability_is_found_first(void **state)
{
	struct fixture *f = *state;
	unsigned long before = fake_kvm.calls;
	struct err e = {0};

	fake_kvm.lacks = KVM_CAP_SREGS2;
	assert_int_equal(load(f, f->s.data, f->len, false, &e), -ENOTSUP);
	assert_true(fake_kvm.calls - before <= KVM_CAPS_MAX);
}

static void forced_feature_is_that_of_the_file(void **state)
{
	struct fixture *f = *state;
	struct saved *saved = NULL;
	struct machine m;
	struct err e = {0};

	assert_int_equal(snapshot_saved(&f->s, N_VCPUS, &saved, &e), 0);
	assert_int_equal(saved->forced.n, 1);
	assert_int_equal(saved->forced.entry[0].edx, FORCED_EDX);
	if (machine_build(&m, &f->host, saved, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(cpuid_find(&m.vm->cpuid, 7, 0)->edx & FORCED_EDX);
	machine_exit(&m);
	/* Without its word the host would have to have it. */
	saved->forced.n = 0;
	assert_int_equal(machine_build(&m, &f->host, saved, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "leaf 0x7 subleaf 0x0 EDX bits 0x10"));
	machine_exit(&m);
	saved_free(saved);
}

#undef TEST
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_lacking, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(removed_capability_is_not_asked_for),
		TEST(lacking_capability_is_found_first),
		TEST(forced_feature_is_that_of_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
