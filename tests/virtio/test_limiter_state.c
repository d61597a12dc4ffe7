/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left in a rate limiter goes through a snapshot; with a clock that the
 * test sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/archive.h"
#include "base/clock.h"
#include "base/num.h"
#include "virtio/limiter.h"

#define STATE_BYTES 64

/* All of base/clock.h: what is linked here has no other time. */
static uint64_t time_ns;

uint64_t clock_now_ns(void)
{
	return time_ns;
}

struct timespec clock_wall(void)
{
	return (struct timespec){0};
}

uint64_t clock_process_cpu_us(void)
{
	return 0;
}

static void make(struct limiter *l)
{
	limiter_init(l, NULL, NULL);
	limiter_set_bandwidth(l, 1000, 500, 1000);
	limiter_set_ops(l, 10, 0, 1000);
}

static void copy(struct limiter *to, struct limiter *from)
{
	uint8_t buf[STATE_BYTES];
	struct archive a = archive_saver(buf, sizeof(buf));

	limiter_describe(from, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(a.at, STATE_BYTES);
	a = archive_loader(buf, sizeof(buf));
	limiter_describe(to, &a);
	assert_true(archive_ok(&a));
}

static void copy_has_what_is_left(void **state)
{
	struct limiter a, b;

	(void)state;
	make(&a);
	make(&b);
	assert_true(bucket_take(&a.bandwidth, 900, time_ns));
	assert_true(bucket_take(&a.ops, 10, time_ns));
	time_ns += 100 * NS_PER_MS;
	copy(&b, &a);
	/* 500 of the burst and 400 of 1000 are spent, 100 are new. */
	assert_int_equal(b.bandwidth.burst, 0);
	assert_int_equal(b.bandwidth.tokens, 700);
	assert_int_equal(b.ops.tokens, 1);
	/* The original has not noticed. */
	assert_int_equal(a.bandwidth.tokens, 600);
	/* A long time in a file is none. */
	make(&b);
	limiter_pause(&a);
	time_ns += 100 * NS_PER_S;
	copy(&b, &a);
	assert_int_equal(b.bandwidth.tokens, 700);
}

static void buckets_of_another_size_are_not_those_that_were(void **state)
{
	struct limiter a, b;

	(void)state;
	make(&a);
	assert_true(bucket_take(&a.bandwidth, 1500, time_ns));
	assert_true(bucket_take(&a.ops, 10, time_ns));
	make(&b);
	b.bandwidth.size = b.bandwidth.tokens = 1001;
	b.ops.refill_ns++;
	copy(&b, &a);
	assert_int_equal(b.bandwidth.tokens, 1001);
	assert_int_equal(b.bandwidth.burst, 500);
	assert_int_equal(b.ops.tokens, 10);
	/* None at all. */
	limiter_init(&b, NULL, NULL);
	copy(&b, &a);
	assert_false(bucket_limits(&b.bandwidth));
	assert_int_equal(b.bandwidth.tokens, 0);
}

/* A state is untrusted. */
static void more_than_is_configured_is_not_given(void **state)
{
	struct limiter a, b;

	(void)state;
	make(&a);
	make(&b);
	a.bandwidth.burst = UINT64_MAX;
	copy(&b, &a);
	assert_int_equal(b.bandwidth.burst, 500);
	for (size_t len = 0; len < STATE_BYTES; len++) {
		uint8_t buf[STATE_BYTES];
		struct archive s = archive_saver(buf, sizeof(buf));

		limiter_describe(&a, &s);
		for (int i = 16; i < 24; i++)
			buf[i] = 0xff; /* tokens */
		make(&b);
		s = archive_loader(buf, len);
		limiter_describe(&b, &s);
		assert_false(archive_ok(&s));
		assert_true(b.bandwidth.tokens <= 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_has_what_is_left),
		cmocka_unit_test(
			buckets_of_another_size_are_not_those_that_were),
		cmocka_unit_test(more_than_is_configured_is_not_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
