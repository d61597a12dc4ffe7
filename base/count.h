/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count.h: counters that one thread writes and others read.
 *
 * Where several threads write one, a lock keeps the writers apart. A reader may
 * see counters of one object a moment apart, never half of one.
 */
#ifndef BASE_COUNT_H
#define BASE_COUNT_H

#include <stdint.h>

static inline uint64_t count_get(const uint64_t *c)
{
	return __atomic_load_n(c, __ATOMIC_RELAXED);
}

/* No locked instruction: the only writer needs none. */
static inline void count_add(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, count_get(c) + n, __ATOMIC_RELAXED);
}

#endif
