/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

static struct piece cmdline;

static size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

void cmdline_setup(const char *text)
{
	cmdline = (struct piece){text, length(text)};
}

static bool starts_with(struct piece p, const char *s)
{
	size_t i = 0;
	while (i < p.len && s[i] && p.s[i] == s[i])
		i++;
	return !s[i];
}

bool piece_is(struct piece p, const char *s)
{
	return starts_with(p, s) && !s[p.len];
}

struct piece piece_cut(struct piece *rest, char separator)
{
	struct piece p = {rest->s, 0};
	while (p.len < rest->len && p.s[p.len] != separator)
		p.len++;
	size_t used = p.len < rest->len ? p.len + 1 : p.len;
	rest->s += used;
	rest->len -= used;
	return p;
}

struct piece cmdline_value(const char *key, unsigned int n)
{
	struct piece rest = cmdline;
	while (rest.len) {
		struct piece word = piece_cut(&rest, ' ');
		if (!starts_with(word, key) || n--)
			continue;
		size_t skip = length(key);
		return (struct piece){word.s + skip, word.len - skip};
	}
	return (struct piece){NULL, 0};
}

static unsigned int digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10 : 99;
}

uint64_t piece_number(struct piece p, uint64_t otherwise)
{
	unsigned int base = 10;
	if (starts_with(p, "0x")) {
		base = 16;
		p.s += 2;
		p.len -= 2;
	}
	uint64_t v = 0;
	size_t i = 0;
	for (; i < p.len && digit(p.s[i]) < base; i++)
		v = v * base + digit(p.s[i]);
	return i ? v : otherwise;
}

uint64_t piece_next(struct piece *rest, uint64_t otherwise)
{
	return piece_number(piece_cut(rest, ':'), otherwise);
}

uint64_t piece_limit(struct piece *rest, uint64_t *ns)
{
	struct piece p = piece_cut(rest, ':');
	uint64_t n = piece_number(p, 0);
	bool timed = p.len && p.s[p.len - 1] == 's';
	*ns = timed ? n * NS_PER_S : 0;
	return timed ? 0 : n;
}

static bool take_option(const struct option *o, struct piece p)
{
	if (o->word)
		return piece_is(p, o->name) && (*o->word = true);
	if (!starts_with(p, o->name))
		return false;
	*o->number =
		(uint32_t)piece_number((struct piece){p.s + 1, p.len - 1}, 0);
	return true;
}

void piece_options(struct piece args, const struct option *o, size_t n)
{
	while (args.len) {
		struct piece p = piece_cut(&args, ':');
		for (size_t i = 0; i < n && !take_option(&o[i], p); i++)
			;
	}
}
