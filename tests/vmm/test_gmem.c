/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"

static void make(struct gmem *m, uint64_t bytes)
{
	struct err e;

	assert_int_equal(gmem_reserve(m, bytes, &e), 0);
	assert_int_equal(gmem_back(m, GMEM_ANON, &e), 0);
}

static void small_ram_is_one_region(void **state)
{
	struct gmem m;

	(void)state;
	make(&m, 128 * MIB);
	assert_int_equal(m.n_regions, 1);
	assert_true(gmem_valid(&m, 0, 128 * MIB));
	assert_false(gmem_valid(&m, 0, 128 * MIB + 1));
	assert_false(gmem_valid(&m, 128 * MIB, 1));
	assert_true(gmem_valid(&m, 128 * MIB, 0));
	gmem_exit(&m);
}

static void ram_goes_on_at_4_gib(void **state)
{
	struct gmem m;

	(void)state;
	make(&m, 4 * GIB);
	assert_int_equal(m.n_regions, 2);
	assert_true(gmem_valid(&m, 3 * GIB - 1, 1));
	assert_false(gmem_valid(&m, 3 * GIB - 1, 2));
	assert_false(gmem_valid(&m, 3 * GIB, 1));
	assert_false(gmem_valid(&m, 4 * GIB - 1, 1));
	assert_false(gmem_valid(&m, 4 * GIB - 1, 2));
	assert_true(gmem_valid(&m, 4 * GIB, GIB));
	assert_false(gmem_valid(&m, 4 * GIB, GIB + 1));
	gmem_exit(&m);
}

static void ranges_that_wrap_are_refused(void **state)
{
	struct gmem m;

	(void)state;
	make(&m, 4 * GIB);
	assert_false(gmem_valid(&m, UINT64_MAX, 1));
	assert_false(gmem_valid(&m, 1, UINT64_MAX));
	assert_false(gmem_valid(&m, UINT64_MAX - 255, 512));
	assert_false(gmem_valid(&m, 4 * GIB, UINT64_MAX - 4 * GIB + 1));
	assert_null(gmem_ptr(&m, UINT64_MAX, UINT64_MAX));
	gmem_exit(&m);
}

static void copies_are_whole_or_nothing(void **state)
{
	uint8_t in[16], out[16] = {0};
	struct gmem m;

	(void)state;
	memset(in, 0x5a, sizeof(in));
	make(&m, MIB);
	assert_int_equal(gmem_write(&m, MIB - 8, in, 16), -EFAULT);
	assert_int_equal(gmem_read(&m, MIB - 8, out, 8), 0);
	assert_int_equal(out[0], 0);
	assert_int_equal(gmem_write(&m, MIB - 16, in, 16), 0);
	assert_int_equal(gmem_read(&m, MIB - 16, out, 16), 0);
	assert_memory_equal(in, out, 16);
	memset(out, 0, sizeof(out));
	assert_int_equal(gmem_read(&m, MIB - 1, out, 16), -EFAULT);
	assert_int_equal(out[0], 0);
	gmem_exit(&m);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	struct gmem m;
	struct err e;

	(void)state;
	assert_true(gmem_reserve(&m, UINT64_MAX - 4095, &e) < 0);
	assert_string_equal(e.text, "Total sum of memory regions exceeds "
				    "largest possible file offset");
	gmem_exit(&m);
	assert_int_equal(gmem_reserve(&m, 1ULL << 60, &e), -ENOMEM);
	assert_string_equal(
		e.text,
		"Cannot create mmap region: Out of memory (os error 12)");
	gmem_exit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_ram_is_one_region),
		cmocka_unit_test(ram_goes_on_at_4_gib),
		cmocka_unit_test(ranges_that_wrap_are_refused),
		cmocka_unit_test(copies_are_whole_or_nothing),
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
