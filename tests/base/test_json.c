/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"

/* Scan an exact copy, so that a read behind the end is seen. */
static void scan(struct json *j, char **copy, const char *text, size_t len)
{
	struct err e;

	*copy = malloc(len ? len : 1);
	assert_non_null(*copy);
	memcpy(*copy, text, len);
	assert_int_equal(json_scan(j, *copy, len, &e), 0);
}

static void assert_error(const char *text, size_t len, const char *want)
{
	struct json j;
	struct err e = {0};
	char *copy;

	scan(&j, &copy, text, len);
	if (j.error)
		assert_int_equal(json_syntax_err(&j, &e), -EINVAL);
	assert_string_equal(e.text, want);
	json_exit(&j);
	free(copy);
}

struct wrong {
	const char *text;
	const char *error;
};

static void assert_errors(const struct wrong *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_error(w[i].text, strlen(w[i].text), w[i].error);
}

static void structure_errors_are_serdes(void **state)
{
	static const struct wrong cases[] = {
		{"", "EOF while parsing a value at line 1 column 0"},
		{"\n", "EOF while parsing a value at line 2 column 0"},
		{"{", "EOF while parsing an object at line 1 column 1"},
		{"\n\n{\n", "EOF while parsing an object at line 4 column 0"},
		{"[", "EOF while parsing a list at line 1 column 1"},
		{"[1", "EOF while parsing a list at line 1 column 2"},
		{"[1,", "EOF while parsing a value at line 1 column 3"},
		{"{\"a\"", "EOF while parsing an object at line 1 column 4"},
		{"{\"a\":", "EOF while parsing a value at line 1 column 5"},
		{"{\"a\":1", "EOF while parsing an object at line 1 column 6"},
		{"{\"a\":1,", "EOF while parsing a value at line 1 column 7"},
		{"{\"a\":1,}", "trailing comma at line 1 column 8"},
		{"[1,]", "trailing comma at line 1 column 4"},
		{"[,", "expected value at line 1 column 2"},
		{"[1 2]", "expected `,` or `]` at line 1 column 4"},
		{"{,}", "key must be a string at line 1 column 2"},
		{"{1:1}", "key must be a string at line 1 column 2"},
		{"{\"a\":1,b", "key must be a string at line 1 column 8"},
		{"{\"a\" 1}", "expected `:` at line 1 column 6"},
		{"{\"a\":1 \"b\"", "expected `,` or `}` at line 1 column 8"},
		{"[}", "expected value at line 1 column 2"},
		{"{]", "key must be a string at line 1 column 2"},
		{"{}}", "trailing characters at line 1 column 3"},
		{"1 x", "trailing characters at line 1 column 3"},
		{"x", "expected value at line 1 column 1"},
		{"\xef\xbb\xbf{}", "expected value at line 1 column 1"},
		{"\f1", "expected value at line 1 column 1"},
		{"// c\n1", "expected value at line 1 column 1"},
	};

	(void)state;
	assert_errors(cases, ARRAY_LEN(cases));
}

static void word_and_number_errors_are_serdes(void **state)
{
	static const struct wrong cases[] = {
		{"[tru]", "expected ident at line 1 column 5"},
		{"nul", "EOF while parsing a value at line 1 column 3"},
		{"True", "expected value at line 1 column 1"},
		{"NaN", "expected value at line 1 column 1"},
		{"-", "EOF while parsing a value at line 1 column 1"},
		{"-x", "invalid number at line 1 column 2"},
		{"01", "invalid number at line 1 column 2"},
		{"-01", "invalid number at line 1 column 3"},
		{"1.", "EOF while parsing a value at line 1 column 2"},
		{"[1.]", "invalid number at line 1 column 4"},
		{".5", "expected value at line 1 column 1"},
		{"+1", "expected value at line 1 column 1"},
		{"1e", "EOF while parsing a value at line 1 column 2"},
		{"[1e]", "invalid number at line 1 column 4"},
		{"1e+", "EOF while parsing a value at line 1 column 3"},
		{"[0x10]", "expected `,` or `]` at line 1 column 3"},
		{"1e400", "number out of range at line 1 column 5"},
		{"-1E400", "number out of range at line 1 column 6"},
		{"1e99999999999", "number out of range at line 1 column 12"},
	};

	(void)state;
	assert_errors(cases, ARRAY_LEN(cases));
}

