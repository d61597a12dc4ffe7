/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bucket.h"
#include "base/clock.h"
#include "base/num.h"
#include "tests/base/bucket_model.h"

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

/* Either everything is of an extreme size, or all of them get along. */
static void agrees_with_a_model(void **state)
{
	uint64_t x = 88172645463325252ULL;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		bool small = round % 2;
		uint64_t size = (next_extreme(&x) >> (small ? 48 : 0)) | 1;
		uint64_t ms = (next_extreme(&x) >> (small ? 54 : 0)) | 1;
		uint64_t burst = next_extreme(&x) >> (small ? 48 : 0);
		uint64_t now = next_extreme(&x) >> 1;
		struct model m;
		struct bucket b;

		bucket_init(&b, size, burst, ms, now);
		model_init(&m, size, burst, ms);
		for (int i = 0; i < 40; i++) {
			uint64_t n = next_extreme(&x) >> (small ? 47 : 0);
			uint64_t ns = next_extreme(&x) >> (small ? 30 : 0);

			switch (next_random(&x) % 8) {
			case 0:
				bucket_forget(&b);
				model_want(&m, 0);
				break;
			case 1:
			case 2:
				/* A jump of any length, once. */
				ns = MIN(ns, UINT64_MAX - now);
				now += ns;
				model_pass_time(&m, ns);
				break;
			case 3:
			case 4:
				ns = bucket_wait(&b, n, now);
				assert_true(ns == model_wait(&m, n));
				if (ns == 0 || ns >= UINT64_MAX - now)
					break;
				/* Not one nanosecond earlier. */
				now += ns - 1;
				model_pass_time(&m, ns - 1);
				assert_false(bucket_take(&b, n, now));
				now++;
				model_pass_time(&m, 1);
				assert_true(bucket_take(&b, n, now));
				assert_true(model_take(&m, n));
				break;
			default:
				assert_true(bucket_take(&b, n, now) ==
					    model_take(&m, n));
			}
		}
	}
}

/* ---- what passes in an interval ---- */

struct passed {
	uint64_t n, at;
};

/*
 * From any request that passed to any later one: at most what the bucket held
 * when the first passed, which is its size, or that request if it is larger,
 * and what was gained since.
 */
static void check_not_more(const struct passed *p, int n, uint64_t size,
			   uint64_t refill_ns)
{
	for (int i = 0; i < n; i++) {
		wide held = (wide)MAX(size, p[i].n) * refill_ns, sum = 0;

		for (int j = i; j < n; j++) {
			sum += p[j].n;
			assert_true(sum * refill_ns <=
				    held + (wide)size * (p[j].at - p[i].at));
		}
	}
}

/*
 * From the start to one that had to wait: with all before it, it would have
 * been too much one nanosecond earlier. So it is if there is always one that
 * waits and the bucket never gets full, that is, none takes nearly all of it.
 */
static void check_not_less(const struct passed *p, int n, uint64_t size,
			   uint64_t refill_ns)
{
	wide sum = p[0].n;

	for (int j = 1; j < n; j++) {
		sum += p[j].n;
		if (p[j].at > p[j - 1].at)
			assert_true(sum * refill_ns >
				    (wide)size * refill_ns +
					    (wide)size * (p[j].at - 1));
	}
}

/* Requests of up to `most` tokens, each as early as it may. */
static void pass_all(struct bucket *b, struct passed *p, int n_passed,
		     uint64_t most, uint64_t *x)
{
	uint64_t now = 0;

	for (int i = 0; i < n_passed; i++) {
		uint64_t n = next_extreme(x) % most + 1;
		uint64_t ns = bucket_wait(b, n, now);

		/* Somebody who asks too often changes nothing. */
		if (ns > 1 && next_random(x) % 2) {
			now += next_random(x) % (ns - 1) + 1;
			assert_false(bucket_take(b, n, now));
			ns = bucket_wait(b, n, now);
		}
		now += ns;
		assert_true(bucket_take(b, n, now));
		p[i] = (struct passed){n, now};
	}
}

