/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limiter.h: a rate limiter: bytes and operations, a token bucket each.
 *
 * A device asks for the request at the head of its queue. A request that may
 * not pass yet takes the tokens that are there and what comes after them, until
 * it is paid in full; then a timer, set to that nanosecond, calls resume(). So
 * requests larger than a bucket pass too, and nothing passes unpaid.
 *
 * Threads: the loop thread.
 */
#ifndef VIRTIO_LIMITER_H
#define VIRTIO_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/loop.h"

struct limiter {
	struct bucket bandwidth; /* bytes */
	struct bucket ops;
	uint64_t paid_bytes; /* by the request at the head */
	bool paid_op;
	bool waiting;	    /* a request was refused and has not passed */
	uint64_t paused_ns; /* since when it stands still; 0: it does not */
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
 * request that waits is asked for again soon, and what it has paid counts.
 */
void limiter_set_bandwidth(struct limiter *l, uint64_t size, uint64_t burst,
			   uint64_t refill_ms);
void limiter_set_ops(struct limiter *l, uint64_t size, uint64_t burst,
		     uint64_t refill_ms);

/*
 * May a request of that many bytes pass now? If not, resume() is called when it
 * may. What a smaller request than the one before it has paid too much is lost.
 */
bool limiter_pass(struct limiter *l, uint64_t bytes);

/* No request waits any more: a reset. Does not call resume(). */
void limiter_forget(struct limiter *l);

/* The clock of the buckets stands still while the guest is paused. */
void limiter_pause(struct limiter *l);
void limiter_resume(struct limiter *l);

#endif
