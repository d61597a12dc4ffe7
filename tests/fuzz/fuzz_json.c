/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes through the JSON scanner: what it hands out must nest, stay inside
 * the text and decode into the room it promises.
 */
#include "base/json.h"

#include <stdlib.h>

#include "base/decimal.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_value(const struct json *j, const struct json_tok *t)
{
	char text[DECIMAL_TEXT_BYTES];
	size_t room = t->end - t->at;
	char *buf;

	switch (t->kind) {
	case JSON_STRING:
		buf = malloc(room);
		check(buf && json_string(j, t, buf) < room);
		free(buf);
		(void)json_string_is(j, t, "name");
		break;
	case JSON_UINT:
		(void)json_uint(j, t);
		break;
	case JSON_NEGATIVE:
		check(json_negative(j, t) < 0);
		break;
	case JSON_FLOAT:
		decimal_print(json_float(j, t), text);
		break;
	default:
		break;
	}
}

/* Whether tokens [i, end) are whole values, behind one another. */
static void check_nesting(const struct json *j, uint32_t i, uint32_t end)
{
	while (i < end) {
		const struct json_tok *t = &j->tok[i];

		check(t->at < j->len && t->end <= j->len);
		check(t->next > i && t->next <= end);
		check(t->end > t->at || (t->end == 0 && j->error));
		if (i + 1 < end)
			check(t->at < j->tok[i + 1].at);
		if (t->kind == JSON_ARRAY || t->kind == JSON_OBJECT)
			check_nesting(j, i + 1, t->next);
		else
			check(t->next == i + 1);
		if (t->end)
			check_value(j, t);
		i = t->next;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json j;
	struct err e;

	if (json_scan(&j, (const char *)data, size, &e) == 0) {
		check(j.error || j.n > 0);
		check_nesting(&j, 0, j.n);
		if (j.error)
			check(json_syntax_err(&j, &e) < 0);
	}
	json_exit(&j);
	return 0;
}
