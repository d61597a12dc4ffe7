/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "virtio/mmds/store.h"

static struct mmds_store s;
static struct err e;

static int setup(void **state)
{
	(void)state;
	mmds_store_init(&s, 51200);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mmds_store_exit(&s);
	return 0;
}

static int put(const char *text)
{
	return mmds_store_put(&s, text, strlen(text), &e);
}

static int patch(const char *text)
{
	return mmds_store_patch(&s, text, strlen(text), &e);
}

static void shows(const char *want)
{
	char *text = mmds_store_print(&s);

	assert_string_equal(text, want);
	free(text);
}

static void put_shows(const char *text, const char *want)
{
	assert_int_equal(put(text), 0);
	shows(want);
}

/* MMDS_FOUND: what is found; else what mmds_store_get() says. */
static void gets(const char *path, enum mmds_format f, enum mmds_found found,
		 const char *want, size_t want_len)
{
	char buf[256];
	size_t len, again;

	assert_int_equal(
		mmds_store_get(&s, path, strlen(path), f, buf, 0, &len), found);
	if (found != MMDS_FOUND)
		return;
	assert_int_equal(len, want_len);
	assert_int_equal(mmds_store_get(&s, path, strlen(path), f, buf,
					sizeof(buf), &again),
			 found);
	assert_int_equal(again, len);
	assert_memory_equal(buf, want, len);
}

static void gets_json(const char *path, const char *want)
{
	gets(path, MMDS_JSON, MMDS_FOUND, want, strlen(want));
}

static void gets_text(const char *path, const char *want)
{
	gets(path, MMDS_IMDS, MMDS_FOUND, want, strlen(want));
}

