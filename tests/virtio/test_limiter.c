/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate limiter on a real loop, with a clock that the test sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/loop.h"
#include "tests/base/bucket_model.h"
#include "virtio/limiter.h"

#define START_NS (5 * NS_PER_S)
#define LONG_NS	 ((uint64_t)1 << 40) /* more is not waited for */

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

struct fixture {
	struct limiter limiter;
	struct loop *loop;
	unsigned int resumed;
};

static void on_resume(struct limiter *l)
{
	container_of(l, struct fixture, limiter)->resumed++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	assert_non_null(f);
	time_ns = START_NS;
	assert_int_equal(loop_new(&f->loop, LOOP_EPOLL, NULL, &e), 0);
	limiter_init(&f->limiter, f->loop, on_resume);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	limiter_exit(&f->limiter);
	assert_false(f->limiter.timer.armed);
	loop_free(f->loop);
	free(f);
	return 0;
}

/* Let time pass; how often was resume() called then? */
static unsigned int pass_time(struct fixture *f, uint64_t ns)
{
	unsigned int before = f->resumed;

	time_ns += ns;
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(f->loop, 0), 0);
	return f->resumed - before;
}

/* ---- one request ---- */

static void without_limits_everything_passes(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 1000; i++)
		assert_true(limiter_pass(&f->limiter, UINT64_MAX));
	limiter_set_bandwidth(&f->limiter, 0, 10, 1000);
	limiter_set_ops(&f->limiter, 10, 0, 0);
	for (int i = 0; i < 1000; i++)
		assert_true(limiter_pass(&f->limiter, UINT64_MAX));
	assert_int_equal(f->limiter.throttled, 0);
	assert_int_equal(f->limiter.events, 0);
	assert_int_equal(pass_time(f, NS_PER_S), 0);
}

static void a_request_passes_at_its_nanosecond(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 0, 1000);
	assert_true(limiter_pass(&f->limiter, 600));
	assert_false(limiter_pass(&f->limiter, 500));
	assert_int_equal(pass_time(f, 100 * NS_PER_MS - 1), 0);
	assert_false(limiter_pass(&f->limiter, 500));
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 500));
	assert_int_equal(pass_time(f, NS_PER_S), 0);
	assert_int_equal(f->limiter.throttled, 1);
	assert_int_equal(f->limiter.events, 1);
}

static void one_larger_than_the_bucket_passes_in_its_time(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 500, 1000);
	assert_false(limiter_pass(&f->limiter, 10000));
	assert_int_equal(pass_time(f, 8500 * NS_PER_MS - 1), 0);
	assert_false(limiter_pass(&f->limiter, 10000));
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 10000));
	assert_false(limiter_pass(&f->limiter, 1));
}

/* What one bucket holds for it does not fill the other one twice. */
static void a_request_waits_for_both_buckets(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 0, 1000);
	limiter_set_ops(&f->limiter, 1, 0, 10000);
	assert_true(limiter_pass(&f->limiter, 1000));
	assert_false(limiter_pass(&f->limiter, 800));
	assert_int_equal(pass_time(f, 10 * NS_PER_S - 1), 0);
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 800));
	limiter_set_ops(&f->limiter, 0, 0, 0);
	assert_false(limiter_pass(&f->limiter, 201));
	assert_true(limiter_pass(&f->limiter, 200));
	/* Nothing is taken from one while the other lacks it. */
	limiter_set_ops(&f->limiter, 5, 0, 1000);
	assert_false(limiter_pass(&f->limiter, 1000));
	assert_int_equal(f->limiter.ops.tokens, 5);
}

static void a_timer_that_is_late_loses_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t passed = 0;

	limiter_set_ops(&f->limiter, 10, 0, 10);
	while (limiter_pass(&f->limiter, 1))
		;
	for (int i = 0; i < 1000; i++) {
		assert_true(f->limiter.timer.armed);
		time_ns = f->limiter.timer.deadline_ns;
		assert_int_equal(pass_time(f, 700 * NS_PER_US), 1);
		while (limiter_pass(&f->limiter, 1))
			passed++;
	}
	assert_int_equal(passed, (time_ns - START_NS) / NS_PER_MS);
}

