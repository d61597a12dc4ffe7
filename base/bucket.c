/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bucket.h"

#include "base/clock.h"
#include "base/num.h"

__extension__ typedef unsigned __int128 wide;

void bucket_init(struct bucket *b, uint64_t size, uint64_t burst,
		 uint64_t refill_ms, uint64_t now_ns)
{
	*b = (struct bucket){.last_ns = now_ns};
	if (size == 0 || refill_ms == 0)
		return;
	if (!num_mul(refill_ms, NS_PER_MS, &b->refill_ns))
		b->refill_ns = UINT64_MAX;
	b->size = size;
	b->tokens = size;
	b->burst = burst;
}

/* A full bucket has no fraction of a token above. */
static void add(struct bucket *b, wide tokens, uint64_t fraction)
{
	uint64_t most = MAX(b->size, b->wanted);
	bool full = tokens >= most - b->tokens;

	b->tokens = full ? most : b->tokens + (uint64_t)tokens;
	b->fraction = full ? 0 : fraction;
}

/* The product and a fraction, which is less than 2^64, fit 128 bits. */
static void refill(struct bucket *b, uint64_t now_ns)
{
	wide gained = (wide)(now_ns - b->last_ns) * b->size + b->fraction;

	b->last_ns = now_ns;
	add(b, gained / b->refill_ns, (uint64_t)(gained % b->refill_ns));
}

static void want(struct bucket *b, uint64_t n)
{
	b->wanted = n;
	b->tokens = MIN(b->tokens, MAX(b->size, n));
	add(b, 0, b->fraction);
}

void bucket_change(struct bucket *b, uint64_t size, uint64_t burst,
		   uint64_t refill_ms, uint64_t now_ns)
{
	uint64_t wanted = b->wanted, saved;

	if (bucket_limits(b))
		refill(b, now_ns);
	saved = MIN(b->tokens, wanted);
	bucket_init(b, size, burst, refill_ms, now_ns);
	if (!bucket_limits(b))
		return;
	b->wanted = wanted;
	b->tokens = MAX(size, saved);
}

bool bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	uint64_t from_burst = MIN(n, b->burst);

	if (!bucket_limits(b))
		return true;
	refill(b, now_ns);
	if (n - from_burst > b->tokens)
		return false;
	b->burst -= from_burst;
	b->tokens -= n - from_burst;
	want(b, 0);
	return true;
}

uint64_t bucket_wait(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	uint64_t need = n - MIN(n, b->burst);
	wide ns;

	if (!bucket_limits(b))
		return 0;
	refill(b, now_ns);
	want(b, need);
	if (need <= b->tokens)
		return 0;
	/* The first nanosecond at which refill() has gained them, rounded up */
	ns = (wide)(need - b->tokens) * b->refill_ns - b->fraction;
	ns = ns / b->size + (ns % b->size != 0);
	return ns < UINT64_MAX ? (uint64_t)ns : UINT64_MAX;
}

void bucket_forget(struct bucket *b)
{
	want(b, 0);
}