static void string_errors_are_serdes(void **state)
{
	static const struct wrong cases[] = {
		{"\"", "EOF while parsing a string at line 1 column 1"},
		{"\"a\\", "EOF while parsing a string at line 1 column 3"},
		{"\"\\u12", "EOF while parsing a string at line 1 column 5"},
		{"\"\\x\"", "invalid escape at line 1 column 3"},
		{"\"\\u12\"}", "invalid escape at line 1 column 7"},
		{"\"\t\"", "control character (\\u0000-\\u001F) found while "
			   "parsing a string at line 1 column 2"},
		{"\"\n\"", "control character (\\u0000-\\u001F) found while "
			   "parsing a string at line 2 column 0"},
		{"\"\\ud800\"",
		 "unexpected end of hex escape at line 1 column 8"},
		{"\"\\ud800\\n\"",
		 "unexpected end of hex escape at line 1 column 9"},
		{"\"\\ud800", "EOF while parsing a string at line 1 column 7"},
		{"\"\\ude00\"",
		 "lone leading surrogate in hex escape at line 1 column 7"},
		{"\"\\ud800\\u0041\"",
		 "lone leading surrogate in hex escape at line 1 column 13"},
	};

	(void)state;
	assert_errors(cases, ARRAY_LEN(cases));
	assert_error("\"\0\"", 3,
		     "control character (\\u0000-\\u001F) found while parsing "
		     "a string at line 1 column 2");
	assert_error("\"\\\0\"", 4, "invalid escape at line 1 column 3");
}

static void strings_must_be_utf8(void **state)
{
	static const char *const good[] = {
		"\"\xc2\x80\"",		"\"\xdf\xbf\"",
		"\"\xe0\xa0\x80\"",	"\"\xed\x9f\xbf\"",
		"\"\xee\x80\x80\"",	"\"\xf0\x90\x80\x80\"",
		"\"\xf4\x8f\xbf\xbf\"", "\"\x7f\"",
	};
	static const char *const bad[] = {
		"\"\x80\"",
		"\"\xc1\xbf\"",
		"\"\xc2\"",
		"\"\xc3(\"",
		"\"\xe0\x9f\xbf\"",
		"\"\xe2\x82\"",
		"\"\xed\xa0\x80\"",
		"\"\xf0\x8f\xbf\xbf\"",
		"\"\xff\"",
		"\"\xf4\x90\x80\x80\"",
		"\"\xf5\x80\x80\x80\"",
		"\"\xc3\\u00a9\"",
	};
	char want[80];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_error(good[i], strlen(good[i]), "");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)snprintf(want, sizeof(want),
			       "invalid unicode code point at line 1 column "
			       "%zu",
			       strlen(bad[i]));
		assert_error(bad[i], strlen(bad[i]), want);
	}
	/* What is open or escaped wrongly comes before what is not UTF-8. */
	assert_error("\"\xff", 2,
		     "EOF while parsing a string at line 1 column 2");
}

static void nesting_ends_at_127(void **state)
{
	char text[2 * 128];

	(void)state;
	memset(text, '[', 127);
	memset(text + 127, ']', 127);
	assert_error(text, 254, "");
	memset(text, '[', 128);
	assert_error(text, 128,
		     "recursion limit exceeded at line 1 column 128");
}

static void tokens_say_where_things_stand(void **state)
{
	static const char text[] = " {\"a\" : [1,{}], \"b\":null}\n";
	static const struct json_tok want[] = {
		{1, 25, 7, JSON_OBJECT},  {2, 5, 2, JSON_STRING},
		{8, 14, 5, JSON_ARRAY},	  {9, 10, 4, JSON_UINT},
		{11, 13, 5, JSON_OBJECT}, {16, 19, 6, JSON_STRING},
		{20, 24, 7, JSON_NULL},
	};
	struct json j;
	char *copy;

	(void)state;
	scan(&j, &copy, text, strlen(text));
	assert_null(j.error);
	assert_int_equal(j.n, ARRAY_LEN(want));
	for (size_t i = 0; i < j.n; i++) {
		assert_int_equal(j.tok[i].at, want[i].at);
		assert_int_equal(j.tok[i].end, want[i].end);
		assert_int_equal(j.tok[i].next, want[i].next);
		assert_int_equal(j.tok[i].kind, want[i].kind);
	}
	json_exit(&j);
	free(copy);
}

static void tokens_before_an_error_are_kept(void **state)
{
	static const char text[] = "{\"a\":[1,{\"b\":2,x";
	struct json j;
	char *copy;

	(void)state;
	scan(&j, &copy, text, strlen(text));
	assert_string_equal(j.error, "key must be a string");
	assert_int_equal(j.n, 7);
	/* What is cut off has no end and reaches to the last token. */
	assert_int_equal(j.tok[0].end, 0);
	assert_int_equal(j.tok[0].next, 7);
	assert_int_equal(j.tok[2].end, 0);
	assert_int_equal(j.tok[2].next, 7);
	assert_int_equal(j.tok[4].end, 0);
	assert_int_equal(j.tok[4].next, 7);
	assert_int_equal(j.tok[6].end, 14);
	json_exit(&j);
	free(copy);
}

