/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timers.h: the armed timers of a loop, private to it: a pairing heap, linked
 * through the timers themselves. Adding is O(1), removing O(log n) amortised.
 */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include "base/loop.h"

struct timers {
	struct loop_timer *first; /* earliest deadline, then first armed */
	uint64_t seq;
};

/* t must not be in the heap; its deadline_ns is set. */
void timers_add(struct timers *h, struct loop_timer *t);

/* t must be in the heap. */
void timers_remove(struct timers *h, struct loop_timer *t);

#endif
