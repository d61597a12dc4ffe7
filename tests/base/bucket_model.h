/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket_model.h: what a token bucket has to do, in numbers wide enough to do
 * it plainly, and the random numbers to try it with.
 */
#ifndef TESTS_BASE_BUCKET_MODEL_H
#define TESTS_BASE_BUCKET_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/num.h"

/* A small generator: the sequence must be the same on every run. */
static inline uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Any magnitude is as likely as any other; powers of two and their like too. */
static inline uint64_t next_extreme(uint64_t *x)
{
	uint64_t n = next_random(x) >> (next_random(x) % 64);

	switch (next_random(x) % 4) {
	case 0:
		return UINT64_MAX >> (next_random(x) % 64);
	case 1:
		return (uint64_t)1 << (next_random(x) % 64);
	default:
		return n;
	}
}

__extension__ typedef unsigned __int128 wide;

/* The level is in tokens times the period. */
struct model {
	wide size, refill, level, burst, wanted;
};

static inline wide wide_most(const struct model *m)
{
	return MAX(m->size, m->wanted) * m->refill;
}

static inline void model_init(struct model *m, uint64_t size, uint64_t burst,
			      uint64_t ms)
{
	uint64_t ns;

	if (__builtin_mul_overflow(ms, NS_PER_MS, &ns))
		ns = UINT64_MAX;
	*m = (struct model){
		.size = size,
		.refill = ns,
		.level = (wide)size * ns,
		.burst = burst,
	};
}

/* A size of 0 is no limit. */
static inline void model_change(struct model *m, uint64_t size, uint64_t burst,
				uint64_t ms)
{
	wide wanted = m->size ? m->wanted : 0;
	wide saved = m->size ? MIN(m->level / m->refill, wanted) : 0;

	model_init(m, size, burst, ms);
	m->wanted = wanted;
	m->level = MAX(m->size, saved) * m->refill;
}

static inline void model_want(struct model *m, wide n)
{
	m->wanted = n;
	m->level = MIN(m->level, wide_most(m));
}

static inline void model_pass_time(struct model *m, uint64_t ns)
{
	wide level;

	if (__builtin_add_overflow(m->level, m->size * ns, &level))
		level = wide_most(m);
	m->level = MIN(level, wide_most(m));
}

static inline bool model_take(struct model *m, uint64_t n)
{
	wide from_burst = MIN((wide)n, m->burst);

	if (m->size == 0)
		return true;
	if ((n - from_burst) * m->refill > m->level)
		return false;
	m->level -= (n - from_burst) * m->refill;
	m->burst -= from_burst;
	model_want(m, 0);
	return true;
}

static inline uint64_t model_wait(struct model *m, uint64_t n)
{
	wide need = n - MIN((wide)n, m->burst), missing, ns;

	if (m->size == 0)
		return 0;
	model_want(m, need);
	if (need * m->refill <= m->level)
		return 0;
	missing = need * m->refill - m->level;
	ns = missing / m->size + (missing % m->size != 0);
	return (uint64_t)MIN(ns, UINT64_MAX);
}

#endif
