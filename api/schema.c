/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where errors stand: a value of a wrong type, or out of range, where it ends
 * (arrays and objects: where they start). An error that belongs to no value of
 * its own, like an unknown member, stands where serde has read to when it gives
 * up: behind white space and the end of the object or array around it, if that
 * comes next.
 */
#include "api/schema.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/wording.h"
#include "base/err.h"
#include "base/num.h"

struct walk {
	const struct json *j;
	struct err *e;
};

static const struct {
	const char *name;
	uint64_t max;
} integers[] = {
	[FIELD_U8] = {"u8", UINT8_MAX},
	[FIELD_U16] = {"u16", UINT16_MAX},
	[FIELD_U32] = {"u32", UINT32_MAX},
	[FIELD_U64] = {"u64", UINT64_MAX},
	[FIELD_USIZE] = {"usize", UINT64_MAX},
};

/* The token at index i, or NULL where the syntax error stands. */
static const struct json_tok *token(struct walk *w, uint32_t i)
{
	return i < w->j->n ? &w->j->tok[i] : NULL;
}

static uint32_t index_of(struct walk *w, const struct json_tok *t)
{
	return (uint32_t)(t - w->j->tok);
}

static int out_of_memory(struct err *e)
{
	return err_set(e, -ENOMEM, "Out of memory");
}

static void *member(void *to, size_t offset)
{
	return (char *)to + offset;
}

/* Behind at: white space, then the end of the array or object around. */
static uint32_t behind(const struct json *j, uint32_t at, bool in_list)
{
	char c;

	at = json_skip_space(j, at);
	c = (char)(at < j->len ? j->text[at] : '\0');
	if (in_list && c == ',')
		return json_skip_space(j, at + 1);
	return at + (c == (in_list ? ']' : '}'));
}

/* what: "type", or "value" for an integer out of range. */
static int invalid(struct walk *w, const struct json_tok *t, const char *what,
		   const char *expected)
{
	bool nested = t->kind == JSON_ARRAY || t->kind == JSON_OBJECT;
	char got[WORDING_BYTES];
	int ret = wording_value(got, w->j, t, w->e);

	if (ret)
		return ret;
	return json_err(w->j, nested ? t->at : t->end, w->e,
			"invalid %s: %s, expected %s", what, got, expected);
}

int text_init(struct text *x, const struct json *j, const struct json_tok *t,
	      struct err *e)
{
	char *s = malloc(t->end - t->at);

	if (!s)
		return out_of_memory(e);
	x->s = s;
	x->len = json_string(j, t, s);
	return 0;
}

void text_exit(struct text *x)
{
	free(x->s);
	*x = (struct text){0};
}

int text_set(struct text *x, const char *s, struct err *e)
{
	char *copy = strdup(s);

	if (!copy)
		return err_code(e, -ENOMEM, "'%s'", s);
	text_exit(x);
	*x = (struct text){.s = copy, .len = strlen(copy)};
	return 0;
}

bool text_equal(const struct text *a, const struct text *b)
{
	return a->len == b->len && !memcmp(a->s, b->s, a->len);
}

static int fill_bool(struct walk *w, const struct json_tok *t, void *to)
{
	if (t->kind != JSON_TRUE && t->kind != JSON_FALSE)
		return invalid(w, t, "type", "a boolean");
	*(bool *)to = t->kind == JSON_TRUE;
	return 0;
}

static int fill_integer(struct walk *w, const struct field *f,
			const struct json_tok *t, void *to)
{
	const char *name = integers[f->kind].name;
	uint64_t value;

	if (t->kind != JSON_UINT)
		return invalid(w, t,
			       t->kind == JSON_NEGATIVE ? "value" : "type",
			       name);
	value = json_uint(w->j, t);
	if (value > integers[f->kind].max)
		return invalid(w, t, "value", name);
	if (f->kind == FIELD_U8)
		*(uint8_t *)to = (uint8_t)value;
	else if (f->kind == FIELD_U16)
		*(uint16_t *)to = (uint16_t)value;
	else if (f->kind == FIELD_U32)
		*(uint32_t *)to = (uint32_t)value;
	else
		*(uint64_t *)to = value;
	return 0;
}

static int fill_text(struct walk *w, const struct field *f,
		     const struct json_tok *t, void *to)
{
	if (t->kind != JSON_STRING)
		return invalid(w, t, "type",
			       f->kind == FIELD_PATH ? "path string"
						     : "a string");
	return text_init(to, w->j, t, w->e);
}

static int unknown_variant(struct walk *w, const struct variant *v,
			   const struct json_tok *t)
{
	const char *names[SCHEMA_MAX_FIELDS];
	char expected[WORDING_BYTES], shown[WORDING_SHOWN];
	unsigned int n = 0;
	struct text x = {0};
	int ret = text_init(&x, w->j, t, w->e);

	if (ret)
		return ret;
	for (; v[n].name; n++)
		names[n] = v[n].name;
	wording_names(expected, names, n);
	wording_show(shown, x.s, x.len);
	text_exit(&x);
	return json_err(w->j, t->end, w->e, "unknown variant `%s`, expected %s",
			shown, expected);
}

