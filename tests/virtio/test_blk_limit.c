/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive with a rate limiter. Time goes on as it does, and the test lets more
 * of it pass: its periods are so long that what passes by itself is nothing.
 */
#include <stdio.h>

#include "tests/virtio/blk_fixture.h"

#define LONG_MS ((uint64_t)1000 * 1000)
#define LONG_NS (LONG_MS * NS_PER_MS)

/* All of base/clock.h. The helper thread looks at the time too. */
static uint64_t skipped_ns;

uint64_t clock_now_ns(void)
{
	struct timespec t = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec +
	       __atomic_load_n(&skipped_ns, __ATOMIC_RELAXED);
}

struct timespec clock_wall(void)
{
	return (struct timespec){0};
}

uint64_t clock_process_cpu_us(void)
{
	return 0;
}

static void skip_time(uint64_t ns)
{
	(void)__atomic_add_fetch(&skipped_ns, ns, __ATOMIC_RELAXED);
}

static void attach_limited(struct fixture *f, uint64_t bytes, uint64_t ops)
{
	attach_usual(f);
	limiter_set_bandwidth(blk_limiter(f->blk), bytes, 0, LONG_MS);
	limiter_set_ops(blk_limiter(f->blk), ops, 0, LONG_MS);
}

/* Offer a read of 512 bytes, of the sector of that number, to its own place. */
static void offer_read(struct fixture *f, uint16_t head)
{
	build(f, head, T_IN, head, BUFFER_GPA + head * 512u, 512, true);
	offer(&f->drv, head);
	kick(&f->drv);
}

static void is_read(struct fixture *f, uint16_t head)
{
	assert_int_equal(wait_used(f), head);
	assert_int_equal(get8(&f->drv, STATUS_GPA(head)), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA + head * 512u, head * 512u, 512));
}

static void waits(struct fixture *f)
{
	until(f, blk_limiter(f->blk)->waiting);
	turns(f, 5);
	assert_true(blk_limiter(f->blk)->waiting);
	assert_false(used_waits(&f->drv));
}

/* The second of two reads, at head 3, waits for the limit of operations. */
static void attach_and_wait(struct fixture *f)
{
	attach_limited(f, 0, 1);
	offer_read(f, 0);
	is_read(f, 0);
	offer_read(f, 3);
	waits(f);
}

/* ---- who waits, and for how long ---- */

static void requests_wait_and_go_on_in_their_order(void **state)
{
	struct fixture *f = *state;

	attach_limited(f, 0, 2);
	for (uint16_t i = 0; i < 15; i = (uint16_t)(i + 3))
		offer_read(f, i);
	is_read(f, 0);
	is_read(f, 3);
	waits(f);
	assert_int_equal(blk_counts(f->blk)->throttled, 1);
	skip_time(LONG_NS / 2);
	is_read(f, 6);
	waits(f);
	skip_time(LONG_NS);
	is_read(f, 9);
	is_read(f, 12);
	assert_int_equal(blk_counts(f->blk)->throttled, 2);
	assert_int_equal(blk_counts(f->blk)->rate_limiter_events, 2);
	assert_int_equal(blk_counts(f->blk)->reads, 5);
}

/* Nothing turns the loop meanwhile, and doorbells change nothing. */
static void waiting_is_quiet(void **state)
{
	struct fixture *f = *state;
	unsigned int quiet = 0;
	uint64_t start;

	attach_and_wait(f);
	for (int i = 0; i < 5; i++) {
		start = clock_now_ns();
		assert_int_equal(loop_turn(f->loop, 5 * NS_PER_MS), 0);
		quiet += clock_now_ns() - start >= 5 * NS_PER_MS;
		kick(&f->drv);
		turns(f, 3);
	}
	/* A helper thread that was late with what came before may end some. */
	assert_true(quiet >= 3);
	assert_int_equal(blk_counts(f->blk)->throttled, 1);
	assert_int_equal(blk_counts(f->blk)->rate_limiter_events, 0);
}

