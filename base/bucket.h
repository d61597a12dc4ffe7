/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.h: a token bucket, exact to one token over any interval.
 *
 * It holds at most `size` tokens and gains `size` of them, evenly, in every
 * refill period; a burst that it starts with is spent first and does not come
 * back. Fractions of a token are carried, so nothing is lost or won by asking
 * often. Whoever waits for more than the bucket holds makes it larger until
 * then. Times come from the caller and never go back. No locks.
 */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint64_t size;
	uint64_t refill_ns; /* to go from empty to full; 0: no limit */
	uint64_t burst;
	uint64_t wanted; /* it holds so many tokens if that is more than size */
	uint64_t tokens;
	uint64_t fraction; /* of a token, in units of 1/refill_ns */
	uint64_t last_ns;
};

/*
 * Full, at now_ns. A size or a period of 0 is no limit, as in Firecracker; a
 * period that is more than 2^64 ns is taken as that.
 */
void bucket_init(struct bucket *b, uint64_t size, uint64_t burst,
		 uint64_t refill_ms, uint64_t now_ns);

/*
 * The same for a bucket in use: what somebody has waited for stays, where that
 * is more than the new one holds.
 */
void bucket_change(struct bucket *b, uint64_t size, uint64_t burst,
		   uint64_t refill_ms, uint64_t now_ns);

static inline bool bucket_limits(const struct bucket *b)
{
	return b->refill_ns != 0;
}

/* Take n tokens, or none: false if there are fewer. Ends a wait. */
bool bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns);

/*
 * Wait for n tokens: the ns after which bucket_take() gives them, and not
 * before; 0: they are there. UINT64_MAX may mean longer.
 */
uint64_t bucket_wait(struct bucket *b, uint64_t n, uint64_t now_ns);

/* Nobody waits any more. */
void bucket_forget(struct bucket *b);

#endif
