/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wording.h: parts of serde's messages about JSON values.
 *
 * What a message repeats of a client's string is cut, so that the place behind
 * it is never lost.
 */
#ifndef API_WORDING_H
#define API_WORDING_H

#include <stddef.h>

#include "base/json.h"

struct err;

#define WORDING_SHOWN 132 /* 128 bytes, "..." and a NUL */
#define WORDING_BYTES 384

/* The start of s: whole characters, then "..." if more follows. No NUL. */
void wording_show(char out[WORDING_SHOWN], const char *s, size_t len);

/* "`a`", "`a` or `b`", "one of `a`, `b`, `c`". */
void wording_names(char out[WORDING_BYTES], const char *const *names,
		   unsigned int n);

/*
 * What a value is: "integer `7`", "string \"x\"", "map". Returns 0, or -ENOMEM
 * with e set.
 */
int wording_value(char out[WORDING_BYTES], const struct json *j,
		  const struct json_tok *t, struct err *e);

#endif
