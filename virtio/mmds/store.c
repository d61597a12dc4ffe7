/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/mmds/store.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/decimal.h"
#include "base/err.h"
#include "base/num.h"

#define NONE UINT32_MAX

/* A text that grows up to a limit; after an error it takes no more. */
struct out {
	char *text;
	size_t len, cap, limit;
	int error;
};

/* A decoded key and its token. */
struct key {
	const char *s;
	size_t len;
	uint32_t tok;
};

static void put(struct out *o, const char *s, size_t len)
{
	if (o->error == 0 && len > o->limit - o->len)
		o->error = -E2BIG;
	if (o->error == 0 && (!o->text || len > o->cap - o->len)) {
		size_t cap = 2 * o->cap + len + 64;
		char *text = realloc(o->text, cap);

		if (text) {
			o->text = text;
			o->cap = cap;
		} else {
			o->error = -ENOMEM;
		}
	}
	if (o->error == 0) {
		memcpy(o->text + o->len, s, len);
		o->len += len;
	}
}

/* A value as it stands in its text. */
static void put_raw(struct out *o, const struct json *j, uint32_t tok)
{
	put(o, j->text + j->tok[tok].at, j->tok[tok].end - j->tok[tok].at);
}

/*
 * A decoded string has its place in the scratch where its token has it in the
 * text, so those of different tokens do not overlap.
 */
static struct key decode(const struct mmds_store *s, uint32_t tok)
{
	char *at = s->scratch + s->doc.tok[tok].at;

	return (struct key){at, json_string(&s->doc, &s->doc.tok[tok], at),
			    tok};
}

