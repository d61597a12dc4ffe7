/* SPDX-License-Identifier: Apache-2.0 */
#include "api/wording.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/quote.h"
#include "base/cleanup.h"
#include "base/decimal.h"
#include "base/err.h"
#include "base/num.h"

void wording_show(char out[WORDING_SHOWN], const char *s, size_t len)
{
	size_t n = MIN(len, WORDING_SHOWN - 4);

	while (n > 0 && n < len && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(s[i] ? s[i] : ' ');
	(void)snprintf(out + n, WORDING_SHOWN - n, "%s", n < len ? "..." : "");
}

void wording_names(char out[WORDING_BYTES], const char *const *names,
		   unsigned int n)
{
	size_t len = 0;

	out[0] = '\0';
	for (unsigned int i = 0; i < n; i++) {
		const char *first = n > 2 ? "one of " : "";
		const char *join = n > 2 ? ", " : " or ";
		int wrote = snprintf(out + len, WORDING_BYTES - len, "%s`%s`",
				     i ? join : first, names[i]);

		assert(wrote > 0 && (size_t)wrote < WORDING_BYTES - len);
		len += (size_t)wrote;
	}
}

static int string_value(char out[WORDING_BYTES], const struct json *j,
			const struct json_tok *t, struct err *e)
{
	char shown[WORDING_SHOWN];
	cleanup_free char *s = malloc(t->end - t->at);
	cleanup_free char *quoted = NULL;

	if (s)
		quoted = quote_debug(s, json_string(j, t, s));
	if (!quoted)
		return err_set(e, -ENOMEM, "Out of memory");
	wording_show(shown, quoted, strlen(quoted));
	(void)snprintf(out, WORDING_BYTES, "string %s", shown);
	return 0;
}

int wording_value(char out[WORDING_BYTES], const struct json *j,
		  const struct json_tok *t, struct err *e)
{
	char number[DECIMAL_TEXT_BYTES];
	const char *word = "null";

	switch (t->kind) {
	case JSON_STRING:
		return string_value(out, j, t, e);
	case JSON_UINT:
	case JSON_NEGATIVE:
		(void)snprintf(out, WORDING_BYTES, "integer `%.*s`",
			       (int)(t->end - t->at), j->text + t->at);
		return 0;
	case JSON_FLOAT:
		decimal_print(json_float(j, t), number);
		(void)snprintf(out, WORDING_BYTES, "floating point `%s`",
			       number);
		return 0;
	case JSON_NULL:
		break;
	case JSON_FALSE:
		word = "boolean `false`";
		break;
	case JSON_TRUE:
		word = "boolean `true`";
		break;
	case JSON_ARRAY:
		word = "sequence";
		break;
	case JSON_OBJECT:
		word = "map";
		break;
	}
	(void)snprintf(out, WORDING_BYTES, "%s", word);
	return 0;
}
