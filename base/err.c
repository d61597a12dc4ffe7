/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* Texts of musl where they differ from glibc's. */
static const struct {
	int err;
	const char *text;
} musl_text[] = {
	{EIO, "I/O error"},
	{ENOMEM, "Out of memory"},
	{EBUSY, "Resource busy"},
	{EMFILE, "No file descriptors available"},
	{ENFILE, "Too many open files in system"},
	{EADDRINUSE, "Address in use"},
	{ENAMETOOLONG, "Filename too long"},
	{ELOOP, "Symbolic link loop"},
	{EADDRNOTAVAIL, "Address not available"},
	{ENOPROTOOPT, "Protocol not available"},
	{EOPNOTSUPP, "Not supported"},
};

void err_os_text(int err, char *buf, size_t size)
{
	const char *text = NULL;

	for (size_t i = 0; i < ARRAY_LEN(musl_text); i++) {
		if (musl_text[i].err == err)
			text = musl_text[i].text;
	}
	if (!text)
		text = strerrordesc_np(err);
	(void)snprintf(buf, size, "%s (os error %d)",
		       text ? text : "Unknown error", err);
}

static void append(struct err *e, const char *text)
{
	size_t len = strlen(e->text);

	(void)snprintf(e->text + len, sizeof(e->text) - len, "%s", text);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	e->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

static int set_os(struct err *e, int code, const char *fmt, va_list ap)
{
	char os[96];

	e->code = code;
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	err_os_text(-code, os, sizeof(os));
	append(e, ": ");
	append(e, os);
	return code;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int code = -errno;
	va_list ap;

	va_start(ap, fmt);
	(void)set_os(e, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_code(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	va_start(ap, fmt);
	(void)set_os(e, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[ERR_TEXT_BYTES];
	va_list ap;

	memcpy(old, e->text, sizeof(old));
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	append(e, old);
	return e->code;
}
