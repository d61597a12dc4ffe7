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

static void refill(struct bucket *b, uint64_t now_ns)
{
	uint64_t elapsed = now_ns - b->last_ns;
	wide gained;

	b->last_ns = now_ns;
	if (elapsed >= b->refill_ns) {
		b->tokens = b->size;
		b->fraction = 0;
		return;
	}
	gained = (wide)elapsed * b->size + b->fraction;
	if (gained / b->refill_ns >= b->size - b->tokens) {
		b->tokens = b->size;
		b->fraction = 0;
		return;
	}
	b->tokens += (uint64_t)(gained / b->refill_ns);
	b->fraction = (uint64_t)(gained % b->refill_ns);
}

bool bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	if (!bucket_limits(b))
		return true;
	refill(b, now_ns);
	if (n > b->burst && n - b->burst > b->tokens)
		return false;
	if (n <= b->burst) {
		b->burst -= n;
		return true;
	}
	b->tokens -= n - b->burst;
	b->burst = 0;
	return true;
}
