/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/archive.h"

struct thing {
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	bool e;
	char f[3];
};

static void describe(struct thing *t, struct archive *a)
{
	archive_u8(a, &t->a);
	archive_u16(a, &t->b);
	archive_u32(a, &t->c);
	archive_u64(a, &t->d);
	archive_bool(a, &t->e);
	archive_bytes(a, t->f, sizeof(t->f));
}

#define THING_BYTES 19

static const uint8_t wire[THING_BYTES] = {
	1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 1, 'x', 'y', 'z',
};

static const struct thing thing = {.a = 1,
				   .b = 0x0203,
				   .c = 0x04050607,
				   .d = 0x08090a0b0c0d0e0f,
				   .e = true,
				   .f = {'x', 'y', 'z'}};

static void saves_little_endian_without_padding(void **state)
{
	uint8_t buf[THING_BYTES];
	struct thing t = thing;
	struct archive a = archive_saver(buf, sizeof(buf));

	(void)state;
	describe(&t, &a);
	assert_true(archive_ok(&a));
	assert_memory_equal(buf, wire, sizeof(buf));
}

static void loads_what_was_saved(void **state)
{
	struct thing t = {0};
	struct archive a = archive_loader(wire, sizeof(wire));

	(void)state;
	describe(&t, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(t.d, thing.d);
	assert_int_equal(t.c, thing.c);
	assert_true(t.e);
	assert_memory_equal(t.f, "xyz", 3);
}

static void short_or_long_archives_fail(void **state)
{
	uint8_t longer[THING_BYTES + 1] = {0};

	(void)state;
	for (size_t n = 0; n < THING_BYTES; n++) {
		uint8_t buf[THING_BYTES];
		struct thing t = thing;
		struct archive in = archive_loader(wire, n);
		struct archive out = archive_saver(buf, n);

		describe(&t, &in);
		assert_false(archive_ok(&in));
		t = thing;
		describe(&t, &out);
		assert_false(archive_ok(&out));
	}
	memcpy(longer, wire, sizeof(wire));
	struct archive a = archive_loader(longer, sizeof(longer));
	struct thing t = {0};

	describe(&t, &a);
	assert_false(a.failed);
	assert_false(archive_ok(&a));
}

static void failure_stays_and_leaves_fields_alone(void **state)
{
	struct archive a = archive_loader(wire, 1);
	uint32_t c = 77;
	uint8_t byte = 78;

	(void)state;
	archive_u32(&a, &c);
	archive_u8(&a, &byte);
	assert_true(a.failed);
	assert_int_equal(c, 77);
	assert_int_equal(byte, 78);
}

static void bool_is_0_or_1(void **state)
{
	const uint8_t two = 2;
	struct archive a = archive_loader(&two, 1);
	bool v = false;

	(void)state;
	archive_bool(&a, &v);
	assert_false(archive_ok(&a));
	assert_false(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saves_little_endian_without_padding),
		cmocka_unit_test(loads_what_was_saved),
		cmocka_unit_test(short_or_long_archives_fail),
		cmocka_unit_test(failure_stays_and_leaves_fields_alone),
		cmocka_unit_test(bool_is_0_or_1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
