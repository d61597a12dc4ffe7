/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/err.h"
#include "base/num.h"
#include "base/utf8.h"

#define EOF_VALUE  "EOF while parsing a value"
#define EOF_STRING "EOF while parsing a string"
#define EOF_LIST   "EOF while parsing a list"
#define EOF_OBJECT "EOF while parsing an object"

struct scan {
	struct json *j;
	uint32_t pos;
	uint32_t depth;
	uint32_t open[JSON_DEPTH]; /* tokens of the arrays and objects around */
};

/* An error at pos: what was read last is at fault. Always false. */
static bool fail(struct scan *s, const char *error)
{
	s->j->error = error;
	s->j->error_at = s->pos;
	return false;
}

/* The byte at pos is at fault: the place is behind it. Always false. */
static bool fail_peek(struct scan *s, const char *error)
{
	fail(s, error);
	s->j->error_at = MIN(s->pos + 1, s->j->len);
	return false;
}

/* The byte at pos, or -1 at the end. */
static int peek(const struct scan *s)
{
	return s->pos < s->j->len ? (unsigned char)s->j->text[s->pos] : -1;
}

static int next(struct scan *s)
{
	int c = peek(s);

	if (c >= 0)
		s->pos++;
	return c;
}

uint32_t json_skip_space(const struct json *j, uint32_t at)
{
	while (at < j->len && (j->text[at] == ' ' || j->text[at] == '\n' ||
			       j->text[at] == '\t' || j->text[at] == '\r'))
		at++;
	return at;
}

static int peek_token(struct scan *s)
{
	s->pos = json_skip_space(s->j, s->pos);
	return peek(s);
}

static void add_token(struct scan *s, enum json_kind kind, uint32_t at,
		      uint32_t end)
{
	struct json *j = s->j;

	j->tok[j->n] = (struct json_tok){
		.at = at, .end = end, .next = j->n + 1, .kind = kind};
	j->n++;
}

static bool utf8_valid(const char *text, size_t len)
{
	size_t bad;

	return utf8_prefix(text, len, &bad) == len;
}

/* The value of four hexadecimal digits, or -1. */
static int32_t hex4(const char *p)
{
	int32_t value = 0;

	for (int i = 0; i < 4; i++) {
		int c = (unsigned char)p[i];

		if (!isxdigit(c))
			return -1;
		value = value * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
	}
	return value;
}

static bool scan_hex4(struct scan *s, int32_t *unit)
{
	if (s->j->len - s->pos < 4) {
		s->pos = s->j->len;
		return fail(s, EOF_STRING);
	}
	*unit = hex4(s->j->text + s->pos);
	s->pos += 4;
	return *unit >= 0 || fail(s, "invalid escape");
}

/* Behind "\u": one unit, or two that are a surrogate pair. */
static bool scan_unicode(struct scan *s)
{
	static const char second[] = {'\\', 'u'};
	int32_t unit;

	if (!scan_hex4(s, &unit))
		return false;
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return fail(s, "lone leading surrogate in hex escape");
	if (unit < 0xd800 || unit > 0xdbff)
		return true;
	for (unsigned int i = 0; i < ARRAY_LEN(second); i++) {
		int c = next(s);

		if (c < 0)
			return fail(s, EOF_STRING);
		if (c != second[i])
			return fail(s, "unexpected end of hex escape");
	}
	if (!scan_hex4(s, &unit))
		return false;
	if (unit < 0xdc00 || unit > 0xdfff)
		return fail(s, "lone leading surrogate in hex escape");
	return true;
}

static bool scan_escape(struct scan *s)
{
	int c = next(s);

	if (c < 0)
		return fail(s, EOF_STRING);
	if (c == 'u')
		return scan_unicode(s);
	if (c == 0 || !strchr("\"\\/bfnrt", c))
		return fail(s, "invalid escape");
	return true;
}

static bool scan_string(struct scan *s)
{
	uint32_t at = s->pos++;
	int ored = 0;

	for (;;) {
		int c = next(s);

		if (c < 0)
			return fail(s, EOF_STRING);
		if (c == '"')
			break;
		if (c < 0x20)
			return fail(s, "control character (\\u0000-\\u001F) "
				       "found while parsing a string");
		if (c == '\\' && !scan_escape(s))
			return false;
		ored |= c;
	}
	if (ored >= 0x80 && !utf8_valid(s->j->text + at, s->pos - at))
		return fail(s, "invalid unicode code point");
	add_token(s, JSON_STRING, at, s->pos);
	return true;
}

static bool scan_word(struct scan *s, const char *word, enum json_kind kind)
{
	uint32_t at = s->pos++;

	while (*++word) {
		int c = next(s);

		if (c < 0)
			return fail(s, EOF_VALUE);
		if (c != *word)
			return fail(s, "expected ident");
	}
	add_token(s, kind, at, s->pos);
	return true;
}