static void put_prints_numbers_as_serde_does(void **state)
{
	static const char *const cases[][2] = {
		{"0", "0"},
		{"-0", "-0.0"},
		{"1.0", "1.0"},
		{"1e2", "100.0"},
		{"1E5", "100000.0"},
		{"1e-7", "1e-7"},
		{"2.5e-3", "0.0025"},
		{"1e16", "1e+16"},
		{"1e21", "1e+21"},
		{"100000000000000000000.0", "1e+20"},
		{"18446744073709551615", "18446744073709551615"},
		{"18446744073709551616", "1.8446744073709552e+19"},
		{"-9223372036854775808", "-9223372036854775808"},
		{"-9223372036854775809", "-9.223372036854776e+18"},
		{"9007199254740993", "9007199254740993"},
		{"123456789012345678901234567890", "1.2345678901234568e+29"},
		{"0.1e-400", "0.0"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(put(cases[i][0]), 0);
		shows(cases[i][1]);
	}
}

static void put_prints_strings_as_serde_does(void **state)
{
	(void)state;
	put_shows("\"\\u00e9\"", "\"\xc3\xa9\"");
	put_shows("\"\xc3\xa9\"", "\"\xc3\xa9\"");
	put_shows("\"\\/\"", "\"/\"");
	put_shows("\"\\b\\f\\n\\r\\t\"", "\"\\b\\f\\n\\r\\t\"");
	put_shows("\"\\u0008\\u000b\"", "\"\\b\\u000b\"");
	put_shows("\"\\u0001\\u001F\\u007f\"", "\"\\u0001\\u001f\x7f\"");
	put_shows("\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"");
	put_shows("\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\"");
	put_shows("\"\\u0000a\\u0000\"", "\"\\u0000a\\u0000\"");
	put_shows("\"\"", "\"\"");
}

static void put_sorts_keys_and_the_last_wins(void **state)
{
	(void)state;
	put_shows("{\"b\":1,\"a\":2,\"b\":3}", "{\"a\":2,\"b\":3}");
	put_shows("{\"\":1,\" \":2,\"a/b\":3,\"\\u00e9\":4}",
		  "{\"\":1,\" \":2,\"a/b\":3,\"\xc3\xa9\":4}");
	put_shows("{\"a\\u0001\":1,\"a\":2,\"a\\u0000\":3,\"a\\u0000b\":4}",
		  "{\"a\":2,\"a\\u0000\":3,\"a\\u0000b\":4,\"a\\u0001\":1}");
	put_shows("{\"\\\"\":1,\"!\":2,\"#\":3}",
		  "{\"!\":2,\"\\\"\":1,\"#\":3}");
	put_shows("{\"a\":1,\"\\u0061\":{\"x\":1,\"x\":[{\"z\":1,\"y\":2}]}}",
		  "{\"a\":{\"x\":[{\"y\":2,\"z\":1}]}}");
}

static void put_takes_any_value(void **state)
{
	static const char *const same[] = {"1",	   "\"x\"", "[]", "[1]",
					   "true", "false", "{}", "[[],{}]"};

	(void)state;
	shows("{}");
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		put_shows(same[i], same[i]);
	put_shows("null", "{}");
	put_shows(" [ 1 , null ,\n{ \"a\" : null } ] ",
		  "[1,null,{\"a\":null}]");
}

static void put_refuses_what_is_no_json(void **state)
{
	(void)state;
	put_shows("{\"a\":1}", "{\"a\":1}");
	assert_int_equal(put("{\"a\":1"), -EINVAL);
	assert_string_equal(e.text,
			    "EOF while parsing an object at line 1 column 6");
	assert_int_equal(put("{} x"), -EINVAL);
	assert_string_equal(e.text, "trailing characters at line 1 column 4");
	assert_int_equal(put(""), -EINVAL);
	assert_int_equal(patch("{\"a\":01}"), -EINVAL);
	assert_string_equal(e.text, "invalid number at line 1 column 7");
	shows("{\"a\":1}");
}

static void put_takes_127_levels(void **state)
{
	char text[2 * 128 + 1];

	(void)state;
	memset(text, '[', 127);
	memset(text + 127, ']', 127);
	text[254] = '\0';
	put_shows(text, text);
	assert_int_equal(patch(text), 0);
	shows(text);
	memset(text, '[', 128);
	memset(text + 128, ']', 128);
	text[256] = '\0';
	assert_int_equal(put(text), -EINVAL);
}

static void patch_needs_a_document(void **state)
{
	(void)state;
	assert_int_equal(patch("{"), -EINVAL);
	assert_int_equal(patch("{}"), -ENOENT);
	assert_string_equal(e.text, "The MMDS data store is not initialized.");
	assert_int_equal(put("null"), 0);
	assert_int_equal(patch("{\"a\":1}"), 0);
	shows("{\"a\":1}");
}

/* RFC 7396, appendix A. */
static void patch_merges(void **state)
{
	static const char *const cases[][3] = {
		{"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
		{"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
		{"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
		{"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
		{"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
		{"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
		{"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
		 "{\"a\":{\"b\":\"d\"}}"},
		{"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
		{"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
		{"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
		{"{\"a\":\"foo\"}", "null", "{}"},
		{"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
		{"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}"},
		{"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
		{"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}",
		 "{\"a\":{\"bb\":{}}}"},
		/* and of ours */
		{"{\"b\":1,\"d\":2}", "{\"e\":5,\"c\":4,\"a\":3}",
		 "{\"a\":3,\"b\":1,\"c\":4,\"d\":2,\"e\":5}"},
		{"{\"a\\u0000\":1}", "{\"a\":2,\"a\\u0000\":null}",
		 "{\"a\":2}"},
		{"{\"\":1}", "{\"\":null,\"x\":[null,{\"y\":null}]}",
		 "{\"x\":[null,{\"y\":null}]}"},
		{"{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"x\":1e2},\"a\":{}}",
		 "{\"a\":{\"x\":1,\"y\":2}}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(put(cases[i][0]), 0);
		assert_int_equal(patch(cases[i][1]), 0);
		shows(cases[i][2]);
	}
}

static void limit_counts_what_is_printed(void **state)
{
	(void)state;
	mmds_store_exit(&s);
	mmds_store_init(&s, 9);
	put_shows(" { \"a\" : 100 } ", "{\"a\":100}");
	assert_int_equal(put("{\"a\":1000}"), -E2BIG);
	assert_string_equal(e.text, "The MMDS patch request doesn't fit.");
	assert_int_equal(put("{\"a\":1e3}"), -E2BIG); /* 1000.0 */
	assert_int_equal(put("1e10"), -E2BIG);
	assert_int_equal(patch("{\"b\":1}"), -E2BIG);
	shows("{\"a\":100}");
	/* a patch may be longer than what comes of it */
	assert_int_equal(patch("{\"x\":null,\"y\":null,\"a\":null,\"b\":1}"),
			 0);
	shows("{\"b\":1}");
	assert_int_equal(put("{\"a\":1,\"a\":2,\"a\":3}"), 0);
	mmds_store_exit(&s);
	shows("{}");
}

static void put_is_quick_with_many_keys(void **state)
{
	const size_t n = 20000;
	char *text = malloc(n * 16), *p = text;
	size_t len;

	(void)state;
	mmds_store_exit(&s);
	mmds_store_init(&s, n * 16);
	*p++ = '{';
	for (size_t i = 0; i < n; i++)
		p += sprintf(p, "%s\"k%05zu\":%zu", i ? "," : "",
			     (n - i) * 7 % n, i % 10);
	*p++ = '}';
	assert_int_equal(mmds_store_put(&s, text, (size_t)(p - text), &e), 0);
	assert_int_equal(mmds_store_patch(&s, text, (size_t)(p - text), &e), 0);
	assert_int_equal(
		mmds_store_get(&s, "/k00000", 7, MMDS_JSON, text, 1, &len),
		MMDS_FOUND);
	assert_int_equal(len, 1);
	assert_int_equal(*text, '0');
	free(text);
}

#define DOC                                                            \
	"{\"a\":{\"n\":1,\"o\":{},\"s\":\"t\\n\\u0000\\u00e9\"},"      \
	"\"l\":[\"x\",[2],{\"k\":3}],\"m/n\":\"slash\",\"o~p\":\"t\"," \
	"\"~1\":\"u\",\"\":9,\"z\\u0000\":1,\"f\":false}"

static void get_finds_by_path(void **state)
{
	(void)state;
	assert_int_equal(put(DOC), 0);
	gets_json("/a/n", "1");
	gets_json("/a/n/", "1");
	gets_json("//a///o//", "{}");
	gets_json("/a/s", "\"t\\n\\u0000\xc3\xa9\"");
	gets_json("/l", "[\"x\",[2],{\"k\":3}]");
	gets_json("/l/0", "\"x\"");
	gets_json("/l/1/0", "2");
	gets_json("/l/2/k", "3");
	gets_json("/m~1n", "\"slash\"");
	gets_json("/o~0p", "\"t\"");
	gets_json("/o~p", "\"t\"");
	gets_json("/~01", "\"u\"");
	gets_json("/f", "false");
}

static void get_finds_nothing_else(void **state)
{
	static const char *const paths[] = {"/b",
					    "/a/x",
					    "/a/n/1",
					    "/a/nn",
					    "/l/3",
					    "/l/+1",
					    "/l/01",
					    "/l/-",
					    "/l/1x",
					    "/l/99999999999",
					    "/l/4294967296",
					    "/m/n",
					    "/aa",
					    "/z",
					    "/~1",
					    "/a/s/0",
					    "/m~1",
					    "/A"};

	(void)state;
	assert_int_equal(put(DOC), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		gets(paths[i], MMDS_JSON, MMDS_NOT_FOUND, NULL, 0);
}

static void get_gives_text(void **state)
{
	(void)state;
	assert_int_equal(put(DOC), 0);
	gets_text("/a", "n\no/\ns");
	gets_text("/a/o", "");
	gets("/a/s", MMDS_IMDS, MMDS_FOUND, "t\n\0\xc3\xa9", 5);
	gets("/", MMDS_IMDS, MMDS_FOUND, "\na/\nf\nl\nm/n\no~p\nz\0\n~1", 21);
	gets("/a/n", MMDS_IMDS, MMDS_NOT_TEXT, NULL, 0);
	gets("/l", MMDS_IMDS, MMDS_NOT_TEXT, NULL, 0);
	gets("/f", MMDS_IMDS, MMDS_NOT_TEXT, NULL, 0);
	gets("/x", MMDS_IMDS, MMDS_NOT_FOUND, NULL, 0);
}

static void get_without_a_document_finds_null(void **state)
{
	(void)state;
	gets_json("/", "null");
	gets_json("//", "null");
	gets("/", MMDS_IMDS, MMDS_NOT_TEXT, NULL, 0);
	gets("/a", MMDS_JSON, MMDS_NOT_FOUND, NULL, 0);
	assert_int_equal(put("null"), 0);
	gets_json("/", "null");
}

static void get_writes_no_more_than_it_may(void **state)
{
	char buf[4] = "....";
	size_t len;

	(void)state;
	assert_int_equal(put("{\"aa\":1,\"bb\":2}"), 0);
	for (size_t cap = 0; cap < 4; cap++) {
		memset(buf, '.', 4);
		mmds_store_get(&s, "/", 1, MMDS_IMDS, buf, cap, &len);
		assert_int_equal(len, 5);
		assert_memory_equal(buf, "aa\nb", cap);
		assert_memory_equal(buf + cap, "....", 4 - cap);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(put_prints_numbers_as_serde_does),
		TEST(put_prints_strings_as_serde_does),
		TEST(put_sorts_keys_and_the_last_wins),
		TEST(put_takes_any_value),
		TEST(put_refuses_what_is_no_json),
		TEST(put_takes_127_levels),
		TEST(patch_needs_a_document),
		TEST(patch_merges),
		TEST(limit_counts_what_is_printed),
		TEST(put_is_quick_with_many_keys),
		TEST(get_finds_by_path),
		TEST(get_finds_nothing_else),
		TEST(get_gives_text),
		TEST(get_without_a_document_finds_null),
		TEST(get_writes_no_more_than_it_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
