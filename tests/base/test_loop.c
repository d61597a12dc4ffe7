/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, deferred work, timers and the life of a loop, on both backends. */
#include "tests/base/loop_env.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POSTERS	 4
#define MESSAGES 5000
#define TIMERS	 500

/* A message that knows who sent it as which. */
struct note {
	struct loop_msg msg;
	struct poster *from;
	unsigned int n;
};

struct poster {
	struct loop *loop;
	struct note notes[MESSAGES];
	unsigned int received;
	bool in_order;
};

static void on_note(struct loop_msg *m)
{
	struct note *n = container_of(m, struct note, msg);

	if (n->n != n->from->received)
		n->from->in_order = false;
	n->from->received++;
}

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned int i = 0; i < MESSAGES; i++) {
		p->notes[i] = (struct note){{on_note, NULL}, p, i};
		loop_post(p->loop, &p->notes[i].msg);
	}
	return NULL;
}

static void posts_from_threads_arrive_in_order(void **state)
{
	struct env *v = *state;
	struct poster *p = calloc(POSTERS, sizeof(*p));
	pthread_t threads[POSTERS];

	assert_non_null(p);
	for (size_t i = 0; i < POSTERS; i++) {
		p[i].loop = v->loop;
		p[i].in_order = true;
		assert_int_equal(
			pthread_create(&threads[i], NULL, post_all, &p[i]), 0);
	}
	for (size_t i = 0; i < POSTERS; i++)
		TURN_UNTIL(v, p[i].received == MESSAGES);
	for (size_t i = 0; i < POSTERS; i++) {
		(void)pthread_join(threads[i], NULL);
		assert_true(p[i].in_order);
		assert_int_equal(p[i].received, MESSAGES);
	}
	free(p);
}

struct counter {
	struct loop_msg msg;
	struct loop *loop;
	unsigned int n;
};

static void count(struct loop_msg *m)
{
	container_of(m, struct counter, msg)->n++;
}

static void posts_before_the_first_turn_arrive(void **state)
{
	struct env *v = *state;
	struct counter c = {.msg.fn = count};

	loop_post(v->loop, &c.msg);
	assert_int_equal(c.n, 0);
	TURN_UNTIL(v, c.n == 1);
	turns(v, 2);
	assert_int_equal(c.n, 1);
}

static void stop_from_msg(struct loop_msg *m)
{
	struct counter *c = container_of(m, struct counter, msg);

	if (++c->n == 100)
		loop_stop(c->loop);
	else
		loop_post(c->loop, m);
}

static void run_serves_until_stopped(void **state)
{
	struct env *v = *state;
	struct counter c = {.msg.fn = stop_from_msg, .loop = v->loop};

	for (unsigned int round = 0; round < 2; round++) {
		c.n = 0;
		loop_post(v->loop, &c.msg);
		assert_int_equal(loop_run(v->loop), 0);
		assert_int_equal(c.n, 100);
	}
}

static void on_signal(int sig)
{
	(void)sig;
}

/* Interrupts the loop's wait many times, then ends it. */
static void *interrupt(void *arg)
{
	struct counter *c = arg;
	const struct timespec pause = {.tv_nsec = 1000000};

	for (unsigned int i = 0; i < 20; i++) {
		(void)kill(getpid(), SIGUSR1);
		(void)nanosleep(&pause, NULL);
	}
	c->n = 99;
	loop_post(c->loop, &c->msg);
	return NULL;
}

static void signals_do_not_end_run(void **state)
{
	struct env *v = *state;
	struct counter c = {.msg.fn = stop_from_msg, .loop = v->loop};
	struct sigaction act = {.sa_handler = on_signal};
	struct sigaction old;
	sigset_t usr1, before;
	pthread_t thread;

	assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
	(void)sigemptyset(&usr1);
	(void)sigaddset(&usr1, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &usr1, &before);
	assert_int_equal(pthread_create(&thread, NULL, interrupt, &c), 0);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(loop_run(v->loop), 0);
	(void)pthread_join(thread, NULL);
	(void)sigaction(SIGUSR1, &old, NULL);
}

