/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bucket.h"
#include "base/clock.h"

static void a_full_bucket_gives_its_size_at_once(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 100, 0, 1000, 5);
	assert_false(bucket_take(&b, 101, 5));
	assert_true(bucket_take(&b, 100, 5));
	assert_false(bucket_take(&b, 1, 5));
}

static void a_burst_is_spent_first_and_once(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 10, 5, 1000, 0);
	assert_true(bucket_take(&b, 3, 0));
	assert_true(bucket_take(&b, 12, 0));
	assert_false(bucket_take(&b, 1, 0));
	assert_true(bucket_take(&b, 10, NS_PER_S));
	assert_false(bucket_take(&b, 1, NS_PER_S));
}

static void zero_size_or_period_is_no_limit(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 0, 0, 1000, 0);
	assert_true(bucket_take(&b, UINT64_MAX, 0));
	bucket_init(&b, 10, 0, 0, 0);
	assert_true(bucket_take(&b, UINT64_MAX, 0));
}

static void asking_often_loses_and_wins_nothing(void **state)
{
	uint64_t now, got = 0;
	struct bucket b;

	(void)state;
	/* 7 tokens in 3 ms, asked every 11 us for 3 s: 7,000 of them. */
	bucket_init(&b, 7, 0, 3, 0);
	assert_true(bucket_take(&b, 7, 0));
	for (now = 0; now <= 3 * NS_PER_S; now += 11000)
		while (bucket_take(&b, 1, now))
			got++;
	assert_in_range(got, 6999, 7000);
}

/* A small generator: the sequence must be the same on every run. */
static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void no_interval_passes_more_than_size_and_refill(void **state)
{
	uint64_t x = 88172645463325252ULL;

	(void)state;
	for (int round = 0; round < 2000; round++) {
		uint64_t size = next_random(&x) % 1000 + 1;
		uint64_t ms = next_random(&x) % 100 + 1;
		uint64_t now = 0, got = 0;
		struct bucket b;

		bucket_init(&b, size, 0, ms, 0);
		for (int i = 0; i < 200; i++) {
			uint64_t n = next_random(&x) % (size + 2);

			now += next_random(&x) % (ms * NS_PER_MS / 10 + 1);
			got += bucket_take(&b, n, now) ? n : 0;
			assert_true(got <=
				    size + now * size / (ms * NS_PER_MS));
		}
	}
}

static void extremes_do_not_wrap(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0);
	assert_true(bucket_take(&b, UINT64_MAX, 0));
	assert_true(bucket_take(&b, UINT64_MAX, 1));
	assert_false(bucket_take(&b, UINT64_MAX, UINT64_MAX - 1));
	assert_true(b.tokens <= b.size);
	assert_true(bucket_take(&b, 1, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_bucket_gives_its_size_at_once),
		cmocka_unit_test(a_burst_is_spent_first_and_once),
		cmocka_unit_test(zero_size_or_period_is_no_limit),
		cmocka_unit_test(asking_often_loses_and_wins_nothing),
		cmocka_unit_test(no_interval_passes_more_than_size_and_refill),
		cmocka_unit_test(extremes_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
