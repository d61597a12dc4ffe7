/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"
#include "vmm/x86/state.h"

#define ENTRY_BYTES 28

static void put(struct cpuid *c, uint32_t leaf, uint32_t subleaf,
		const uint32_t reg[4])
{
	c->entry[c->n++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = subleaf,
		.eax = reg[0],
		.ebx = reg[1],
		.ecx = reg[2],
		.edx = reg[3],
	};
}

/* A leaf that holds these bits in one register and a CPU that has all. */
static int check(uint32_t leaf, uint32_t subleaf, int reg, uint32_t saved_bits,
		 uint32_t host_bits, struct err *e)
{
	struct cpuid saved = {0}, host = {0}, none = {0};
	uint32_t value[4] = {0};

	value[reg] = saved_bits;
	put(&saved, leaf, subleaf, value);
	value[reg] = host_bits;
	put(&host, leaf, subleaf, value);
	return cpuid_check_subset(&saved, &none, &host, e);
}

static void subset_is_accepted(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(check(7, 0, 1, 0, UINT32_MAX, &e), 0);
	assert_int_equal(check(7, 0, 1, 0x20, 0x21, &e), 0);
	assert_int_equal(check(7, 0, 1, 0x21, 0x21, &e), 0);
}

static void each_missing_feature_is_named(void **state)
{
	static const struct {
		uint32_t leaf, subleaf;
		int reg;
		const char *name;
	} where[] = {
		{0x1, 0, 2, "leaf 0x1 subleaf 0x0 ECX"},
		{0x1, 0, 3, "leaf 0x1 subleaf 0x0 EDX"},
		{0x7, 0, 1, "leaf 0x7 subleaf 0x0 EBX"},
		{0x7, 1, 0, "leaf 0x7 subleaf 0x1 EAX"},
		{0xd, 0, 0, "leaf 0xd subleaf 0x0 EAX"},
		{0xd, 1, 0, "leaf 0xd subleaf 0x1 EAX"},
		{0x80000001, 0, 2, "leaf 0x80000001 subleaf 0x0 ECX"},
		{0x80000008, 0, 1, "leaf 0x80000008 subleaf 0x0 EBX"},
		{0x40000001, 0, 0, "leaf 0x40000001 subleaf 0x0 EAX"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(where); i++) {
		struct err e = {0};

		assert_int_equal(check(where[i].leaf, where[i].subleaf,
				       where[i].reg, 0x300, 0x100, &e),
				 -ENOTSUP);
		assert_non_null(strstr(e.text, where[i].name));
		assert_non_null(strstr(e.text, " bits 0x200 (it is 0x300 "
					       "there, 0x100 here)"));
	}
}

/* What KVM sets as the guest runs, and registers that are no features. */
static void what_is_no_feature_may_differ(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(check(1, 0, 2, 1U << 27, 0, &e), 0); /* OSXSAVE */
	assert_int_equal(check(7, 0, 2, 1U << 4, 0, &e), 0);  /* OSPKE */
	assert_int_equal(check(1, 0, 0, 0x50657, 0x806f8, &e), 0);
	assert_int_equal(check(0x80000002, 0, 0, 1, 2, &e), 0);
}

static void leaf_that_the_host_lacks_is_without_features(void **state)
{
	const uint32_t some[4] = {0, 8, 0, 0}, zero[4] = {0};
	struct cpuid saved = {0}, host = {0}, none = {0};
	struct err e;

	(void)state;
	put(&saved, 7, 0, zero);
	assert_int_equal(cpuid_check_subset(&saved, &none, &host, &e), 0);
	saved.n = 0;
	put(&saved, 7, 0, some);
	assert_int_equal(cpuid_check_subset(&saved, &none, &host, &e),
			 -ENOTSUP);
	assert_non_null(strstr(e.text, "EBX bits 0x8"));
}

static void put_vendor(struct cpuid *c, const char name[12])
{
	uint32_t reg[4] = {0xd};

	memcpy(&reg[1], name, 4);
	memcpy(&reg[3], name + 4, 4);
	memcpy(&reg[2], name + 8, 4);
	put(c, 0, 0, reg);
}

static void another_vendor_is_refused_with_both(void **state)
{
	struct cpuid saved = {0}, host = {0}, none = {0};
	struct err e = {0};

	(void)state;
	put_vendor(&saved, "GenuineIntel");
	put_vendor(&host, "GenuineIntel");
	assert_int_equal(cpuid_check_subset(&saved, &none, &host, &e), 0);
	host.n = 0;
	put_vendor(&host, "AuthenticAMD");
	assert_int_equal(cpuid_check_subset(&saved, &none, &host, &e),
			 -ENOTSUP);
	assert_string_equal(e.text,
			    "The snapshot's CPU is of vendor 'GenuineIntel', "
			    "this host's of 'AuthenticAMD'");
	/* What is no text does not get into the log. */
	saved.n = 0;
	put_vendor(&saved, "G\n\x1b\xff"
			   "ineIntel");
	assert_int_equal(cpuid_check_subset(&saved, &none, &host, &e),
			 -ENOTSUP);
	assert_non_null(strstr(e.text, "'G???ineIntel'"));
}

/* Wherever the guest runs, it has what a template gave; nothing more. */
static void what_a_template_forced_is_not_asked_of_a_host(void **state)
{
	const uint32_t here[4] = {5, 0x21, 0, 0}, given[4] = {7, 0x2f, 1, 0};
	struct cpuid made = {0}, own = {0}, forced = {0}, other = {0};
	struct err e = {0};

	(void)state;
	put(&own, 7, 0, here);
	put(&made, 7, 0, given);
	put(&made, 0x80000007, 0, given);
	cpuid_find_forced(&forced, &made, &own);
	assert_int_equal(forced.n, 1);
	assert_int_equal(forced.entry[0].function, 7);
	assert_int_equal(forced.entry[0].eax, 0); /* no features */
	assert_int_equal(forced.entry[0].ebx, 0xe);
	assert_int_equal(forced.entry[0].ecx, 1);
	assert_int_equal(cpuid_check_subset(&made, &forced, &own, &e), 0);
	put(&other, 7, 0, (const uint32_t[4]){0, 0x20, 0, 0});
	assert_int_equal(cpuid_check_subset(&made, &forced, &other, &e),
			 -ENOTSUP);
	assert_non_null(strstr(e.text, "EBX bits 0x1 (it is 0x2f there, 0x20 "
				       "here)"));
	cpuid_find_forced(&forced, &own, &own);
	assert_int_equal(forced.n, 0);
}

static void table_goes_through_an_archive(void **state)
{
	static uint8_t buf[4 + CPUID_MAX_ENTRIES * ENTRY_BYTES];
	static struct cpuid c, back;
	struct archive a = archive_saver(buf, sizeof(buf));

	(void)state;
	for (uint32_t i = 0; i < CPUID_MAX_ENTRIES; i++)
		put(&c, i, i + 1,
		    (const uint32_t[4]){i + 2, i + 3, i + 4, i + 5});
	cpuid_describe(&c, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(a.at, sizeof(buf));
	a = archive_loader(buf, sizeof(buf));
	cpuid_describe(&back, &a);
	assert_true(archive_ok(&a));
	assert_memory_equal(&c, &back, sizeof(c));
	for (size_t len = 0; len < sizeof(buf); len++) {
		a = archive_loader(buf, len);
		cpuid_describe(&back, &a);
		assert_false(archive_ok(&a));
	}
}

static void too_many_entries_are_refused(void **state)
{
	const uint32_t counts[] = {CPUID_MAX_ENTRIES + 1, 1U << 31, UINT32_MAX};
	static struct cpuid c;
	uint8_t buf[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		struct archive a = archive_saver(buf, sizeof(buf));
		uint32_t n = counts[i];

		archive_u32(&a, &n);
		a = archive_loader(buf, sizeof(buf));
		cpuid_describe(&c, &a);
		assert_false(archive_ok(&a));
		assert_int_equal(c.n, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subset_is_accepted),
		cmocka_unit_test(each_missing_feature_is_named),
		cmocka_unit_test(what_is_no_feature_may_differ),
		cmocka_unit_test(leaf_that_the_host_lacks_is_without_features),
		cmocka_unit_test(another_vendor_is_refused_with_both),
		cmocka_unit_test(what_a_template_forced_is_not_asked_of_a_host),
		cmocka_unit_test(table_goes_through_an_archive),
		cmocka_unit_test(too_many_entries_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