static void densest_texts_fit_the_tokens(void **state)
{
	enum { N = 9999 };
	char text[N];
	struct json j;
	char *copy;

	(void)state;
	memset(text, '[', 127);
	for (size_t i = 127; i < N; i++)
		text[i] = (i & 1) ? '1' : ',';
	scan(&j, &copy, text, N);
	assert_int_equal(j.n, 127 + (N - 127) / 2);
	json_exit(&j);
	free(copy);
}

static void numbers_are_classified_and_exact(void **state)
{
	static const struct {
		const char *text;
		enum json_kind kind;
		uint64_t value;
	} cases[] = {
		{"0", JSON_UINT, 0},
		{"18446744073709551615", JSON_UINT, UINT64_MAX},
		{"9007199254740993", JSON_UINT, 9007199254740993},
		{"-1", JSON_NEGATIVE, UINT64_MAX},
		{"-9223372036854775808", JSON_NEGATIVE, (uint64_t)1 << 63},
		{"-9223372036854775809", JSON_FLOAT, 0},
		{"18446744073709551616", JSON_FLOAT, 0},
		{"-0", JSON_FLOAT, 0},
		{"1.0", JSON_FLOAT, 0},
		{"1e2", JSON_FLOAT, 0},
		{"1E+2", JSON_FLOAT, 0},
		{"0e400", JSON_FLOAT, 0},
		{"1e-99999999999", JSON_FLOAT, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct json j;
		char *copy;

		scan(&j, &copy, cases[i].text, strlen(cases[i].text));
		assert_null(j.error);
		assert_int_equal(j.tok[0].kind, cases[i].kind);
		if (j.tok[0].kind == JSON_UINT)
			assert_true(json_uint(&j, j.tok) == cases[i].value);
		if (j.tok[0].kind == JSON_NEGATIVE)
			assert_true((uint64_t)json_negative(&j, j.tok) ==
				    cases[i].value);
		json_exit(&j);
		free(copy);
	}
}

static void strings_are_decoded(void **state)
{
	static const char text[] =
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u00e9\\u20AC"
		"\\ud83d\\uDE00x\xc3\xa9\"";
	static const char want[] = "\"\\/\b\f\n\r\t\0\xc3\xa9\xe2\x82\xac"
				   "\xf0\x9f\x98\x80x\xc3\xa9";
	char buf[sizeof(text)];
	struct json j;
	char *copy;

	(void)state;
	scan(&j, &copy, text, strlen(text));
	assert_null(j.error);
	assert_int_equal(json_string(&j, j.tok, buf), sizeof(want) - 1);
	assert_memory_equal(buf, want, sizeof(want));
	json_exit(&j);
	free(copy);
}

static void strings_compare_decoded(void **state)
{
	static const char text[] = "[\"a\\u0062\",\"ab\\u0000\",\"\"]";
	struct json j;
	char *copy;

	(void)state;
	scan(&j, &copy, text, strlen(text));
	assert_true(json_string_is(&j, &j.tok[1], "ab"));
	assert_false(json_string_is(&j, &j.tok[1], "abc"));
	assert_false(json_string_is(&j, &j.tok[2], "ab"));
	assert_true(json_string_is(&j, &j.tok[3], ""));
	json_exit(&j);
	free(copy);
}

static void long_texts_are_refused(void **state)
{
	struct json j;
	struct err e;

	(void)state;
	assert_int_equal(json_scan(&j, "", JSON_MAX_BYTES + 1, &e), -E2BIG);
	json_exit(&j);
	json_exit(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structure_errors_are_serdes),
		cmocka_unit_test(word_and_number_errors_are_serdes),
		cmocka_unit_test(string_errors_are_serdes),
		cmocka_unit_test(strings_must_be_utf8),
		cmocka_unit_test(nesting_ends_at_127),
		cmocka_unit_test(tokens_say_where_things_stand),
		cmocka_unit_test(tokens_before_an_error_are_kept),
		cmocka_unit_test(densest_texts_fit_the_tokens),
		cmocka_unit_test(numbers_are_classified_and_exact),
		cmocka_unit_test(strings_are_decoded),
		cmocka_unit_test(strings_compare_decoded),
		cmocka_unit_test(long_texts_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
