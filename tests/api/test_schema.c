/* SPDX-License-Identifier: Apache-2.0 */
#include "api/schema.h"

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

struct point {
	uint8_t x;
	uint16_t y;
	struct text label;
};

struct things {
	bool flag, has_flag;
	uint32_t count;
	uint64_t big;
	struct text name;
	int colour;
	int even;
	struct point at;
	bool has_at;
	struct point *points;
	unsigned int n_points;
	struct span later, many;
	struct text any;
	bool extra;
};

static int parse_even(const struct text *s, void *to, struct err *e)
{
	int last = s->len ? s->s[s->len - 1] - '0' : 1;

	if (last % 2)
		return err_set(e, -EINVAL, "%s is not even", s->s);
	*(int *)to = last;
	return 0;
}

static int take_any(const struct json *j, const struct json_tok *t, void *to,
		    struct err *e)
{
	if (t->kind == JSON_STRING)
		return text_init(to, j, t, e);
	return err_set(e, -EINVAL, "not a word");
}

static void exit_any(void *to)
{
	text_exit(to);
}

static const struct variant colours[] = {{"red", 1}, {"blue", 2}, {0}};

static const struct field point_fields[] = {
	{"x", FIELD_U8, FIELD_REQUIRED, offsetof(struct point, x)},
	{"y", FIELD_U16, FIELD_REQUIRED, offsetof(struct point, y)},
	{"label", FIELD_PATH, FIELD_NULLABLE, offsetof(struct point, label)},
};

static const struct schema point = {
	.name = "Point",
	.fields = point_fields,
	.n_fields = ARRAY_LEN(point_fields),
	.open = true,
};

static const struct field point_item = {
	.kind = FIELD_STRUCT,
	.schema = &point,
};

#define AT(m) .at = offsetof(struct things, m)
static const struct field fields[] = {
	{"flag", FIELD_BOOL, FIELD_NULLABLE | FIELD_GIVEN, AT(flag),
	 .given = offsetof(struct things, has_flag)},
	{"count", FIELD_U32, 0, AT(count)},
	{"big", FIELD_U64, 0, AT(big)},
	{"name", FIELD_STRING, 0, AT(name)},
	{"colour", FIELD_ENUM, 0, AT(colour), .variants = colours},
	{"even", FIELD_PARSED, 0, AT(even), .parse = parse_even},
	{"at", FIELD_STRUCT, FIELD_NULLABLE | FIELD_GIVEN, AT(at),
	 .given = offsetof(struct things, has_at), .schema = &point},
	{"points", FIELD_LIST, 0, AT(points),
	 .list = {&point_item, sizeof(struct point),
		  offsetof(struct things, n_points)}},
	{"later", FIELD_SPAN, 0, AT(later), .name_of = "struct Later"},
	{"many", FIELD_SPANS, 0, AT(many)},
	{"any", FIELD_VALUE, 0, AT(any), .value = {take_any, exit_any}},
	{"extra", FIELD_BOOL, FIELD_ADDITIONAL, AT(extra)},
};

static const struct schema things = {
	.name = "Things",
	.fields = fields,
	.n_fields = ARRAY_LEN(fields),
};

static int parse(struct things *t, const char *text, struct err *e)
{
	size_t len = strlen(text);
	char *copy = malloc(len + 1);
	int ret;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(t, 0xa5, sizeof(*t));
	ret = schema_parse(&things, copy, len, t, sizeof(*t), e);
	free(copy);
	return ret;
}

static void assert_parses(struct things *t, const char *text)
{
	struct err e = {0};

	if (parse(t, text, &e))
		fail_msg("%s: %s", text, e.text);
}

static void assert_refused(const char *text, const char *want)
{
	struct things t;
	struct err e;

	assert_int_equal(parse(&t, text, &e), -EINVAL);
	assert_string_equal(e.text, want);
}