static const enum json_kind number_kinds[] = {
	[DECIMAL_UINT] = JSON_UINT,
	[DECIMAL_NEGATIVE] = JSON_NEGATIVE,
	[DECIMAL_FLOAT] = JSON_FLOAT,
};

static bool scan_number(struct scan *s)
{
	struct json *j = s->j;
	struct decimal d;
	uint32_t used = decimal_read(&d, j->text + s->pos, j->len - s->pos);
	uint32_t at = s->pos;

	s->pos += used;
	if (d.error)
		return fail(s, d.error);
	add_token(s, number_kinds[d.kind], at, s->pos);
	return true;
}

static bool open_token(struct scan *s, enum json_kind kind)
{
	if (s->depth == JSON_DEPTH)
		return fail_peek(s, "recursion limit exceeded");
	s->open[s->depth++] = s->j->n;
	add_token(s, kind, s->pos, 0);
	s->pos++;
	return true;
}

static void close_token(struct scan *s)
{
	struct json_tok *t = &s->j->tok[s->open[--s->depth]];

	t->end = ++s->pos;
	t->next = s->j->n;
}

/* One scalar, or the opening of an array or object. */
static bool scan_value(struct scan *s)
{
	int c = peek_token(s);

	switch (c) {
	case -1:
		return fail(s, EOF_VALUE);
	case 'n':
		return scan_word(s, "null", JSON_NULL);
	case 't':
		return scan_word(s, "true", JSON_TRUE);
	case 'f':
		return scan_word(s, "false", JSON_FALSE);
	case '"':
		return scan_string(s);
	case '[':
		return open_token(s, JSON_ARRAY);
	case '{':
		return open_token(s, JSON_OBJECT);
	default:
		if (c == '-' || (c >= '0' && c <= '9'))
			return scan_number(s);
		return fail_peek(s, "expected value");
	}
}

static bool scan_key(struct scan *s)
{
	int c;

	if (!scan_string(s))
		return false;
	c = peek_token(s);
	if (c != ':')
		return fail_peek(s, c < 0 ? EOF_OBJECT : "expected `:`");
	s->pos++;
	return true;
}

/* Inside an array: up to the next element, or past its end (*closed). */
static bool next_element(struct scan *s, bool first, bool *closed)
{
	int c = peek_token(s);

	*closed = c == ']';
	if (*closed) {
		close_token(s);
		return true;
	}
	if (c < 0)
		return fail(s, EOF_LIST);
	if (first)
		return true;
	if (c != ',')
		return fail_peek(s, "expected `,` or `]`");
	s->pos++;
	if (peek_token(s) == ']')
		return fail_peek(s, "trailing comma");
	return true;
}

/* Inside an object: past the next key, or past its end (*closed). */
static bool next_member(struct scan *s, bool first, bool *closed)
{
	int c = peek_token(s);

	*closed = c == '}';
	if (*closed) {
		close_token(s);
		return true;
	}
	if (c < 0)
		return fail(s, EOF_OBJECT);
	if (!first) {
		if (c != ',')
			return fail_peek(s, "expected `,` or `}`");
		s->pos++;
		c = peek_token(s);
		if (c < 0)
			return fail(s, EOF_VALUE);
		if (c == '}')
			return fail_peek(s, "trailing comma");
	}
	if (c != '"')
		return fail_peek(s, "key must be a string");
	return scan_key(s);
}

/* Up to the next value: true, or false at the end and at an error. */
static bool scan_next(struct scan *s)
{
	while (s->depth > 0) {
		uint32_t open = s->open[s->depth - 1];
		bool first = open == s->j->n - 1;
		bool closed;
		bool ok = s->j->tok[open].kind == JSON_ARRAY
				  ? next_element(s, first, &closed)
				  : next_member(s, first, &closed);

		if (!ok)
			return false;
		if (!closed)
			return true;
	}
	if (peek_token(s) >= 0)
		fail_peek(s, "trailing characters");
	return false;
}

int json_scan(struct json *j, const char *text, size_t len, struct err *e)
{
	struct scan s = {.j = j};
	size_t room;

	*j = (struct json){.text = text};
	if (len > JSON_MAX_BYTES)
		return err_set(e, -E2BIG, "JSON text of %zu bytes is too long",
			       len);
	/* A token takes two bytes, except for what is still open. */
	room = len / 2 + 1 + JSON_DEPTH;
	j->tok = malloc(room * sizeof(*j->tok));
	if (!j->tok)
		return err_set(e, -ENOMEM, "Out of memory");
	j->len = (uint32_t)len;
	while (scan_value(&s) && scan_next(&s))
		;
	assert(j->n <= room);
	for (; s.depth > 0; s.depth--)
		j->tok[s.open[s.depth - 1]].next = j->n;
	return 0;
}

void json_exit(struct json *j)
{
	free(j->tok);
	*j = (struct json){0};
}
