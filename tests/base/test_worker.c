/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/base/loop_env.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define JOBS 5000

struct task {
	struct job job;
	struct tally *tally;
	unsigned int n;
};

/* worked is the helper thread's, finished the loop thread's. */
struct tally {
	unsigned int worked;
	unsigned int finished;
	bool in_order;
	pthread_t worker;
	struct worker *resubmit;
};

static void work(struct job *j)
{
	struct task *t = container_of(j, struct task, job);

	if (t->tally->worked++ != t->n)
		t->tally->in_order = false;
	t->tally->worker = pthread_self();
}

static void done(struct job *j)
{
	struct task *t = container_of(j, struct task, job);
	struct tally *all = t->tally;

	if (all->finished++ != t->n)
		all->in_order = false;
	if (all->resubmit && all->finished < JOBS) {
		t->n++;
		worker_submit(all->resubmit, j);
	}
}

static void jobs_run_and_finish_in_order(void **state)
{
	struct env *v = *state;
	struct task *t = calloc(JOBS, sizeof(*t));
	struct tally all = {.in_order = true};

	assert_non_null(t);
	for (unsigned int i = 0; i < JOBS; i++) {
		t[i] = (struct task){{.work = work, .done = done}, &all, i};
		worker_submit(v->worker, &t[i].job);
	}
	assert_int_equal(all.finished, 0);
	TURN_UNTIL(v, all.finished == JOBS);
	assert_true(all.in_order);
	assert_false(pthread_equal(all.worker, pthread_self()));
	free(t);
}

static void a_job_may_be_submitted_again_when_done(void **state)
{
	struct env *v = *state;
	struct tally all = {.in_order = true, .resubmit = v->worker};
	struct task t = {{.work = work, .done = done}, &all, 0};

	worker_submit(v->worker, &t.job);
	TURN_UNTIL(v, all.finished == JOBS);
	assert_int_equal(all.worked, JOBS);
	assert_true(all.in_order);
}

struct look {
	struct job job;
	char name[16];
	sigset_t blocked;
	bool finished;
};

static void look(struct job *j)
{
	struct look *l = container_of(j, struct look, job);

	(void)prctl(PR_GET_NAME, l->name);
	(void)pthread_sigmask(SIG_BLOCK, NULL, &l->blocked);
}

static void looked(struct job *j)
{
	container_of(j, struct look, job)->finished = true;
}

static void the_thread_is_named_and_takes_no_signals(void **state)
{
	struct env *v = *state;
	struct look l = {.job = {.work = look, .done = looked}};
	sigset_t mine;

	worker_submit(v->worker, &l.job);
	TURN_UNTIL(v, l.finished);
	assert_string_equal(l.name, "fc_api");
	assert_true(sigismember(&l.blocked, SIGTERM));
	assert_true(sigismember(&l.blocked, SIGHUP));
	assert_true(sigismember(&l.blocked, SIGPIPE));
	assert_true(sigismember(&l.blocked, SIGRTMIN));
	assert_true(sigismember(&l.blocked, SIGRTMAX));
	/* A fault must reach its handler. */
	assert_false(sigismember(&l.blocked, SIGSEGV));
	assert_false(sigismember(&l.blocked, SIGBUS));
	(void)pthread_sigmask(SIG_BLOCK, NULL, &mine);
	assert_false(sigismember(&mine, SIGTERM));
}

static void free_waits_for_the_jobs(void **state)
{
	struct env *v = *state;
	struct task *t = calloc(JOBS, sizeof(*t));
	struct tally all = {.in_order = true};

	assert_non_null(t);
	for (unsigned int i = 0; i < JOBS; i++) {
		t[i] = (struct task){{.work = work, .done = done}, &all, i};
		worker_submit(v->worker, &t[i].job);
	}
	worker_free(v->worker);
	v->worker = NULL;
	assert_int_equal(all.worked, JOBS);
	assert_int_equal(all.finished, 0);
	TURN_UNTIL(v, all.finished == JOBS);
	assert_true(all.in_order);
	free(t);
}

static void free_accepts_null_and_unused(void **state)
{
	struct worker *w;
	struct err e;

	(void)state;
	worker_free(NULL);
	assert_int_equal(worker_new(&w, &e), 0);
	worker_free(w);
}

#define TESTS(on)                                                 \
	ON(jobs_run_and_finish_in_order, on),                     \
		ON(a_job_may_be_submitted_again_when_done, on),   \
		ON(the_thread_is_named_and_takes_no_signals, on), \
		ON(free_waits_for_the_jobs, on)

int main(void)
{
	const struct CMUnitTest uring[] = {TESTS(uring)};
	const struct CMUnitTest epoll[] = {
		TESTS(epoll), cmocka_unit_test(free_accepts_null_and_unused)};

	return RUN_ON_BOTH(uring, epoll);
}
