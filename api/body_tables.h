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
extern const struct schema body_machine_schema;
extern const struct schema body_boot_source_schema;
extern const struct schema body_drive_schema;
extern const struct schema body_logger_schema;
extern const struct schema body_metrics_schema;

/* schema_parse() with the words that a request's body brings. */
int body_request(const struct schema *s, const char *text, size_t len, void *to,
		 size_t to_bytes, struct err *e);

/* A cpu-config inside a text. *t must be zeroed. */
int body_cpu_fill(struct cpu_template *t, const struct json *j,
		  const struct json_tok *tok, struct err *e);

#endif
