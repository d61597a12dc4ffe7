/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body_tables.h: what the files that describe bodies share.
 */
#ifndef API_BODY_TABLES_H
#define API_BODY_TABLES_H

#include "api/schema.h"
#include "base/num.h"

struct cpu_template;

/* Tables that other tables refer to. */
extern const struct schema body_bucket_schema;
extern const struct schema body_limiter_schema;

/* "12:34:56:78:9a:bc" to uint8_t[6]: for fields. */
int body_parse_mac(const struct text *s, void *to, struct err *e);

/* A cpu-config inside a text. *t must be zeroed. */
int body_cpu_fill(struct cpu_template *t, const struct json *j,
		  const struct json_tok *tok, struct err *e);

#endif
