/* SPDX-License-Identifier: Apache-2.0 */
#include "api/quote.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest form of a byte is "\u001f" or "\u{7f}", the marks and the NUL. */
#define GROWTH 6
#define EXTRA  3

/* The letter of a two-character escape, or 0. */
static char short_escape(unsigned char c, bool json)
{
	switch (c) {
	case '"':
		return '"';
	case '\\':
		return '\\';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	case '\b':
		return json ? 'b' : 0;
	case '\f':
		return json ? 'f' : 0;
	case '\0':
		return json ? 0 : '0';
	default:
		return 0;
	}
}

static bool is_control(unsigned char c, bool json)
{
	return c < 0x20 || (!json && c == 0x7f);
}

static char *quote(const char *s, size_t len, bool json)
{
	char *out = malloc(len * GROWTH + EXTRA);
	char *p = out;

	if (!out)
		return NULL;
	*p++ = '"';
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		char esc = short_escape(c, json);

		if (esc) {
			*p++ = '\\';
			*p++ = esc;
		} else if (is_control(c, json)) {
			p += sprintf(p, json ? "\\u%04x" : "\\u{%x}", c);
		} else {
			*p++ = (char)c;
		}
	}
	*p++ = '"';
	*p = '\0';
	return out;
}

char *quote_json(const char *s, size_t len)
{
	return quote(s, len, true);
}

char *quote_debug(const char *s, size_t len)
{
	return quote(s, len, false);
}
