/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/text.h"

#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

void text_print(FILE *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] >= ' ' && s[i] <= '~')
			(void)fputc(s[i], out);
		else
			(void)fprintf(out, "\\x%02x", (unsigned char)s[i]);
	}
}

static void json_bytes(FILE *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < ' ' || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else
			(void)fputc(c, out);
	}
}

void text_json(FILE *out, const char *s, size_t len)
{
	size_t bad = 0;

	(void)fputc('"', out);
	while (len > 0) {
		size_t n = utf8_prefix(s, len, &bad);

		json_bytes(out, s, n);
		if (n == len)
			break;
		(void)fputs("\\ufffd", out);
		n += bad ? bad : len - n;
		s += n;
		len -= n;
	}
	(void)fputc('"', out);
}

void text_error(const struct err *e)
{
	(void)fputs("mayflyctl: ", stderr);
	text_print(stderr, e->text, strlen(e->text));
	(void)fputc('\n', stderr);
}
