/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h: where bytes stop being UTF-8 (RFC 3629: shortest form, no
 * surrogates, nothing above U+10FFFF). NUL is a character like any other.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

/*
 * Returns the length of the longest valid prefix of s[0..len). Where that is
 * less than len, *bad is the length of what is wrong behind it: 1 to 3 bytes
 * that cannot be, or 0 if the text ends inside a character. It is the longest
 * start of a character, as Unicode recommends for replacement by U+FFFD.
 */
size_t utf8_prefix(const char *s, size_t len, size_t *bad);

#endif
