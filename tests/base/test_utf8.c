/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "base/num.h"

static void utf8_is_told_from_what_is_not(void **state)
{
	static const struct {
		const char *text;
		size_t len, good, bad;
	} rows[] = {
		{"", 0, 0, 9},
		{"a\0b", 3, 3, 9},
		{"\x7f\xc2\x80", 3, 3, 9},
		{"\xdf\xbf", 2, 2, 9},
		{"\xe0\xa0\x80", 3, 3, 9},
		{"\xed\x9f\xbf", 3, 3, 9},
		{"\xee\x80\x80", 3, 3, 9},
		{"\xf0\x90\x80\x80", 4, 4, 9},
		{"\xf4\x8f\xbf\xbf", 4, 4, 9},
		/* overlong, surrogate, too large, stray, never */
		{"\xc0\x80", 2, 0, 1},
		{"\xe0\x9f\xbf", 3, 0, 1},
		{"\xf0\x8f\xbf\xbf", 4, 0, 1},
		{"\xed\xa0\x80", 3, 0, 1},
		{"\xf4\x90\x80\x80", 4, 0, 1},
		{"a\x80", 2, 1, 1},
		{"\xf5\x80\x80\x80", 4, 0, 1},
		{"ab\xff", 3, 2, 1},
		/* broken off by another byte */
		{"\xc3(", 2, 0, 1},
		{"\xe2\x82(", 3, 0, 2},
		{"\xf0\x9f\x92(", 4, 0, 3},
		/* broken off by the end */
		{"\xc3", 1, 0, 0},
		{"a\xe2\x82", 3, 1, 0},
		{"\xf0\x9f\x92", 3, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t bad = 9;

		assert_int_equal(utf8_prefix(rows[i].text, rows[i].len, &bad),
				 rows[i].good);
		assert_int_equal(bad, rows[i].bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8_is_told_from_what_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