static int compare(const struct key *a, const struct key *b)
{
	int c = memcmp(a->s, b->s, MIN(a->len, b->len));

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

/* Equal keys stay in their order. */
static int compare_members(const void *p, const void *q)
{
	const struct key *a = p, *b = q;
	int c = compare(a, b);

	return c ? c : (a->tok > b->tok) - (a->tok < b->tok);
}

/* Escapes what must be, as serde does. */
static void put_string(struct out *o, struct key s)
{
	static const char names[] = "btn?fr", hex[] = "0123456789abcdef";

	put(o, "\"", 1);
	for (size_t i = 0, from = 0; i <= s.len; i++) {
		unsigned char c = i < s.len ? (unsigned char)s.s[i] : 0;
		char esc[6] = {'\\', (char)c,	  '0',
			       '0',  hex[c >> 4], hex[c & 15]};
		size_t n = 2;

		if (i < s.len && c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(o, s.s + from, i - from);
		from = i + 1;
		if (c >= '\b' && c <= '\r' && c != '\v') {
			esc[1] = names[c - '\b'];
		} else if (c < 0x20) {
			esc[1] = 'u';
			n = 6;
		}
		if (i < s.len)
			put(o, esc, n);
	}
	put(o, "\"", 1);
}

static void put_value(struct out *o, const struct mmds_store *s, uint32_t tok,
		      struct key *keys);

/* keys is room for as many as there are tokens in the object. */
static void put_object(struct out *o, const struct mmds_store *s, uint32_t tok,
		       struct key *keys)
{
	const struct json *j = &s->doc;
	const char *comma = "";
	size_t n = 0;

	for (uint32_t i = tok + 1; i < j->tok[tok].next; i = j->tok[i + 1].next)
		keys[n++] = decode(s, i);
	qsort(keys, n, sizeof(*keys), compare_members);
	put(o, "{", 1);
	for (size_t i = 0; i < n; i++) {
		if (i + 1 < n && compare(&keys[i], &keys[i + 1]) == 0)
			continue;
		put(o, comma, strlen(comma));
		comma = ",";
		put_string(o, keys[i]);
		put(o, ":", 1);
		put_value(o, s, keys[i].tok + 1, keys + n);
	}
	put(o, "}", 1);
}

static void put_value(struct out *o, const struct mmds_store *s, uint32_t tok,
		      struct key *keys)
{
	const struct json *j = &s->doc;
	const struct json_tok *t = &j->tok[tok];
	char number[DECIMAL_TEXT_BYTES];

	switch (t->kind) {
	case JSON_FLOAT:
		decimal_print(json_float(j, t), number);
		put(o, number, strlen(number));
		break;
	case JSON_STRING:
		put_string(o, decode(s, tok));
		break;
	case JSON_OBJECT:
		put_object(o, s, tok, keys);
		break;
	case JSON_ARRAY:
		put(o, "[", 1);
		for (uint32_t i = tok + 1; i < t->next; i = j->tok[i].next) {
			put(o, ",", i > tok + 1);
			put_value(o, s, i, keys);
		}
		put(o, "]", 1);
		break;
	case JSON_NULL:
	case JSON_FALSE:
	case JSON_TRUE:
	case JSON_UINT:
	case JSON_NEGATIVE:
		put_raw(o, j, tok);
		break;
	}
}

void mmds_store_init(struct mmds_store *s, size_t limit)
{
	*s = (struct mmds_store){.limit = MIN(limit, JSON_MAX_BYTES)};
}

void mmds_store_exit(struct mmds_store *s)
{
	json_exit(&s->doc);
	free(s->text);
	free(s->scratch);
	mmds_store_init(s, s->limit);
}

/* The text becomes the document, or is freed. */
static int take(struct mmds_store *s, struct out *o, struct err *e)
{
	struct mmds_store new = {.text = o->text, .limit = s->limit};
	int r = o->error;

	if (r == 0) {
		new.scratch = malloc(o->len + 1);
		r = new.scratch ? json_scan(&new.doc, new.text, o->len, e)
				: -ENOMEM;
	}
	if (r < 0) {
		mmds_store_exit(&new);
		return err_set(e, r, "%s",
			       r == -E2BIG
				       ? "The MMDS patch request doesn't fit."
				       : "Out of memory");
	}
	mmds_store_exit(s);
	*s = new;
	return 0;
}

int mmds_store_put(struct mmds_store *s, const char *text, size_t len,
		   struct err *e)
{
	struct mmds_store in = {0};
	struct out o = {.limit = s->limit};
	cleanup_free struct key *keys = NULL;
	int r = json_scan(&in.doc, text, len, e);

	if (r == 0 && in.doc.error)
		r = json_syntax_err(&in.doc, e);
	if (r == 0) {
		keys = calloc((size_t)in.doc.n + 1, sizeof(*keys));
		in.scratch = malloc(len + 1);
		if (keys && in.scratch)
			put_value(&o, &in, 0, keys);
		else
			o.error = -ENOMEM;
		r = take(s, &o, e);
	}
	mmds_store_exit(&in);
	return r;
}

/*
 * The value tb of b merged into the value ta of a (NONE: there is none). Both
 * are printed by us, so the members of their objects are sorted.
 */
static void merge(struct out *o, const struct mmds_store *a, uint32_t ta,
		  const struct mmds_store *b, uint32_t tb)
{
	const struct json_tok *at = a->doc.tok, *bt = b->doc.tok;
	uint32_t i = 0, i_end = 0, j = tb + 1;
	const char *comma = "";
	struct key ka = {0}, kb = {0};

	assert(bt); /* there is a value */
	if (bt[tb].kind != JSON_OBJECT) {
		put_raw(o, &b->doc, tb);
		return;
	}
	if (ta != NONE && at[ta].kind == JSON_OBJECT) {
		i = ta + 1;
		i_end = at[ta].next;
	}
	put(o, "{", 1);
	while (i < i_end || j < bt[tb].next) {
		int c = i == i_end ? 1 : -1;

		if (i < i_end && ka.tok != i)
			ka = decode(a, i);
		if (j < bt[tb].next && kb.tok != j)
			kb = decode(b, j);
		if (i < i_end && j < bt[tb].next)
			c = compare(&ka, &kb);
		if (c < 0 || bt[j + 1].kind != JSON_NULL) {
			put(o, comma, strlen(comma));
			comma = ",";
			put_raw(o, c < 0 ? &a->doc : &b->doc, c < 0 ? i : j);
			put(o, ":", 1);
		}
		if (c < 0)
			put_raw(o, &a->doc, i + 1);
		else if (bt[j + 1].kind != JSON_NULL)
			merge(o, a, c == 0 ? i + 1 : NONE, b, j + 1);
		i = c <= 0 ? at[i + 1].next : i;
		j = c >= 0 ? bt[j + 1].next : j;
	}
	put(o, "}", 1);
}

int mmds_store_patch(struct mmds_store *s, const char *text, size_t len,
		     struct err *e)
{
	struct mmds_store patch;
	struct out o = {.limit = s->limit};
	int r;

	mmds_store_init(&patch, JSON_MAX_BYTES);
	r = mmds_store_put(&patch, text, len, e);
	if (r == 0 && !s->text) {
		r = err_set(e, -ENOENT,
			    "The MMDS data store is not initialized.");
	} else if (r == 0) {
		merge(&o, s, 0, &patch, 0);
		r = take(s, &o, e);
	}
	mmds_store_exit(&patch);
	return r;
}

char *mmds_store_print(const struct mmds_store *s)
{
	if (!s->text || s->doc.tok[0].kind == JSON_NULL)
		return strdup("{}");
	return strndup(s->text, s->doc.len);
}

/* Whether a part of a path (RFC 6901) means the key. */
static bool names_key(const char *part, size_t len, const struct key *k)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++, n++) {
		char c = part[i];

		if (c == '~' && i + 1 < len && (part[i + 1] | 1) == '1')
			c = part[++i] == '0' ? '~' : '/';
		if (n == k->len || k->s[n] != c)
			return false;
	}
	return n == k->len;
}

