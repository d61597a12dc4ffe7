/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "ctl/text.h"

#define PRINTED(print, s) printed(print, s, sizeof(s) - 1)

/* What a function prints; free() it. */
static char *printed(void (*print)(FILE *out, const char *s, size_t len),
		     const char *s, size_t len)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	print(out, s, len);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void nothing_moves_the_cursor(void **state)
{
	char *text = PRINTED(text_print, "a\033[2J\r\n\x7f\xc2\x9b"
					 "b");

	(void)state;
	assert_string_equal(text, "a\\x1b[2J\\x0d\\x0a\\x7f\\xc2\\x9bb");
	free(text);
}

static void strings_are_json_whatever_is_in_them(void **state)
{
	char *text = PRINTED(text_json, "\"\\\n\x01\xff\xc3\xa9\xe2\x82");

	(void)state;
	assert_string_equal(text,
			    "\"\\\"\\\\\\u000a\\u0001\\ufffd\xc3\xa9\\ufffd\"");
	free(text);
}

static void every_byte_makes_a_string(void **state)
{
	(void)state;
	for (int i = 0; i < 0x10000; i++) {
		const char s[] = {(char)i, (char)(i >> 8)};
		char *text = printed(text_json, s, sizeof(s));
		struct json j;

		assert_int_equal(json_scan(&j, text, strlen(text), NULL), 0);
		assert_null(j.error);
		assert_int_equal(j.n, 1);
		json_exit(&j);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_moves_the_cursor),
		cmocka_unit_test(strings_are_json_whatever_is_in_them),
		cmocka_unit_test(every_byte_makes_a_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