static void a_jump_of_the_clock_is_one_bucket(void **state)
{
	struct fixture *f = *state;

	limiter_set_ops(&f->limiter, 10, 0, 10);
	for (int i = 0; i < 5; i++) {
		int n = 0;

		while (limiter_pass(&f->limiter, 1))
			n++;
		assert_int_equal(n, 10);
		assert_int_equal(pass_time(f, (uint64_t)1 << (30 + 7 * i)), 1);
	}
}

static void a_wait_without_end_is_no_wrap(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1, 0, UINT64_MAX);
	assert_false(limiter_pass(&f->limiter, UINT64_MAX));
	assert_true(f->limiter.timer.deadline_ns == UINT64_MAX);
	assert_int_equal(pass_time(f, LONG_NS), 0);
	assert_false(limiter_pass(&f->limiter, 3));
	/* A whole turn, that waits: the kernel takes such a deadline. */
	assert_int_equal(loop_turn(f->loop, NS_PER_MS), 0);
}

/* ---- changes ---- */

static void a_change_reaches_a_request_that_waits(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 0, 1000);
	assert_false(limiter_pass(&f->limiter, 5000));
	assert_int_equal(pass_time(f, NS_PER_S), 0);
	/* 2000 have come for it. */
	limiter_set_bandwidth(&f->limiter, 100, 0, 1000);
	assert_int_equal(f->resumed, 0); /* never inside the call */
	assert_int_equal(pass_time(f, 0), 1);
	assert_false(limiter_pass(&f->limiter, 5000));
	assert_int_equal(pass_time(f, 30 * NS_PER_S - 1), 0);
	limiter_set_bandwidth(&f->limiter, 100, 1, 1000);
	assert_int_equal(pass_time(f, 0), 1);
	assert_true(limiter_pass(&f->limiter, 5000));
	assert_int_equal(f->limiter.throttled, 1);

	assert_false(limiter_pass(&f->limiter, 5000));
	limiter_set_ops(&f->limiter, 10, 0, 10); /* the other bucket */
	assert_int_equal(pass_time(f, 0), 1);
	assert_false(limiter_pass(&f->limiter, 5000));
	limiter_set_bandwidth(&f->limiter, 0, 0, 0);
	assert_int_equal(pass_time(f, 0), 1);
	assert_true(limiter_pass(&f->limiter, 5000));
	assert_int_equal(f->limiter.throttled, 2);
	/* Nobody waits: nobody is called. */
	limiter_set_bandwidth(&f->limiter, 10, 0, 1000);
	assert_int_equal(pass_time(f, NS_PER_S), 0);
}

static void what_was_free_before_a_change_is_not_after_it(void **state)
{
	struct fixture *f = *state;

	limiter_set_ops(&f->limiter, 1, 0, 1000);
	assert_true(limiter_pass(&f->limiter, 100));
	assert_false(limiter_pass(&f->limiter, 100));
	limiter_set_bandwidth(&f->limiter, 10, 0, 1000);
	assert_int_equal(pass_time(f, 0), 1);
	assert_false(limiter_pass(&f->limiter, 100));
	assert_int_equal(pass_time(f, 9 * NS_PER_S - 1), 0);
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 100));
}

static void a_forgotten_request_costs_nothing(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 0, 1000);
	assert_false(limiter_pass(&f->limiter, 5000));
	assert_int_equal(pass_time(f, 2 * NS_PER_S), 0);
	limiter_forget(&f->limiter);
	assert_int_equal(pass_time(f, 20 * NS_PER_S), 0);
	limiter_set_ops(&f->limiter, 10, 0, 1000);
	assert_int_equal(pass_time(f, NS_PER_S), 0);
	/* Nor has it left more than a bucket to the next one. */
	assert_false(limiter_pass(&f->limiter, 5000));
	assert_int_equal(pass_time(f, 4 * NS_PER_S - 1), 0);
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 5000));
}

/* ---- pauses ---- */

