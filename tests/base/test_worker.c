/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/base/loop_env.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/filter.h"

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

struct long_job {
	struct job job;
	struct worker *worker;
	const struct tally *others;
	uint32_t go;
	bool had_turn;
	bool finished;
};

/* Ends when the others have worked, which the loop does not see meanwhile. */
static void work_long(struct job *j)
{
	struct long_job *l = container_of(j, struct long_job, job);

	while (__atomic_load_n(&l->go, __ATOMIC_ACQUIRE) == 0)
		(void)usleep(100);
	worker_turn(l->worker);
	l->had_turn = l->others->worked == 10;
	worker_turn(l->worker); /* there are none */
}

static void long_done(struct job *j)
{
	container_of(j, struct long_job, job)->finished = true;
}

static void a_long_job_lets_others_have_their_turn(void **state)
{
	struct env *v = *state;
	struct task t[10];
	struct tally all = {.in_order = true};
	struct long_job l = {.job = {.work = work_long, .done = long_done},
			     .worker = v->worker,
			     .others = &all};

	worker_submit(v->worker, &l.job);
	for (unsigned int i = 0; i < 10; i++) {
		t[i] = (struct task){{.work = work, .done = done}, &all, i};
		worker_submit(v->worker, &t[i].job);
	}
	__atomic_store_n(&l.go, 1, __ATOMIC_RELEASE);
	TURN_UNTIL(v, l.finished);
	assert_true(l.had_turn);
	assert_int_equal(all.finished, 10);
	assert_true(all.in_order);
}

/* Asks for its own filter, and looks how many it has before and after. */
struct sealer {
	struct job job;
	struct worker *worker;
	int filters[2];
	unsigned int n;
};

static const struct sock_filter allow = {BPF_RET | BPF_K, 0, 0,
					 SECCOMP_RET_ALLOW};
static const struct filter allow_all = {&allow, 1};

static int count_filters(void)
{
	char text[4096] = "", *at;
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);

	(void)!read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	at = strstr(text, "Seccomp_filters:");
	return at ? (int)strtol(at + strlen("Seccomp_filters:"), NULL, 10) : -1;
}

static void ask_for_filter(struct job *j)
{
	struct sealer *s = container_of(j, struct sealer, job);

	s->filters[s->n] = count_filters();
	worker_seal(s->worker, &allow_all);
}

static void look_again(struct job *j)
{
	struct sealer *s = container_of(j, struct sealer, job);

	if (++s->n == 1)
		worker_submit(s->worker, j);
}

static void a_filter_is_added_once_behind_the_job(void **state)
{
	struct env *v = *state;
	struct sealer s = {.job = {.work = ask_for_filter, .done = look_again},
			   .worker = v->worker};

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	worker_submit(v->worker, &s.job);
	while (s.n < 2)
		assert_int_equal(loop_turn(v->loop, 10 * NS_PER_MS), 0);
	assert_int_equal(worker_sealed(v->worker), 0);
	assert_int_equal(s.filters[1], s.filters[0] + 1);
	s.n = 1;
	worker_submit(v->worker, &s.job);
	while (s.n < 2)
		assert_int_equal(loop_turn(v->loop, 10 * NS_PER_MS), 0);
	assert_int_equal(s.filters[1], s.filters[0] + 1);
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
		ON(a_long_job_lets_others_have_their_turn, on),   \
		ON(the_thread_is_named_and_takes_no_signals, on), \
		ON(a_filter_is_added_once_behind_the_job, on),    \
		ON(free_waits_for_the_jobs, on)

int main(void)
{
	const struct CMUnitTest uring[] = {TESTS(uring)};
	const struct CMUnitTest epoll[] = {
		TESTS(epoll), cmocka_unit_test(free_accepts_null_and_unused)};

	return RUN_ON_BOTH(uring, epoll);
}
