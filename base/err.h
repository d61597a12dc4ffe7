/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h: error values with context.
 *
 * Set-up, API and snapshot paths take a last `struct err *e`, which lives on
 * the caller's stack, and return a negative errno:
 *
 *	if (fd < 0)
 *		return err_sys(e, "Failed to open '%s'", path);
 *
 * A caller adds context in front with err_wrap(). The API returns the text to
 * its client, so it names the thing, the value and the rule. No allocation.
 * Any thread.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#define ERR_TEXT_BYTES 512

struct err {
	int code; /* negative errno, 0 when unset */
	char text[ERR_TEXT_BYTES];
};

/* Set code and text; returns code, which must be negative. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, int code,
						  const char *fmt, ...);

/*
 * Set the text followed by ": <text of errno> (os error <errno>)"; returns
 * -errno.
 */
__attribute__((format(printf, 2, 3))) int err_sys(struct err *e,
						  const char *fmt, ...);

/* The same for an error that was returned: code is a negative errno. */
__attribute__((format(printf, 3, 4))) int err_code(struct err *e, int code,
						   const char *fmt, ...);

/* Put the formatted words in front of the text, as they are; returns e->code.
 */
__attribute__((format(printf, 2, 3))) int err_wrap(struct err *e,
						   const char *fmt, ...);

/*
 * "No such file or directory (os error 2)" for errno 2: the texts that a
 * released, musl-linked Firecracker prints. Writes at most size bytes.
 */
void err_os_text(int err, char *buf, size_t size);

#endif
