/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/limiter.h"

#include "base/archive.h"
#include "base/clock.h"
#include "base/num.h"

/* The buckets' time: pauses are left out. */
static uint64_t now_ns(const struct limiter *l)
{
	return (l->paused ? l->paused_ns : clock_now_ns()) - l->behind_ns;
}

static void resume_in(struct limiter *l, uint64_t ns)
{
	uint64_t deadline;

	if (l->paused)
		return;
	if (!num_add(clock_now_ns(), ns, &deadline))
		deadline = UINT64_MAX;
	loop_timer_set(l->loop, &l->timer, deadline);
}

static void on_time(struct loop_timer *t)
{
	struct limiter *l = container_of(t, struct limiter, timer);

	l->events++;
	l->resume(l);
}

void limiter_init(struct limiter *l, struct loop *loop,
		  void (*resume)(struct limiter *l))
{
	*l = (struct limiter){
		.loop = loop, .timer.fn = on_time, .resume = resume};
}

void limiter_exit(struct limiter *l)
{
	loop_timer_stop(l->loop, &l->timer);
}

static void set(struct limiter *l, struct bucket *b, uint64_t size,
		uint64_t burst, uint64_t refill_ms)
{
	bucket_change(b, size, burst, refill_ms, now_ns(l));
	if (l->waiting)
		resume_in(l, 0);
}

void limiter_set_bandwidth(struct limiter *l, uint64_t size, uint64_t burst,
			   uint64_t refill_ms)
{
	set(l, &l->bandwidth, size, burst, refill_ms);
}

void limiter_set_ops(struct limiter *l, uint64_t size, uint64_t burst,
		     uint64_t refill_ms)
{
	set(l, &l->ops, size, burst, refill_ms);
}

/* Take what the request costs and return 0, or the ns until it can be. */
static uint64_t take(struct limiter *l, uint64_t bytes)
{
	uint64_t now, wait_bytes, wait_op;

	if (!bucket_limits(&l->bandwidth) && !bucket_limits(&l->ops))
		return 0;
	now = now_ns(l);
	wait_bytes = bucket_wait(&l->bandwidth, bytes, now);
	wait_op = bucket_wait(&l->ops, 1, now);
	if (wait_bytes == 0 && wait_op == 0) {
		(void)bucket_take(&l->bandwidth, bytes, now);
		(void)bucket_take(&l->ops, 1, now);
	}
	return MAX(wait_bytes, wait_op);
}

bool limiter_pass(struct limiter *l, uint64_t bytes)
{
	uint64_t wait_ns = take(l, bytes);

	if (wait_ns > 0) {
		l->throttled += !l->waiting;
		l->waiting = true;
		resume_in(l, wait_ns);
		return false;
	}
	l->waiting = false;
	loop_timer_stop(l->loop, &l->timer);
	return true;
}

void limiter_forget(struct limiter *l)
{
	l->waiting = false;
	loop_timer_stop(l->loop, &l->timer);
	/* One operation is never more than its bucket holds anyway. */
	bucket_forget(&l->bandwidth);
}

static void describe(const struct limiter *l, struct bucket *b,
		     struct archive *a)
{
	struct bucket was = *b;

	/* Brought up to now; who waits at the original, waits on. */
	(void)bucket_wait(&was, 0, now_ns(l));
	archive_u64(a, &was.size);
	archive_u64(a, &was.refill_ns);
	archive_u64(a, &was.tokens);
	archive_u64(a, &was.burst);
	if (!archive_loading(a) || a->failed || was.size != b->size ||
	    was.refill_ns != b->refill_ns)
		return;
	b->tokens = MIN(was.tokens, b->tokens);
	b->burst = MIN(was.burst, b->burst);
}

void limiter_describe(struct limiter *l, struct archive *a)
{
	describe(l, &l->bandwidth, a);
	describe(l, &l->ops, a);
}

void limiter_pause(struct limiter *l)
{
	if (l->paused)
		return;
	l->paused_ns = clock_now_ns();
	l->paused = true;
	loop_timer_stop(l->loop, &l->timer);
}

void limiter_resume(struct limiter *l)
{
	if (!l->paused)
		return;
	l->behind_ns += clock_now_ns() - l->paused_ns;
	l->paused = false;
	if (l->waiting)
		resume_in(l, 0);
}
