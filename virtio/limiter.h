/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limiter.h: a rate limiter: bytes and operations, a token bucket each.
 *
 * A device asks for the request at the head of its queue. One that may not pass
 * yet passes as soon as both buckets hold what it takes, and a timer, set to
 * that nanosecond, calls resume(). While a request larger than a bucket waits,
 * the bucket holds as much as that: so it passes too, and nothing passes
 * unpaid.
 *
 * Threads: the loop thread.
 */
#ifndef VIRTIO_LIMITER_H
#define VIRTIO_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/loop.h"

struct archive;

struct limiter {
	struct bucket bandwidth; /* bytes */
	struct bucket ops;
	bool waiting;	    /* a request was refused and has not passed */
	bool paused;	    /* the buckets' clock stands still... */
	uint64_t paused_ns; /* ...since then... */
	uint64_t behind_ns; /* ...and has stood still for so long before */
	struct loop *loop;
	struct loop_timer timer;
	void (*resume)(struct limiter *l); /* ask again now */
	uint64_t throttled;		   /* requests that had to wait */
	uint64_t events;		   /* times the timer fired */
};

/* Without limits. */
void limiter_init(struct limiter *l, struct loop *loop,
		  void (*resume)(struct limiter *l));
void limiter_exit(struct limiter *l);

/*
 * Replace a bucket by a full one; a size or a period of 0 lifts the limit. A
 * request that waits is asked for again soon, and keeps what it has waited for.
 */
void limiter_set_bandwidth(struct limiter *l, uint64_t size, uint64_t burst,
			   uint64_t refill_ms);
void limiter_set_ops(struct limiter *l, uint64_t size, uint64_t burst,
		     uint64_t refill_ms);

/*
 * May a request of that many bytes pass now? If not, resume() is called when it
 * may; asking earlier does no harm.
 */
bool limiter_pass(struct limiter *l, uint64_t bytes);

/* No request waits any more: a reset. Does not call resume(). */
void limiter_forget(struct limiter *l);

/*
 * What is in the buckets, in a snapshot. Loaded, it counts for buckets of the
 * size and period that they had; others stay as they are. So a copy has what
 * its origin had left.
 */
void limiter_describe(struct limiter *l, struct archive *a);

/*
 * The clock of the buckets stands still while the guest is paused. Again, or
 * without a pause, these do nothing.
 */
void limiter_pause(struct limiter *l);
void limiter_resume(struct limiter *l);

#endif
