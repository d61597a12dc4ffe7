/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.h: parts of replies as cJSON trees.
 *
 * cJSON cuts strings at NUL and rounds numbers above 2^53; these do not. Like
 * cJSON's own functions they yield NULL, or add nothing, without memory, and
 * adding NULL does no harm.
 */
#ifndef API_PRINT_H
#define API_PRINT_H

#include <stdint.h>

struct cJSON;
struct limiter_cfg;
struct machine_config;
struct text;

/* Add a string, or null if it was not given. */
void print_text(struct cJSON *to, const char *name, const struct text *t);
/* The same for an item of a list. */
void print_item(struct cJSON *list, const struct text *t);
void print_u64(struct cJSON *to, const char *name, uint64_t v);

struct cJSON *print_machine(const struct machine_config *m);

/* A rate limiter; null if both buckets are off. */
struct cJSON *print_limiter(const struct limiter_cfg *l);

#endif
