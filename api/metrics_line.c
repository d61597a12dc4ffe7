/* SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics_tables.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"

_Static_assert(sizeof(struct metrics_counters) % sizeof(uint64_t) == 0,
	       "nothing but uint64_t");

/* Text that grows to the end of a buffer and then stops. */
struct text {
	char *buf;
	size_t len, size;
	bool full;
	bool comma; /* wanted before the next key */
};

static void put(struct text *t, const char *s, size_t n)
{
	if (n > t->size - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->buf + t->len, s, n);
	t->len += n;
}

static void put_string(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

static void put_number(struct text *t, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(t, digits + at, sizeof(digits) - at);
}

/* The inside of a JSON string: ids from a configuration file are any text. */
static void put_escaped(struct text *t, const char *s)
{
	static const char hex[] = "0123456789abcdef";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			put(t, "\\", 1);
		} else if (c < 0x20) {
			put_string(t, c < 0x10 ? "\\u000" : "\\u001");
			put(t, &hex[c & 15], 1);
			continue;
		}
		put(t, s, 1);
	}
}

/* "<name><id>": */
static void put_key(struct text *t, const char *name, const char *id)
{
	if (t->comma)
		put(t, ",", 1);
	put(t, "\"", 1);
	put_string(t, name);
	put_escaped(t, id);
	put_string(t, "\":");
	t->comma = true;
}

static void open_object(struct text *t)
{
	put(t, "{", 1);
	t->comma = false;
}

static void close_object(struct text *t)
{
	put(t, "}", 1);
	t->comma = true;
}

static uint64_t load(const void *base, size_t offset)
{
	uint64_t n;

	memcpy(&n, (const char *)base + offset, sizeof(n));
	return n;
}

static void put_field(struct text *t, const struct metrics_field *f,
		      const void *now, const void *prev)
{
	if (f->kind == CLOSE) {
		close_object(t);
		return;
	}
	put_key(t, f->name, "");
	if (f->kind == OPEN)
		open_object(t);
	else if (f->kind == ZERO)
		put(t, "0", 1);
	else if (f->kind == GROWS)
		put_number(t, load(now, f->offset) - load(prev, f->offset));
	else
		put_number(t, load(now, f->offset));
}

static void add(void *all, const void *one, const struct metrics_group *g)
{
	for (size_t i = 0; i < g->n_fields; i++) {
		const struct metrics_field *f = &g->fields[i];
		uint64_t a = load(all, f->offset);
		uint64_t b = load(one, f->offset);

		if (f->kind == GROWS)
			a += b;
		else if (f->kind == LEAST)
			a = a && (!b || a < b) ? a : b;
		else if (f->kind == GREATEST)
			a = MAX(a, b);
		else
			continue;
		memcpy((char *)all + f->offset, &a, sizeof(a));
	}
}

void metrics_line_sum(struct metrics_counters *m,
		      const struct metrics_names *names)
{
	for (size_t i = 0; i < metrics_n_groups; i++) {
		const struct metrics_group *g = &metrics_groups[i];
		char *all = (char *)m + g->offset;
		const char *one = (const char *)m + g->each_offset;

		if (!g->each)
			continue;
		memset(all, 0, g->each_bytes);
		for (unsigned int d = 0; d < names[g->list].n; d++)
			add(all, one + d * g->each_bytes, g);
	}
}

static void put_group(struct text *t, const struct metrics_group *g,
		      const char *prefix, const char *name, size_t offset,
		      const struct metrics_counters *now,
		      const struct metrics_counters *prev)
{
	put_key(t, prefix, name);
	open_object(t);
	for (size_t i = 0; i < g->n_fields; i++)
		put_field(t, &g->fields[i], (const char *)now + offset,
			  (const char *)prev + offset);
	close_object(t);
}

size_t metrics_line_print(char *buf, size_t size, uint64_t time_ms,
			  const struct metrics_counters *now,
			  const struct metrics_counters *prev,
			  const struct metrics_names *names)
{
	struct text t = {.buf = buf, .size = size};

	open_object(&t);
	put_key(&t, "utc_timestamp_ms", "");
	put_number(&t, time_ms);
	for (size_t i = 0; i < metrics_n_groups; i++) {
		const struct metrics_group *g = &metrics_groups[i];
		const struct metrics_names *n = &names[g->list];

		for (unsigned int d = 0; g->each && d < n->n; d++)
			put_group(&t, g, g->each, n->name[d],
				  g->each_offset + d * g->each_bytes, now,
				  prev);
		put_group(&t, g, g->name, "", g->offset, now, prev);
	}
	close_object(&t);
	put(&t, "\n", 1);
	return t.full ? 0 : t.len;
}
