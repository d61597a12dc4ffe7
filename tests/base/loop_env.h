/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_env.h: what the tests of the loop share: a loop with its helper thread
 * for one backend, operations that record their results, bounded waiting.
 */
#ifndef TESTS_BASE_LOOP_ENV_H
#define TESTS_BASE_LOOP_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/num.h"
#include "base/worker.h"

#define PATIENCE_NS (60 * NS_PER_S)

struct env {
	struct loop *loop;
	struct worker *worker;
};

/* An operation and what its done() was told. */
struct rec {
	struct io_op op;
	unsigned int calls;
	int last;
	int seen; /* of all results that are not errors */
};

static inline void rec_done(struct io_op *op, int res)
{
	struct rec *r = container_of(op, struct rec, op);

	r->calls++;
	r->last = res;
	if (res > 0)
		r->seen |= res;
}

static inline struct rec *rec_new(size_t n)
{
	struct rec *r = calloc(n, sizeof(*r));

	assert_non_null(r);
	for (size_t i = 0; i < n; i++)
		r[i].op.done = rec_done;
	return r;
}

#define REC                         \
	{                           \
		.op.done = rec_done \
	}

/* Serve the loop until cond holds. */
#define TURN_UNTIL(env, cond)                                                \
	do {                                                                 \
		const uint64_t end_ = clock_now_ns() + PATIENCE_NS;          \
		while (!(cond)) {                                            \
			assert_true(clock_now_ns() < end_);                  \
			assert_int_equal(                                    \
				loop_turn((env)->loop, 100 * NS_PER_MS), 0); \
		}                                                            \
	} while (0)

static inline void turns(struct env *v, unsigned int n)
{
	while (n--)
		assert_int_equal(loop_turn(v->loop, NS_PER_MS), 0);
}

/* Cancel what is still active and wait for its end. */
static inline void rec_end(struct env *v, struct rec *r)
{
	loop_cancel(v->loop, &r->op);
	TURN_UNTIL(v, !io_op_active(&r->op));
}

static inline void kick(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* As many descriptors as the machine allows; returns how many these are. */
static inline size_t raise_limit(void)
{
	struct rlimit lim;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = lim.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
	return lim.rlim_max;
}

static inline int env_setup(void **state)
{
	static struct env v;
	const enum loop_backend *backend = *state;
	struct err e;

	if (worker_new(&v.worker, &e) < 0 ||
	    loop_new(&v.loop, *backend, v.worker, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.text);
		return -1;
	}
	worker_attach(v.worker, v.loop);
	*state = &v;
	return 0;
}

static inline int env_teardown(void **state)
{
	struct env *v = *state;

	worker_free(v->worker);
	loop_free(v->loop);
	return 0;
}

static const enum loop_backend on_uring = LOOP_URING, on_epoll = LOOP_EPOLL;

/* cmocka takes the initial state as a plain pointer and does not write it. */
#define ON(f, which)                                            \
	{                                                       \
#f " (" #which ")", f, env_setup, env_teardown, \
			(void *)(uintptr_t)&on_##which          \
	}

static inline bool uring_allowed(void)
{
	struct loop *l;
	struct err e;

	if (loop_new(&l, LOOP_URING, NULL, &e) < 0) {
		(void)fprintf(stderr, "%s: testing epoll only\n", e.text);
		return false;
	}
	loop_free(l);
	return true;
}

/* Run the table of tests once on each backend; main() of a test program. */
#define RUN_ON_BOTH(tests_uring, tests_epoll)                               \
	((uring_allowed() ? cmocka_run_group_tests(tests_uring, NULL, NULL) \
			  : 0) +                                            \
	 cmocka_run_group_tests(tests_epoll, NULL, NULL))

#endif
