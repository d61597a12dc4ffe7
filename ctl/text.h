/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h: what came out of a file, on a terminal and in JSON.
 */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include <stddef.h>
#include <stdio.h>

struct err;

/* Printable ASCII as it is, other bytes as \xNN: no file moves the cursor. */
void text_print(FILE *out, const char *s, size_t len);

/* A JSON string; what is not UTF-8 becomes U+FFFD. */
void text_json(FILE *out, const char *s, size_t len);

/* "mayflyctl: " and the error, on standard error. */
void text_error(const struct err *e);

#endif