/* A read of 18 MiB, which is refused. */
static uint8_t too_large(struct fixture *f)
{
	put_header(f, HEADER_GPA(0), T_IN, 0);
	desc(&f->drv, 0, HEADER_GPA(0), 16, DESC_NEXT, 1);
	for (uint16_t i = 1; i <= 9; i++)
		desc(&f->drv, i, BUFFER_GPA, 2 * (uint32_t)MIB,
		     DESC_NEXT | DESC_WRITE, (uint16_t)(i + 1));
	desc(&f->drv, 10, STATUS_GPA(0), 1, DESC_WRITE, 0);
	return run_at(f, 0, STATUS_GPA(0));
}

static void reads_and_writes_are_bytes(void **state)
{
	struct fixture *f = *state;

	attach_limited(f, 2048, 0);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 1024), S_OK);
	assert_int_equal(request(f, T_OUT, 0, BUFFER_GPA, 1024), S_OK);
	/* These move none of a drive's data, or nothing at all. */
	assert_int_equal(request(f, T_FLUSH, 0, 0, 0), S_OK);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 20), S_OK);
	assert_int_equal(request(f, T_DISCARD, 0, BUFFER_GPA + MIB, 16), S_OK);
	assert_int_equal(request(f, 99, 0, BUFFER_GPA, 512), S_UNSUPP);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 0), S_IOERR);
	assert_int_equal(too_large(f), S_IOERR);
	offer_read(f, 0);
	waits(f);
	skip_time(LONG_NS / 4);
	is_read(f, 0);
}

static void every_request_is_an_operation(void **state)
{
	static const uint32_t types[] = {T_IN,	    T_OUT,  T_FLUSH, T_GET_ID,
					 T_DISCARD, T_ZERO, 99};
	struct fixture *f = *state;

	attach_limited(f, 0, 1);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		limiter_set_ops(blk_limiter(f->blk), 1, 0, LONG_MS);
		(void)request(f, types[i], 0, BUFFER_GPA, 512);
		offer_read(f, 0);
		waits(f);
		skip_time(LONG_NS);
		is_read(f, 0);
	}
}

static void one_larger_than_the_bucket_is_served(void **state)
{
	struct fixture *f = *state;

	attach_limited(f, 1024, 0);
	build(f, 0, T_IN, 0, BUFFER_GPA, 10240, true);
	offer(&f->drv, 0);
	kick(&f->drv);
	waits(f);
	skip_time(8 * LONG_NS);
	turns(f, 3);
	waits(f);
	skip_time(LONG_NS);
	assert_int_equal(wait_used(f), 0);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 10240));
	offer_read(f, 3);
	waits(f);
}

/* It is read anew when its time comes: the driver may have changed its mind. */
static void a_request_that_waits_is_not_kept(void **state)
{
	struct fixture *f = *state;

	attach_limited(f, 512, 0);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
	offer_read(f, 3);
	waits(f);
	build(f, 6, T_GET_ID, 0, BUFFER_GPA, 20, true);
	put16(&f->drv,
	      AVAIL_GPA + 4 + 2 * ((f->drv.avail_idx - 1u) % QUEUE_SIZE), 6);
	kick(&f->drv);
	assert_int_equal(wait_used(f), 6);
	assert_int_equal(get8(&f->drv, STATUS_GPA(3)), S_NONE);
	assert_false(blk_limiter(f->blk)->timer.armed);
}

/* ---- what happens to one that waits ---- */

static void a_change_applies_to_a_request_that_waits(void **state)
{
	struct fixture *f = *state;

	attach_limited(f, 512, 0);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
	offer_read(f, 3);
	waits(f);
	limiter_set_ops(blk_limiter(f->blk), 10, 0, LONG_MS);
	waits(f);
	limiter_set_bandwidth(blk_limiter(f->blk), 512, 0, LONG_MS);
	is_read(f, 3);
	offer_read(f, 6);
	waits(f);
	limiter_set_bandwidth(blk_limiter(f->blk), 0, 0, 0);
	is_read(f, 6);
}