static void every_kind_reaches_the_struct(void **state)
{
	static const char text[] =
		"{\"flag\":true,\"count\":4294967295,"
		"\"big\":18446744073709551615,\"name\":\"a\\u0000b\","
		"\"colour\":\"blue\",\"even\":\"12\","
		"\"at\":{\"x\":255,\"y\":65535,\"z\":[]},"
		"\"points\":[{\"x\":1,\"y\":2,\"label\":\"p\"},"
		"{\"x\":3,\"y\":4}],\"later\":{\"q\":1},\"many\":[ ],"
		"\"any\":\"w\",\"extra\":true} ";
	struct things t;

	(void)state;
	assert_parses(&t, text);
	assert_true(t.flag && t.has_flag && t.has_at && t.extra);
	assert_int_equal(t.count, UINT32_MAX);
	assert_true(t.big == UINT64_MAX);
	assert_int_equal(t.name.len, 3);
	assert_memory_equal(t.name.s, "a\0b", 4);
	assert_int_equal(t.colour, 2);
	assert_int_equal(t.even, 2);
	assert_int_equal(t.at.x, UINT8_MAX);
	assert_int_equal(t.at.y, UINT16_MAX);
	assert_null(t.at.label.s);
	assert_int_equal(t.n_points, 2);
	assert_string_equal(t.points[0].label.s, "p");
	assert_int_equal(t.points[1].y, 4);
	assert_memory_equal(text + t.later.at, "{\"q\":1},", 8);
	assert_int_equal(t.later.len, 7);
	assert_false(t.later.empty);
	assert_int_equal(t.many.len, 3);
	assert_true(t.many.empty);
	assert_string_equal(t.any.s, "w");
	schema_exit(&things, &t);
	assert_null(t.name.s);
	assert_null(t.points);
	assert_int_equal(t.n_points, 0);
	schema_exit(&things, &t);
}

static void what_is_left_out_is_zero(void **state)
{
	struct things t;

	(void)state;
	assert_parses(&t, "{\"flag\":null,\"at\":null,\"points\":[]}");
	assert_false(t.flag || t.has_flag || t.has_at || t.extra);
	assert_null(t.name.s);
	assert_null(t.points);
	assert_int_equal(t.later.len, 0);
	schema_exit(&things, &t);
}

static void escaped_keys_are_the_same_keys(void **state)
{
	struct things t;

	(void)state;
	assert_parses(&t, "{\"c\\u006funt\":7}");
	assert_int_equal(t.count, 7);
}

static void values_are_refused_where_serde_refuses_them(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"{\"flag\":1}",
		 "invalid type: integer `1`, expected a boolean "
		 "at line 1 column 9"},
		{"{\"count\":\"x\"}", "invalid type: string \"x\", expected "
				      "u32 at line 1 column 12"},
		{"{\"count\":4294967296}",
		 "invalid value: integer `4294967296`, expected u32 at line 1 "
		 "column 19"},
		{"{\"count\":-1}", "invalid value: integer `-1`, expected u32 "
				   "at line 1 column 11"},
		{"{\"count\":1.50}", "invalid type: floating point `1.5`, "
				     "expected u32 at line 1 column 13"},
		{"{\"count\":null}",
		 "invalid type: null, expected u32 at line 1 column 13"},
		{"{\"big\":1e2}", "invalid type: floating point `100.0`, "
				  "expected u64 at line 1 column 10"},
		{"{\"name\":[}", "invalid type: sequence, expected a string at "
				 "line 1 column 8"},
		{"{\"name\": {}}",
		 "invalid type: map, expected a string at line 1 column 9"},
		{"{\"colour\":7}", "expected value at line 1 column 11"},
		{"{\"colour\": null}", "expected value at line 1 column 12"},
		{"{\"colour\":{ }}", "expected value at line 1 column 13"},
		{"{\"colour\":\"pink\"}",
		 "unknown variant `pink`, expected `red` or `blue` at line 1 "
		 "column 16"},
		{"{\"at\":{\"x\":256}}", "invalid value: integer `256`, "
					 "expected u8 at line 1 column 14"},
		{"{\"at\":{\"label\":7}}",
		 "invalid type: integer `7`, expected path string at line 1 "
		 "column 16"},
		{"{\"at\":\"\"}", "invalid type: string \"\", expected struct "
				  "Point at line 1 column 8"},
		{"{\"points\":{}}", "invalid type: map, expected a sequence "
				    "at line 1 column 10"},
		{"{\"points\":[1]}", "invalid type: integer `1`, expected "
				     "struct Point at line 1 column 12"},
		{"{\"later\":[]}", "invalid type: sequence, expected struct "
				   "Later at line 1 column 9"},
		{"{\"many\":null}", "invalid type: null, expected a sequence "
				    "at line 1 column 12"},
		{"true", "invalid type: boolean `true`, expected struct Things "
			 "at line 1 column 4"},
		{"{\"name\":\n true}", "invalid type: boolean `true`, expected "
				       "a string at line 2 column 5"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_refused(cases[i].text, cases[i].want);
}

/* serde knows no place for these and takes the one it has read to. */
static void other_errors_stand_behind_what_follows(void **state)
{
	(void)state;
	assert_refused("{\"even\":\"1\"}", "1 is not even at line 1 column 12");
	assert_refused("{\"even\":\"1\",}",
		       "1 is not even at line 1 column 11");
	assert_refused("{\"even\":\"1\"  }",
		       "1 is not even at line 1 column 14");
	assert_refused("{\"even\":\"1\"", "1 is not even at line 1 column 11");
	assert_refused("{\"any\":[1]\n}", "not a word at line 2 column 1");
	assert_refused("{\"even\":7}", "invalid type: integer `7`, expected a "
				       "string at line 1 column 9");
}