/* An object that frees itself when its operation ends. */
struct object {
	struct io_op op;
	struct loop_msg bye;
	struct loop_msg before_bye;
	bool *gone;
};

static void free_object(struct loop_msg *m)
{
	struct object *o = container_of(m, struct object, bye);

	*o->gone = true;
	free(o);
}

static void check_not_gone(struct loop_msg *m)
{
	assert_false(*container_of(m, struct object, before_bye)->gone);
}

static void bury_object(struct io_op *op, int res)
{
	struct object *o = container_of(op, struct object, op);

	(void)res;
	if (io_op_active(op)) {
		loop_cancel(op->loop, op);
		return;
	}
	o->bye.fn = free_object;
	o->before_bye.fn = check_not_gone;
	loop_defer(op->loop, &o->before_bye);
	loop_defer(op->loop, &o->bye);
}

static void deferred_work_frees_an_object_in_its_callback(void **state)
{
	struct env *v = *state;
	struct object *o = calloc(1, sizeof(*o));
	bool gone = false;
	int fd = eventfd(1, EFD_NONBLOCK);

	assert_non_null(o);
	o->gone = &gone;
	o->op.done = bury_object;
	loop_poll(v->loop, &o->op, fd, 1);
	TURN_UNTIL(v, gone);
	(void)close(fd);
}

static void defer_again(struct loop_msg *m)
{
	struct counter *c = container_of(m, struct counter, msg);

	if (++c->n < 3)
		loop_defer(c->loop, m);
}

static void deferred_work_may_be_deferred_again(void **state)
{
	struct env *v = *state;
	struct counter c = {.msg.fn = defer_again, .loop = v->loop};

	loop_defer(v->loop, &c.msg);
	for (unsigned int i = 1; i <= 3; i++) {
		/* No sleep while there is work. */
		assert_int_equal(loop_turn(v->loop, UINT64_MAX), 0);
		assert_int_equal(c.n, i);
	}
}

static void turn_waits_out_its_timeout(void **state)
{
	struct env *v = *state;
	uint64_t start;

	turns(v, 2);
	start = clock_now_ns();
	assert_int_equal(loop_turn(v->loop, 300 * NS_PER_US), 0);
	assert_true(clock_now_ns() - start >= 300 * NS_PER_US);
	assert_int_equal(loop_turn(v->loop, 0), 0);
}

struct alarm {
	struct loop_timer t;
	struct loop *loop;
	struct alarm *victim;
	uint64_t at_ns;
	unsigned int n;
	bool early;
};

static void ring(struct loop_timer *t)
{
	struct alarm *a = container_of(t, struct alarm, t);

	assert_false(t->armed);
	a->early = clock_now_ns() < a->at_ns;
	a->n++;
	if (a->victim)
		loop_timer_stop(a->loop, &a->victim->t);
}

static struct alarm *fired[TIMERS];
static size_t n_fired;

static void ring_and_log(struct loop_timer *t)
{
	ring(t);
	fired[n_fired++] = container_of(t, struct alarm, t);
}

static void set(struct env *v, struct alarm *a, uint64_t at_ns)
{
	a->loop = v->loop;
	a->at_ns = at_ns;
	loop_timer_set(v->loop, &a->t, at_ns);
}

static void turn_sleeps_until_the_first_timer(void **state)
{
	struct env *v = *state;
	struct alarm a = {.t.fn = ring}, later = {.t.fn = ring};
	unsigned int n = 0;

	turns(v, 2);
	set(v, &later, UINT64_MAX);
	set(v, &a, clock_now_ns() + 20 * NS_PER_MS);
	for (; !a.n && n < 100; n++)
		assert_int_equal(loop_turn(v->loop, UINT64_MAX), 0);
	assert_true(n <= 2);
	assert_false(a.early);
	assert_int_equal(later.n, 0);
	loop_timer_stop(v->loop, &later.t);
}

