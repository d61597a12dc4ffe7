/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zero.h: whether memory holds nothing but zeros.
 */
#ifndef BASE_ZERO_H
#define BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* At least one byte; each is the one before it, and the first is zero. */
static inline bool is_zero(const void *p, size_t bytes)
{
	const char *c = p;

	return c[0] == 0 && memcmp(c, c + 1, bytes - 1) == 0;
}

#endif