static int fill_enum(struct walk *w, const struct field *f,
		     const struct json_tok *t, void *to)
{
	if (t->kind != JSON_STRING) {
		/* serde looks into an object for the name of a variant. */
		uint32_t at = t->kind == JSON_OBJECT
				      ? json_skip_space(w->j, t->at + 1)
				      : t->at;

		return json_err(w->j, MIN(at + 1, w->j->len), w->e,
				"expected value");
	}
	for (const struct variant *v = f->variants; v->name; v++) {
		if (json_string_is(w->j, t, v->name)) {
			*(int *)to = v->value;
			return 0;
		}
	}
	return unknown_variant(w, f->variants, t);
}

/* Put the place of a value that parse() or take() refused to its message. */
static int refused(struct walk *w, const struct field *f,
		   const struct json_tok *t, int ret)
{
	struct err inner = *w->e;

	if (ret != -EINVAL)
		return ret;
	return json_err(w->j,
			f->flags & FIELD_AT_VALUE
				? t->end
				: behind(w->j, t->end, !f->name),
			w->e, "%s", inner.text);
}

static int fill_parsed(struct walk *w, const struct field *f,
		       const struct json_tok *t, void *to)
{
	struct text x = {0};
	int ret;

	if (t->kind != JSON_STRING)
		return invalid(w, t, "type", "a string");
	ret = text_init(&x, w->j, t, w->e);
	if (ret)
		return ret;
	ret = f->parse(&x, to, w->e);
	text_exit(&x);
	return ret ? refused(w, f, t, ret) : 0;
}

static int fill_value(struct walk *w, const struct field *f,
		      const struct json_tok *t, void *to)
{
	int ret;

	if (t->end == 0)
		return json_syntax_err(w->j, w->e);
	ret = f->value.take(w->j, t, to, w->e);
	return ret ? refused(w, f, t, ret) : 0;
}

static int fill_span(struct walk *w, const struct field *f,
		     const struct json_tok *t, void *to)
{
	bool list = f->kind == FIELD_SPANS;

	if (t->kind != (list ? JSON_ARRAY : JSON_OBJECT))
		return invalid(w, t, "type", list ? "a sequence" : f->name_of);
	if (t->end == 0)
		return json_syntax_err(w->j, w->e);
	*(struct span *)to = (struct span){
		.at = t->at,
		.len = t->end - t->at,
		.empty = t->next == index_of(w, t) + 1,
	};
	return 0;
}

/* Nesting is bounded by the tables, which do not refer to themselves. */
static int fill_struct(struct walk *w, const struct schema *s,
		       const struct json_tok *t, void *to);
static int fill_list(struct walk *w, const struct field *f,
		     const struct json_tok *t, void *to);

static int fill_field(struct walk *w, const struct field *f,
		      const struct json_tok *t, void *to)
{
	void *at = member(to, f->at);

	switch (f->kind) {
	case FIELD_BOOL:
		return fill_bool(w, t, at);
	case FIELD_STRING:
	case FIELD_PATH:
		return fill_text(w, f, t, at);
	case FIELD_ENUM:
		return fill_enum(w, f, t, at);
	case FIELD_PARSED:
		return fill_parsed(w, f, t, at);
	case FIELD_STRUCT:
		return fill_struct(w, f->schema, t, at);
	case FIELD_LIST:
		return fill_list(w, f, t, to);
	case FIELD_SPAN:
	case FIELD_SPANS:
		return fill_span(w, f, t, at);
	case FIELD_VALUE:
		return fill_value(w, f, t, at);
	default:
		return fill_integer(w, f, t, at);
	}
}

static int fill_list(struct walk *w, const struct field *f,
		     const struct json_tok *t, void *to)
{
	unsigned int *count = member(to, f->list.count);
	unsigned int n = 0;
	char *items;

	if (t->kind != JSON_ARRAY)
		return invalid(w, t, "type", "a sequence");
	for (uint32_t i = index_of(w, t) + 1; i < t->next;
	     i = w->j->tok[i].next)
		n++;
	items = n ? calloc(n, f->list.item_bytes) : NULL;
	if (n && !items)
		return out_of_memory(w->e);
	memcpy(member(to, f->at), &items, sizeof(items));
	for (uint32_t i = index_of(w, t) + 1; i < t->next;
	     i = w->j->tok[i].next) {
		/* Counted first: a half-filled item is freed with the rest. */
		void *item = items + (size_t)(*count)++ * f->list.item_bytes;
		int ret = fill_field(w, f->list.item, &w->j->tok[i], item);

		if (ret)
			return ret;
	}
	return t->end ? 0 : json_syntax_err(w->j, w->e);
}

static const struct field *find_field(struct walk *w, const struct schema *s,
				      const struct json_tok *key)
{
	for (unsigned int i = 0; i < s->n_fields; i++) {
		if (json_string_is(w->j, key, s->fields[i].name))
			return &s->fields[i];
	}
	return NULL;
}