static void a_reset_does_not_wait_for_it(void **state)
{
	struct fixture *f = *state;

	attach_and_wait(f);
	reset(f);
	assert_false(blk_limiter(f->blk)->waiting);
	assert_false(blk_limiter(f->blk)->timer.armed);
	skip_time(LONG_NS);
	turns(f, 3);
	assert_false(used_waits(&f->drv));
	assert_int_equal(get8(&f->drv, STATUS_GPA(3)), S_NONE);
	/* The limits outlive it. */
	bring_up(&f->drv, F_ALL);
	offer_read(f, 0);
	is_read(f, 0);
	offer_read(f, 3);
	waits(f);
}

static void paused(struct virtio_dev *d)
{
	*(uint32_t *)ram(&(struct driver){.mem = &d->vm->mem}, 0xf000, 4) += 1;
}

static void a_pause_does_not_wait_for_it_and_takes_no_time(void **state)
{
	struct fixture *f = *state;

	attach_and_wait(f);
	skip_time(LONG_NS / 4);
	virtio_pause(dev(f), paused);
	until(f, get32(&f->drv, 0xf000) == 1);
	skip_time(10 * LONG_NS);
	turns(f, 3);
	assert_false(used_waits(&f->drv));
	virtio_resume(dev(f));
	waits(f);
	skip_time(LONG_NS / 2);
	turns(f, 3);
	waits(f);
	skip_time(LONG_NS / 4);
	is_read(f, 3);
}

static void idle_buckets_do_not_fill_during_a_pause(void **state)
{
	struct fixture *f = *state;

	attach_limited(f, 0, 1);
	offer_read(f, 0);
	is_read(f, 0);
	virtio_pause(dev(f), paused);
	until(f, get32(&f->drv, 0xf000) == 1);
	skip_time(LONG_NS);
	virtio_resume(dev(f));
	offer_read(f, 3);
	waits(f);
	/* Nor do those of a driver that is not there stop for one. */
	reset(f);
	virtio_pause(dev(f), paused);
	until(f, get32(&f->drv, 0xf000) == 2);
	virtio_resume(dev(f));
	skip_time(LONG_NS);
	bring_up(&f->drv, F_ALL);
	offer_read(f, 0);
	is_read(f, 0);
}

static void swapped(struct blk_swap *w, int ret)
{
	container_of(w, struct fixture, swap)->swap_ret = ret;
}

static void a_new_file_does_not_wait_for_it(void **state)
{
	struct blk_file file = {.fd = sparse_file(64 * KIB), .bytes = 64 * KIB};
	struct fixture *f = *state;

	attach_and_wait(f);
	memset(ram(&f->drv, BUFFER_GPA + 3 * 512, 512), 0xa5, 512);
	f->swap.done = swapped;
	blk_swap(f->blk, &file, &f->swap);
	until(f, f->swap_ret != 1);
	assert_int_equal(f->swap_ret, 0);
	waits(f);
	skip_time(LONG_NS);
	assert_int_equal(wait_used(f), 3);
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(get8(&f->drv, BUFFER_GPA + 3 * 512 + i), 0);
}

static void the_end_does_not_wait_for_it(void **state)
{
	struct fixture *f = *state;

	attach_and_wait(f);
	virtio_stop(dev(f), blk_stopped);
	until(f, dev(f)->stop_queued);
	skip_time(LONG_NS);
	turns(f, 3);
	assert_false(blk_limiter(f->blk)->timer.armed);
	blk_free(f->blk);
	f->blk = NULL;
	assert_int_equal(get8(&f->drv, STATUS_GPA(3)), S_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(requests_wait_and_go_on_in_their_order),
		BOTH(waiting_is_quiet),
		BOTH(reads_and_writes_are_bytes),
		BOTH(every_request_is_an_operation),
		BOTH(one_larger_than_the_bucket_is_served),
		BOTH(a_request_that_waits_is_not_kept),
		BOTH(a_change_applies_to_a_request_that_waits),
		BOTH(a_reset_does_not_wait_for_it),
		BOTH(a_pause_does_not_wait_for_it_and_takes_no_time),
		BOTH(idle_buckets_do_not_fill_during_a_pause),
		BOTH(a_new_file_does_not_wait_for_it),
		BOTH(the_end_does_not_wait_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