static void a_pause_stands_still(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 0, 1000);
	assert_true(limiter_pass(&f->limiter, 1000));
	assert_int_equal(pass_time(f, 100 * NS_PER_MS), 0);
	limiter_pause(&f->limiter);
	assert_int_equal(pass_time(f, 100 * NS_PER_S), 0);
	limiter_pause(&f->limiter);
	assert_int_equal(pass_time(f, 100 * NS_PER_S), 0);
	limiter_resume(&f->limiter);
	limiter_resume(&f->limiter);
	assert_false(limiter_pass(&f->limiter, 101));
	assert_true(limiter_pass(&f->limiter, 100));
	/* One that waits has as long to wait after it as before. */
	assert_false(limiter_pass(&f->limiter, 500));
	assert_int_equal(pass_time(f, 300 * NS_PER_MS), 0);
	limiter_pause(&f->limiter);
	assert_int_equal(pass_time(f, NS_PER_S), 0);
	limiter_resume(&f->limiter);
	assert_int_equal(pass_time(f, 0), 1);
	assert_false(limiter_pass(&f->limiter, 500));
	assert_int_equal(pass_time(f, 200 * NS_PER_MS - 1), 0);
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 500));
}

static void a_change_during_a_pause_waits_for_its_end(void **state)
{
	struct fixture *f = *state;

	limiter_set_bandwidth(&f->limiter, 1000, 0, 1000);
	assert_false(limiter_pass(&f->limiter, 5000));
	limiter_pause(&f->limiter);
	assert_int_equal(pass_time(f, 60 * NS_PER_S), 0);
	limiter_set_bandwidth(&f->limiter, 2000, 0, 1000);
	assert_int_equal(pass_time(f, 60 * NS_PER_S), 0);
	limiter_resume(&f->limiter);
	assert_int_equal(pass_time(f, 0), 1);
	assert_false(limiter_pass(&f->limiter, 5000));
	assert_int_equal(pass_time(f, 1500 * NS_PER_MS - 1), 0);
	assert_int_equal(pass_time(f, 1), 1);
	assert_true(limiter_pass(&f->limiter, 5000));
	assert_false(limiter_pass(&f->limiter, 1));
}

/* ---- everything at once, beside the model ---- */

struct trial {
	struct fixture *f;
	struct model bytes, ops;
	uint64_t x;
	bool small;
};

static uint64_t some(struct trial *t, unsigned int bits)
{
	return next_extreme(&t->x) >> (t->small ? 64 - bits : 0);
}

static void change(struct trial *t)
{
	bool lift = next_random(&t->x) % 8 == 0;
	uint64_t size = lift ? 0 : some(t, 16) | 1;
	uint64_t burst = next_random(&t->x) % 2 ? some(t, 16) : 0;
	uint64_t ms = some(t, 10) | 1;

	if (next_random(&t->x) % 2) {
		limiter_set_bandwidth(&t->f->limiter, size, burst, ms);
		model_change(&t->bytes, size, burst, ms);
	} else {
		limiter_set_ops(&t->f->limiter, size, burst, ms);
		model_change(&t->ops, size, burst, ms);
	}
}

static void lift(struct trial *t)
{
	limiter_set_bandwidth(&t->f->limiter, 0, 0, 0);
	limiter_set_ops(&t->f->limiter, 0, 0, 0);
	model_change(&t->bytes, 0, 0, 0);
	model_change(&t->ops, 0, 0, 0);
}

static unsigned int both_pass_time(struct trial *t, uint64_t ns)
{
	model_pass_time(&t->bytes, ns);
	model_pass_time(&t->ops, ns);
	return pass_time(t->f, ns);
}

/* What happens to a request that has to wait for another `ns`. */
static void wait(struct trial *t, uint64_t ns)
{
	switch (next_random(&t->x) % 8) {
	case 0:
		ns = next_random(&t->x) % MIN(ns, LONG_NS);
		assert_int_equal(both_pass_time(t, ns), 0);
		return;
	case 1:
		change(t);
		break;
	case 2:
		limiter_pause(&t->f->limiter);
		assert_int_equal(pass_time(t->f, some(t, 30) % LONG_NS), 0);
		if (next_random(&t->x) % 2)
			change(t);
		assert_int_equal(pass_time(t->f, some(t, 30) % LONG_NS), 0);
		limiter_resume(&t->f->limiter);
		break;
	default:
		if (ns > LONG_NS) {
			lift(t);
			break;
		}
		assert_int_equal(both_pass_time(t, ns - 1), 0);
		assert_int_equal(both_pass_time(t, 1), 1);
		return;
	}
	assert_int_equal(pass_time(t->f, 0), 1);
}