/* Arms, moves and stops timers at random; what remains fires in order. */
static void timers_fire_in_order_and_never_early(void **state)
{
	struct env *v = *state;
	struct alarm *a = calloc(TIMERS, sizeof(*a));
	const uint64_t now = clock_now_ns();
	unsigned int seed = 1;
	size_t armed = 0;

	assert_non_null(a);
	n_fired = 0;
	for (size_t i = 0; i < (size_t)10 * TIMERS; i++) {
		struct alarm *one = &a[(unsigned int)rand_r(&seed) % TIMERS];
		uint64_t at_ns =
			now + (uint64_t)(rand_r(&seed) % 5000) * 10 * NS_PER_US;

		one->t.fn = ring_and_log;
		if (rand_r(&seed) % 4)
			set(v, one, at_ns);
		else
			loop_timer_stop(v->loop, &one->t);
	}
	for (size_t i = 0; i < TIMERS; i++)
		armed += a[i].t.armed;
	assert_true(armed > TIMERS / 2);
	TURN_UNTIL(v, n_fired == armed);
	for (size_t i = 0; i < n_fired; i++) {
		assert_int_equal(fired[i]->n, 1);
		assert_false(fired[i]->early);
		assert_true(!i || fired[i - 1]->at_ns <= fired[i]->at_ns);
	}
	free(a);
}

static void equal_deadlines_fire_in_order_of_arming(void **state)
{
	struct env *v = *state;
	struct alarm a[TIMERS] = {0};
	const uint64_t at_ns = clock_now_ns() + NS_PER_MS;

	n_fired = 0;
	for (size_t i = 0; i < TIMERS; i++) {
		a[i].t.fn = ring_and_log;
		set(v, &a[i], at_ns);
	}
	TURN_UNTIL(v, n_fired == TIMERS);
	for (size_t i = 0; i < TIMERS; i++)
		assert_ptr_equal(fired[i], &a[i]);
}

static void a_due_timer_can_be_stopped_by_another(void **state)
{
	struct env *v = *state;
	struct alarm first = {.t.fn = ring}, second = {.t.fn = ring};

	first.victim = &second;
	set(v, &second, 2);
	set(v, &first, 1);
	TURN_UNTIL(v, first.n);
	turns(v, 3);
	assert_int_equal(second.n, 0);
	assert_false(second.t.armed);
}

static void ring_for_ever(struct loop_timer *t)
{
	struct alarm *a = container_of(t, struct alarm, t);

	a->n++;
	loop_timer_set(a->loop, t, 0);
}

static void a_timer_in_the_past_starves_nobody(void **state)
{
	struct env *v = *state;
	struct alarm hog = {.t.fn = ring_for_ever}, other = {.t.fn = ring};
	struct counter c = {.msg.fn = count};

	set(v, &hog, 0);
	turns(v, 1);
	assert_int_equal(hog.n, 1);
	set(v, &other, clock_now_ns() + NS_PER_MS);
	loop_post(v->loop, &c.msg);
	TURN_UNTIL(v, other.n && c.n);
	loop_timer_stop(v->loop, &hog.t);
}

static void free_accepts_null_and_unused(void **state)
{
	struct loop *l;
	struct err e;

	(void)state;
	loop_free(NULL);
	assert_int_equal(loop_new(&l, LOOP_EPOLL, NULL, &e), 0);
	assert_int_equal(loop_backend_of(l), LOOP_EPOLL);
	loop_free(l);
}

#define TESTS(on)                                                      \
	ON(posts_from_threads_arrive_in_order, on),                    \
		ON(posts_before_the_first_turn_arrive, on),            \
		ON(run_serves_until_stopped, on),                      \
		ON(signals_do_not_end_run, on),                        \
		ON(deferred_work_frees_an_object_in_its_callback, on), \
		ON(deferred_work_may_be_deferred_again, on),           \
		ON(turn_waits_out_its_timeout, on),                    \
		ON(turn_sleeps_until_the_first_timer, on),             \
		ON(timers_fire_in_order_and_never_early, on),          \
		ON(equal_deadlines_fire_in_order_of_arming, on),       \
		ON(a_due_timer_can_be_stopped_by_another, on),         \
		ON(a_timer_in_the_past_starves_nobody, on)

int main(void)
{
	const struct CMUnitTest uring[] = {TESTS(uring)};
	const struct CMUnitTest epoll[] = {
		TESTS(epoll), cmocka_unit_test(free_accepts_null_and_unused)};

	return RUN_ON_BOTH(uring, epoll);
}
