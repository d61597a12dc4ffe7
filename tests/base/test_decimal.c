/* SPDX-License-Identifier: Apache-2.0 */
#include "base/decimal.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"

static void floats_print_as_serde_prints_them(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{0.0, "0.0"},
		{-0.0, "-0.0"},
		{1.0, "1.0"},
		{1.5, "1.5"},
		{100.0, "100.0"},
		{-12.34, "-12.34"},
		{0.1, "0.1"},
		{0.0025, "0.0025"},
		{1e-5, "0.00001"},
		{1e-6, "1e-6"},
		{1.5e-7, "1.5e-7"},
		{1e15, "1000000000000000.0"},
		{1234567890123456.0, "1234567890123456.0"},
		{1e16, "1e+16"},
		{1e21, "1e+21"},
		{18446744073709551616.0, "1.8446744073709552e+19"},
		{-9223372036854775808.0, "-9.223372036854776e+18"},
		{DBL_MAX, "1.7976931348623157e+308"},
		{5e-324, "5e-324"},
		{-DBL_MIN, "-2.2250738585072014e-308"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[DECIMAL_TEXT_BYTES];

		decimal_print(cases[i].value, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void numbers_are_read_in_serdes_steps(void **state)
{
	static const struct {
		const char *text;
		const char *printed;
	} cases[] = {
		{"123456789012345678901234567890", "1.2345678901234568e+29"},
		{"-9223372036854775809", "-9.223372036854776e+18"},
		{"0.1e-400", "0.0"},
		{"-0", "-0.0"},
		{"2.5e-3", "0.0025"},
		{"1e308", "1e+308"},
		{"10e-309", "1e-308"},
		{"1000000000000000000000e-21", "1.0"},
		/* Dividing by a power of ten rounds twice, there as here. */
		{"0.00000000000000000000000000001", "1.0000000000000001e-29"},
		{"0e999999999999", "0.0"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[DECIMAL_TEXT_BYTES];
		uint32_t len = (uint32_t)strlen(cases[i].text);
		struct decimal d;

		assert_int_equal(decimal_read(&d, cases[i].text, len), len);
		assert_null(d.error);
		assert_int_equal(d.kind, DECIMAL_FLOAT);
		decimal_print(decimal_float(&d), text);
		assert_string_equal(text, cases[i].printed);
	}
}

static void numbers_end_where_they_end(void **state)
{
	struct decimal d;

	(void)state;
	assert_int_equal(decimal_read(&d, "12,3", 4), 2);
	assert_null(d.error);
	assert_int_equal(d.digits, 12);
	assert_int_equal(decimal_read(&d, "0x10", 4), 1);
	assert_null(d.error);
	assert_int_equal(decimal_read(&d, "123", 2), 2);
	assert_int_equal(d.digits, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(floats_print_as_serde_prints_them),
		cmocka_unit_test(numbers_are_read_in_serdes_steps),
		cmocka_unit_test(numbers_end_where_they_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