/* The member or element of a value that a part of a path means, or NONE. */
static uint32_t child(const struct mmds_store *s, uint32_t tok,
		      const char *part, size_t len)
{
	const struct json_tok *t = s->doc.tok;
	bool object = t[tok].kind == JSON_OBJECT;
	uint32_t index = 0;

	if (!object && t[tok].kind != JSON_ARRAY)
		return NONE;
	for (size_t i = 0; !object && i < len; i++) {
		if (part[i] < '0' || part[i] > '9' ||
		    (part[0] == '0' && len > 1) || index > NONE / 16)
			return NONE;
		index = index * 10 + (uint32_t)(part[i] - '0');
	}
	for (uint32_t i = tok + 1; i < t[tok].next;
	     i = t[object ? i + 1 : i].next) {
		struct key k;

		if (!object && index-- == 0)
			return i;
		if (!object)
			continue;
		k = decode(s, i);
		if (names_key(part, len, &k))
			return i + 1;
	}
	return NONE;
}

/* What of the bytes at s belongs in the cap bytes at buf; *len counts all. */
static void give(char *buf, size_t cap, size_t *len, const char *s, size_t n)
{
	if (*len < cap)
		memcpy(buf + *len, s, MIN(n, cap - *len));
	*len += n;
}

static void give_names(const struct mmds_store *s, uint32_t tok, char *buf,
		       size_t cap, size_t *len)
{
	const struct json_tok *t = s->doc.tok;

	for (uint32_t i = tok + 1; i < t[tok].next; i = t[i + 1].next) {
		struct key k = decode(s, i);

		give(buf, cap, len, "\n", i > tok + 1);
		give(buf, cap, len, k.s, k.len);
		give(buf, cap, len, "/", t[i + 1].kind == JSON_OBJECT);
	}
}

enum mmds_found mmds_store_get(const struct mmds_store *s, const char *path,
			       size_t path_len, enum mmds_format format,
			       char *buf, size_t cap, size_t *len)
{
	const struct json_tok *t;
	uint32_t tok = s->text ? 0 : NONE;
	bool root = true;

	*len = 0;
	for (size_t i = 0, n; i < path_len; i += n) {
		const char *end = memchr(path + i, '/', path_len - i);

		n = end ? (size_t)(end - path) - i : path_len - i;
		if (n > 0 && tok != NONE)
			tok = child(s, tok, path + i, n);
		root = root && n == 0;
		n += end ? 1 : 0;
	}
	if (tok == NONE && !root)
		return MMDS_NOT_FOUND;
	t = tok == NONE ? NULL : &s->doc.tok[tok];
	if (format == MMDS_JSON && t) {
		give(buf, cap, len, s->text + t->at, t->end - t->at);
	} else if (format == MMDS_JSON) {
		give(buf, cap, len, "null", 4);
	} else if (t && t->kind == JSON_STRING) {
		struct key k = decode(s, tok);

		give(buf, cap, len, k.s, k.len);
	} else if (t && t->kind == JSON_OBJECT) {
		give_names(s, tok, buf, cap, len);
	} else {
		return MMDS_NOT_TEXT;
	}
	return MMDS_FOUND;
}