static void one_request(struct trial *t)
{
	struct limiter *l = &t->f->limiter;
	uint64_t bytes = some(t, 18), deadline_ns;

	for (;;) {
		uint64_t wait_bytes = model_wait(&t->bytes, bytes);
		uint64_t wait_op = model_wait(&t->ops, 1);
		uint64_t ns = MAX(wait_bytes, wait_op);

		assert_true(limiter_pass(l, bytes) == (ns == 0));
		if (ns == 0)
			break;
		assert_true(l->timer.armed);
		if (__builtin_add_overflow(time_ns, ns, &deadline_ns))
			deadline_ns = UINT64_MAX;
		assert_true(l->timer.deadline_ns == deadline_ns);
		wait(t, ns);
	}
	assert_true(model_take(&t->bytes, bytes) && model_take(&t->ops, 1));
	assert_false(l->timer.armed);
}

static void agrees_with_the_model(void **state)
{
	struct trial t = {.f = *state, .x = 88172645463325252ULL};

	for (int round = 0; round < 3000; round++) {
		t.small = round % 2;
		lift(&t);
		for (int i = 0; i < 4; i++)
			change(&t);
		for (int i = 0; i < 25; i++) {
			one_request(&t);
			if (next_random(&t.x) % 4 == 0)
				(void)both_pass_time(&t,
						     some(&t, 30) % LONG_NS);
		}
	}
	assert_true(t.f->limiter.throttled > 10000);
}

/* ---- what passes in an interval ---- */

struct passed {
	uint64_t bytes, at;
};

static void any_interval_keeps_both_limits(void **state)
{
	uint64_t x = 1181783497276652981ULL;
	struct fixture *f = *state;
	struct passed p[50];

	for (int round = 0; round < 500; round++) {
		uint64_t size = next_random(&x) % 100000 + 1;
		uint64_t ops = next_random(&x) % 20 + 1;
		uint64_t bytes_ns = next_random(&x) % 1000 + 1;
		uint64_t ops_ns = next_random(&x) % 50 + 1;

		limiter_set_bandwidth(&f->limiter, size, 0, bytes_ns);
		limiter_set_ops(&f->limiter, ops, 0, ops_ns);
		bytes_ns *= NS_PER_MS;
		ops_ns *= NS_PER_MS;
		for (size_t i = 0; i < ARRAY_LEN(p); i++) {
			p[i].bytes = next_random(&x) % (size + 1);
			while (!limiter_pass(&f->limiter, p[i].bytes)) {
				time_ns = f->limiter.timer.deadline_ns;
				(void)pass_time(f, next_random(&x) % 100000);
			}
			p[i].at = time_ns;
		}
		for (size_t i = 0; i < ARRAY_LEN(p); i++) {
			wide sum = 0;

			for (size_t j = i; j < ARRAY_LEN(p); j++) {
				uint64_t ns = p[j].at - p[i].at;

				sum += p[j].bytes;
				assert_true(sum * bytes_ns <=
					    (wide)size * (bytes_ns + ns));
				assert_true((j - i + 1) * ops_ns <=
					    ops * (ops_ns + ns));
			}
		}
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_limits_everything_passes),
		TEST(a_request_passes_at_its_nanosecond),
		TEST(one_larger_than_the_bucket_passes_in_its_time),
		TEST(a_request_waits_for_both_buckets),
		TEST(a_timer_that_is_late_loses_nothing),
		TEST(a_jump_of_the_clock_is_one_bucket),
		TEST(a_wait_without_end_is_no_wrap),
		TEST(a_change_reaches_a_request_that_waits),
		TEST(what_was_free_before_a_change_is_not_after_it),
		TEST(a_forgotten_request_costs_nothing),
		TEST(a_pause_stands_still),
		TEST(a_change_during_a_pause_waits_for_its_end),
		TEST(agrees_with_the_model),
		TEST(any_interval_keeps_both_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