static void objects_are_refused_where_serde_refuses_them(void **state)
{
#define NAMES                                                                \
	"expected one of `flag`, `count`, `big`, `name`, `colour`, `even`, " \
	"`at`, `points`, `later`, `many`, `any`"
	(void)state;
	assert_refused("{\"x\":1}",
		       "unknown field `x`, " NAMES " at line 1 column 4");
	assert_refused("{\"x\" :1}",
		       "unknown field `x`, " NAMES " at line 1 column 5");
	assert_refused("{\"x\"}",
		       "unknown field `x`, " NAMES " at line 1 column 5");
	assert_refused("{\"count\":1,\"count\":\"x\"}",
		       "duplicate field `count` at line 1 column 18");
	assert_refused("{\"extra\":true,\"extra\":true}",
		       "duplicate field `extra` at line 1 column 21");
	assert_refused("{\"at\":{}}", "missing field `x` at line 1 column 8");
	assert_refused("{\"points\":[{\"x\":1}]}",
		       "missing field `y` at line 1 column 18");
	assert_refused("{\"at\":{\"x\":1 }}x",
		       "missing field `y` at line 1 column 14");
#undef NAMES
}

static void the_first_error_of_the_text_wins(void **state)
{
	(void)state;
	assert_refused("{\"count\":\"x\",,",
		       "invalid type: string \"x\", "
		       "expected u32 at line 1 column 12");
	assert_refused("{\"count\":1,,", "key must be a string at line 1 "
					 "column 12");
	assert_refused("{\"count\":tru", "EOF while parsing a value at line 1 "
					 "column 12");
	assert_refused("{\"count\"", "EOF while parsing an object at line 1 "
				     "column 8");
	assert_refused("{\"at\":{\"z\":[1,", "EOF while parsing a value at "
					     "line 1 column 14");
	assert_refused("{\"points\":[", "EOF while parsing a list at line 1 "
					"column 11");
	assert_refused("{\"later\":{\"a\"", "EOF while parsing an object at "
					    "line 1 column 13");
	assert_refused("{\"any\":[1,]}", "trailing comma at line 1 column 11");
	assert_refused("{}}", "trailing characters at line 1 column 3");
	assert_refused("", "EOF while parsing a value at line 1 column 0");
}

/* With errors behind them, so that what was filled must be freed. */
static void half_filled_structs_are_freed(void **state)
{
	(void)state;
	assert_refused("{\"name\":\"n\",\"any\":\"a\",\"points\":["
		       "{\"x\":1,\"y\":2,\"label\":\"l\"},{\"label\":\"m\"}]}",
		       "missing field `x` at line 1 column 71");
	assert_refused("{\"name\":\"n\"}1",
		       "trailing characters at line 1 column 13");
}

static void long_strings_do_not_push_the_place_out(void **state)
{
	char text[4096], want[512], name[129];

	(void)state;
	memset(text, 'a', sizeof(text));
	memset(name, 'a', sizeof(name));
	name[128] = '\0';
	memcpy(text, "{\"colour\":\"", 11);
	memcpy(text + 4090, "\"}", 3);
	(void)snprintf(want, sizeof(want),
		       "unknown variant `%s...`, expected `red` or `blue` at "
		       "line 1 column 4091",
		       name);
	assert_refused(text, want);
	memcpy(text, "{\"count\" :\"", 11);
	name[127] = '\0';
	(void)snprintf(want, sizeof(want),
		       "invalid type: string \"%s..., expected u32 at line 1 "
		       "column 4091",
		       name);
	assert_refused(text, want);
}

static void strange_strings_are_shown_as_rust_shows_them(void **state)
{
	(void)state;
	assert_refused("{\"count\":\"\\u0000\\n\\\"\\u00e9\"}",
		       "invalid type: string \"\\0\\n\\\"\xc3\xa9\", expected "
		       "u32 at line 1 column 27");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_reaches_the_struct),
		cmocka_unit_test(what_is_left_out_is_zero),
		cmocka_unit_test(escaped_keys_are_the_same_keys),
		cmocka_unit_test(values_are_refused_where_serde_refuses_them),
		cmocka_unit_test(other_errors_stand_behind_what_follows),
		cmocka_unit_test(objects_are_refused_where_serde_refuses_them),
		cmocka_unit_test(the_first_error_of_the_text_wins),
		cmocka_unit_test(half_filled_structs_are_freed),
		cmocka_unit_test(long_strings_do_not_push_the_place_out),
		cmocka_unit_test(strange_strings_are_shown_as_rust_shows_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