static void every_interval_passes_its_share_exactly(void **state)
{
	uint64_t x = 1181783497276652981ULL;
	struct passed p[60];

	(void)state;
	for (int round = 0; round < 4000; round++) {
		uint64_t size = next_extreme(&x) % ((uint64_t)1 << 40) + 4;
		uint64_t ms = next_extreme(&x) % ((uint64_t)1 << 20) + 1;
		uint64_t refill_ns = ms * NS_PER_MS;
		uint64_t almost = size - size / refill_ns - 2;
		struct bucket b;

		bucket_init(&b, size, 0, ms, 0);
		pass_all(&b, p, ARRAY_LEN(p), round % 2 ? almost : 4 * size,
			 &x);
		check_not_more(p, ARRAY_LEN(p), size, refill_ns);
		if (round % 2)
			check_not_less(p, ARRAY_LEN(p), size, refill_ns);
	}
}

static void idle_time_is_not_saved_beyond_the_size(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 100, 0, 1000, 0);
	assert_int_equal(bucket_wait(&b, 100, 9 * NS_PER_S), 0);
	assert_true(bucket_take(&b, 100, 9 * NS_PER_S));
	assert_int_equal(bucket_wait(&b, 1, 9 * NS_PER_S), 10 * NS_PER_MS);
	bucket_forget(&b);
	assert_true(bucket_take(&b, 100, UINT64_MAX));
	assert_false(bucket_take(&b, 1, UINT64_MAX));
}

/* ---- more than the bucket holds ---- */

static void more_than_the_size_comes_in_its_time(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 100, 50, 1000, 0);
	assert_int_equal(bucket_wait(&b, 1000, 0), 8500 * NS_PER_MS);
	assert_false(bucket_take(&b, 1000, 8500 * NS_PER_MS - 1));
	assert_true(bucket_take(&b, 1000, 8500 * NS_PER_MS));
	assert_int_equal(bucket_wait(&b, 1, 8500 * NS_PER_MS), 10 * NS_PER_MS);
}

static void what_was_too_much_is_lost(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 100, 0, 1000, 0);
	(void)bucket_wait(&b, 1000, 0);
	assert_int_equal(bucket_wait(&b, 10, 5 * NS_PER_S), 0);
	assert_true(bucket_take(&b, 10, 5 * NS_PER_S));
	assert_false(bucket_take(&b, 91, 5 * NS_PER_S));
	assert_true(bucket_take(&b, 90, 5 * NS_PER_S));
	(void)bucket_wait(&b, 1000, 5 * NS_PER_S);
	bucket_forget(&b);
	assert_false(bucket_take(&b, 101, 50 * NS_PER_S));
	assert_true(bucket_take(&b, 100, 50 * NS_PER_S));
}

static void a_change_fills_and_keeps_what_was_waited_for(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 100, 7, 1000, 0);
	assert_true(bucket_take(&b, 107, 0));
	bucket_change(&b, 50, 5, 1000, 0);
	assert_true(bucket_take(&b, 55, 0));
	assert_false(bucket_take(&b, 1, 0));
	/* 500 have come for 1000 of them. */
	(void)bucket_wait(&b, 1000, 0);
	bucket_change(&b, 100, 0, 1000, 10 * NS_PER_S);
	assert_int_equal(bucket_wait(&b, 1000, 10 * NS_PER_S), 5 * NS_PER_S);
	/* That is not more than a larger bucket holds. */
	bucket_change(&b, 800, 0, 1000, 10 * NS_PER_S);
	assert_int_equal(bucket_wait(&b, 1000, 10 * NS_PER_S), 250 * NS_PER_MS);
	/* Nor is anything kept that nobody waited for. */
	bucket_forget(&b);
	bucket_change(&b, 10, 0, 1000, 10 * NS_PER_S);
	assert_false(bucket_take(&b, 11, 10 * NS_PER_S));
	/* By way of no limit it is forgotten. */
	(void)bucket_wait(&b, 1000, 10 * NS_PER_S);
	bucket_change(&b, 0, 0, 0, 50 * NS_PER_S);
	assert_int_equal(bucket_wait(&b, UINT64_MAX, 50 * NS_PER_S), 0);
	bucket_change(&b, 10, 0, 1000, 50 * NS_PER_S);
	assert_false(bucket_take(&b, 11, 50 * NS_PER_S));
	assert_true(bucket_take(&b, 10, 50 * NS_PER_S));
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
		cmocka_unit_test(agrees_with_a_model),
		cmocka_unit_test(every_interval_passes_its_share_exactly),
		cmocka_unit_test(idle_time_is_not_saved_beyond_the_size),
		cmocka_unit_test(more_than_the_size_comes_in_its_time),
		cmocka_unit_test(what_was_too_much_is_lost),
		cmocka_unit_test(a_change_fills_and_keeps_what_was_waited_for),
		cmocka_unit_test(extremes_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
