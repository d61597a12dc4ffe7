/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quote.h: strings between quotation marks, for JSON and for log lines.
 *
 * Both return a NUL-terminated string that the caller frees, or NULL without
 * memory. The input may hold NUL bytes.
 */
#ifndef API_QUOTE_H
#define API_QUOTE_H

#include <stddef.h>

/* As a JSON string. The input is UTF-8. */
char *quote_json(const char *s, size_t len);

/*
 * As log lines show request bodies: Rust's Debug form, which clients grep for.
 */
char *quote_debug(const char *s, size_t len);

#endif