static int unknown_field(struct walk *w, const struct schema *s,
			 const struct json_tok *key)
{
	const char *names[SCHEMA_MAX_FIELDS];
	char expected[WORDING_BYTES], shown[WORDING_SHOWN];
	unsigned int n = 0;
	struct text x = {0};
	int ret = text_init(&x, w->j, key, w->e);

	if (ret)
		return ret;
	for (unsigned int i = 0; i < s->n_fields; i++) {
		if (!(s->fields[i].flags & FIELD_ADDITIONAL))
			names[n++] = s->fields[i].name;
	}
	wording_names(expected, names, n);
	wording_show(shown, x.s, x.len);
	text_exit(&x);
	return json_err(w->j, behind(w->j, key->end, false), w->e,
			"unknown field `%s`, expected %s", shown, expected);
}

static int fill_member(struct walk *w, const struct field *f,
		       const struct json_tok *t, void *to)
{
	int ret;

	if (t->kind == JSON_NULL && (f->flags & FIELD_NULLABLE))
		return 0;
	ret = fill_field(w, f, t, to);
	if (!ret && (f->flags & FIELD_GIVEN))
		*(bool *)member(to, f->given) = true;
	return ret;
}

/* One key and its value; *seen has a bit for each field that was there. */
static int walk_member(struct walk *w, const struct schema *s, uint32_t i,
		       uint32_t *seen, void *to)
{
	const struct json_tok *key = token(w, i);
	const struct json_tok *value = token(w, i + 1);
	const struct field *f = find_field(w, s, key);
	uint32_t bit;

	if (!f && !s->open)
		return unknown_field(w, s, key);
	if (f) {
		bit = (uint32_t)1 << (f - s->fields);
		if (*seen & bit)
			return json_err(w->j, behind(w->j, key->end, false),
					w->e, "duplicate field `%s`", f->name);
		*seen |= bit;
	}
	if (!value)
		return json_syntax_err(w->j, w->e);
	if (!f)
		return 0;
	return fill_member(w, f, value, to);
}

static int not_an_object(struct walk *w, const struct schema *s,
			 const struct json_tok *t)
{
	char expected[64];

	(void)snprintf(expected, sizeof(expected), "struct %s", s->name);
	return invalid(w, t, "type", expected);
}

static int fill_struct(struct walk *w, const struct schema *s,
		       const struct json_tok *t, void *to)
{
	uint32_t seen = 0;
	uint32_t i = index_of(w, t) + 1;

	assert(s->n_fields <= SCHEMA_MAX_FIELDS);
	if (t->kind != JSON_OBJECT)
		return not_an_object(w, s, t);
	while (i < t->next) {
		int ret = walk_member(w, s, i, &seen, to);

		if (ret)
			return ret;
		i = w->j->tok[i + 1].next;
	}
	if (t->end == 0)
		return json_syntax_err(w->j, w->e);
	for (unsigned int k = 0; k < s->n_fields; k++) {
		if ((s->fields[k].flags & FIELD_REQUIRED) &&
		    !(seen & (uint32_t)1 << k))
			return json_err(w->j, t->end, w->e,
					"missing field `%s`",
					s->fields[k].name);
	}
	return 0;
}

int schema_fill(const struct schema *s, const struct json *j,
		const struct json_tok *t, void *to, struct err *e)
{
	struct walk w = {.j = j, .e = e};
	int ret = fill_struct(&w, s, t, to);

	if (ret)
		schema_exit(s, to);
	return ret;
}

int schema_parse(const struct schema *s, const char *text, size_t len, void *to,
		 size_t to_bytes, struct err *e)
{
	struct json j;
	int ret;

	memset(to, 0, to_bytes);
	ret = json_scan(&j, text, len, e);
	if (!ret && j.n == 0)
		ret = json_syntax_err(&j, e);
	if (!ret)
		ret = schema_fill(s, &j, j.tok, to, e);
	if (!ret && j.error) {
		ret = json_syntax_err(&j, e);
		schema_exit(s, to);
	}
	json_exit(&j);
	return ret;
}

static void exit_list(const struct field *f, void *to);

static void exit_field(const struct field *f, void *to)
{
	void *at = member(to, f->at);

	if (f->kind == FIELD_STRING || f->kind == FIELD_PATH)
		text_exit(at);
	else if (f->kind == FIELD_STRUCT)
		schema_exit(f->schema, at);
	else if (f->kind == FIELD_LIST)
		exit_list(f, to);
	else if (f->kind == FIELD_VALUE)
		f->value.exit(at);
}

static void exit_list(const struct field *f, void *to)
{
	unsigned int *count = member(to, f->list.count);
	char *items;

	memcpy(&items, member(to, f->at), sizeof(items));
	while (*count > 0)
		exit_field(f->list.item,
			   items + (size_t)-- * count * f->list.item_bytes);
	free(items);
	memset(member(to, f->at), 0, sizeof(items));
}

void schema_exit(const struct schema *s, void *to)
{
	for (unsigned int i = 0; i < s->n_fields; i++)
		exit_field(&s->fields[i], to);
}
