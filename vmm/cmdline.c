/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/cmdline.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define SEPARATOR     " -- "
#define SEPARATOR_LEN (sizeof(SEPARATOR) - 1)

/* The first separator that is not inside double quotes, or NULL. */
static const char *find_separator(const char *text)
{
	bool quoted = false;

	for (const char *p = text; *p; p++) {
		if (*p == '"')
			quoted = !quoted;
		if (!quoted && strncmp(p, SEPARATOR, SEPARATOR_LEN) == 0)
			return p;
	}
	return NULL;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(const char **start, const char **end)
{
	while (*start < *end && is_space(**start))
		(*start)++;
	while (*end > *start && is_space((*end)[-1]))
		(*end)--;
}

int cmdline_init(struct cmdline *c, const char *user, struct err *e)
{
	const char *boot = user ? user : CMDLINE_DEFAULT;
	const char *end = boot + strlen(boot);
	const char *boot_end = end;
	const char *init = end;
	size_t boot_len, init_len;

	init = find_separator(boot);
	if (init) {
		boot_end = init;
		init += SEPARATOR_LEN;
	} else {
		init = end;
	}
	trim(&boot, &boot_end);
	trim(&init, &end);
	boot_len = (size_t)(boot_end - boot);
	init_len = (size_t)(end - init);
	if (init_len)
		init_len += SEPARATOR_LEN;
	if (boot_len + init_len >= sizeof(c->text))
		return err_set(e, -E2BIG, "Invalid cmdline capacity provided.");

	memcpy(c->text, boot, boot_len);
	c->boot_len = boot_len;
	c->len = boot_len + init_len;
	if (init_len) {
		memcpy(c->text + boot_len, SEPARATOR, SEPARATOR_LEN);
		memcpy(c->text + boot_len + SEPARATOR_LEN, init,
		       init_len - SEPARATOR_LEN);
	}
	c->text[c->len] = '\0';
	return 0;
}

static bool printable(const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p < ' ' || *p > '~')
			return false;
	}
	return true;
}

int cmdline_add(struct cmdline *c, struct err *e, const char *fmt, ...)
{
	size_t space = c->boot_len ? 1 : 0;
	char words[CMDLINE_MAX];
	va_list ap;
	size_t len;
	char *at;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	assert(n >= 0);
	if (!printable(words))
		return err_set(
			e, -EINVAL,
			"String contains a non-printable ASCII character.");
	len = (size_t)n;
	if (len >= sizeof(words) || c->len + space + len >= sizeof(c->text))
		return err_set(e, -E2BIG,
			       "Inserting string would make command line too "
			       "long.");

	at = c->text + c->boot_len;
	memmove(at + space + len, at, c->len - c->boot_len + 1);
	if (space)
		*at++ = ' ';
	memcpy(at, words, len);
	c->boot_len += space + len;
	c->len += space + len;
	return 0;
}
