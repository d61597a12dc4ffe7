/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scanned tokens mean. The scanner has checked them: escapes are whole and
 * numbers in range.
 */
#include "base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "base/err.h"

#define NAME_MAX_BYTES 63

int json_err(const struct json *j, uint32_t at, struct err *e, const char *fmt,
	     ...)
{
	char text[ERR_TEXT_BYTES];
	unsigned int line = 1;
	uint32_t start = 0;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (uint32_t i = 0; i < at; i++) {
		if (j->text[i] == '\n') {
			line++;
			start = i + 1;
		}
	}
	return err_set(e, -EINVAL, "%s at line %u column %u", text, line,
		       at - start);
}

int json_syntax_err(const struct json *j, struct err *e)
{
	return json_err(j, j->error_at, e, "%s", j->error);
}

static uint32_t hex4(const char *p)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;

		value = value << 4 | (uint32_t)digit;
	}
	return value;
}

static char *put_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = (char)code;
		return out;
	}
	if (code < 0x800) {
		*out++ = (char)(0xc0 | code >> 6);
	} else if (code < 0x10000) {
		*out++ = (char)(0xe0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
	} else {
		*out++ = (char)(0xf0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (code & 0x3f));
	return out;
}

/* Behind "\u". Moves *p behind the escape. */
static char *put_unicode(char *out, const char **p)
{
	uint32_t code = hex4(*p);

	*p += 4;
	if (code >= 0xd800 && code <= 0xdbff) {
		code = 0x10000 + ((code - 0xd800) << 10) +
		       (hex4(*p + 2) - 0xdc00);
		*p += 6;
	}
	return put_utf8(out, code);
}

size_t json_string(const struct json *j, const struct json_tok *t, char *buf)
{
	static const char from[] = "bfnrt";
	static const char to[] = "\b\f\n\r\t";
	const char *p = j->text + t->at + 1;
	const char *end = j->text + t->end - 1;
	char *out = buf;

	while (p < end) {
		const char *named;

		if (*p != '\\') {
			*out++ = *p++;
			continue;
		}
		p += 2;
		named = strchr(from, p[-1]);
		if (p[-1] == 'u')
			out = put_unicode(out, &p);
		else
			*out++ = (char)(named ? to[named - from] : p[-1]);
	}
	*out = '\0';
	return (size_t)(out - buf);
}

bool json_string_is(const struct json *j, const struct json_tok *t,
		    const char *s)
{
	char buf[6 * NAME_MAX_BYTES + 2];

	/* An escape takes at most six bytes for each byte it stands for. */
	if (t->end - t->at > sizeof(buf))
		return false;
	return json_string(j, t, buf) == strlen(s) && strcmp(buf, s) == 0;
}

static struct decimal number(const struct json *j, const struct json_tok *t)
{
	struct decimal d;

	(void)decimal_read(&d, j->text + t->at, t->end - t->at);
	return d;
}

uint64_t json_uint(const struct json *j, const struct json_tok *t)
{
	return number(j, t).digits;
}

int64_t json_negative(const struct json *j, const struct json_tok *t)
{
	return (int64_t)(0 - number(j, t).digits);
}

double json_float(const struct json *j, const struct json_tok *t)
{
	struct decimal d = number(j, t);

	return decimal_float(&d);
}
