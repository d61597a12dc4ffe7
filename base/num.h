/* SPDX-License-Identifier: Apache-2.0 */
/*
 * num.h: arithmetic on numbers that a guest, a client or a file chose.
 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a)	 (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	 ((a) < (b) ? (a) : (b))
#define MAX(a, b)	 ((a) > (b) ? (a) : (b))
#define KIB		 ((uint64_t)1 << 10)
#define MIB		 ((uint64_t)1 << 20)
#define GIB		 ((uint64_t)1 << 30)
#define ALIGN_UP(x, a)	 (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a)-1)) == 0)
#define container_of(p, type, member) \
	((type *)(void *)((char *)(p)-offsetof(type, member)))

/* Each stores the result and returns true, or returns false if it wraps. */
#define num_add(a, b, out) (!__builtin_add_overflow((a), (b), (out)))
#define num_mul(a, b, out) (!__builtin_mul_overflow((a), (b), (out)))

/* Whether [at, at + len) lies inside [0, size). Never wraps. */
static inline bool num_inside(uint64_t at, uint64_t len, uint64_t size)
{
	return at <= size && len <= size - at;
}

#endif
