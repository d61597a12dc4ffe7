/* SPDX-License-Identifier: Apache-2.0 */
#include "base/worker.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/filter.h"
#include "base/num.h"
#include "base/sigmask.h"

/* Address space only: what is not touched costs nothing. */
#define STACK_BYTES ((size_t)(256 * KIB))

struct worker {
	struct loop *loop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	/* Under the lock. */
	struct job *first;
	struct job *last;
	const struct filter *filter; /* to be added */
	bool sealing;		     /* that was asked for */
	bool stop;

	uint32_t sealed; /* futex: its filter has been added */
	int seal_ret;
};

static void on_loop(struct loop_msg *m)
{
	struct job *j = container_of(m, struct job, msg);

	j->done(j);
}

/* By bare futexes: the waiting thread has its own filter already. */
static void seal(struct worker *w)
{
	w->seal_ret = filter_add(w->filter);
	w->filter = NULL;
	__atomic_store_n(&w->sealed, 1, __ATOMIC_RELEASE);
	(void)syscall(SYS_futex, &w->sealed, FUTEX_WAKE_PRIVATE, 1);
}

/* The next job; NULL when the queue is empty and the worker is to end. */
static struct job *take(struct worker *w)
{
	(void)pthread_mutex_lock(&w->lock);
	if (w->filter)
		seal(w);
	while (!w->first && !w->stop) {
		(void)pthread_cond_wait(&w->more, &w->lock);
		if (w->filter)
			seal(w);
	}

	struct job *j = w->first;

	if (j)
		w->first = j->next;
	if (!w->first)
		w->last = NULL;
	(void)pthread_mutex_unlock(&w->lock);
	return j;
}

static void carry_out(struct worker *w, struct job *j)
{
	j->work(j);
	j->msg.fn = on_loop;
	loop_post(w->loop, &j->msg);
}

static void *serve(void *arg)
{
	struct worker *w = arg;
	struct job *j;

	(void)prctl(PR_SET_NAME, "fc_api");
	while ((j = take(w)))
		carry_out(w, j);
	return NULL;
}

void worker_turn(struct worker *w)
{
	struct job *j;

	(void)pthread_mutex_lock(&w->lock);
	j = w->first;
	w->first = NULL;
	w->last = NULL;
	(void)pthread_mutex_unlock(&w->lock);
	while (j) {
		struct job *next = j->next;

		carry_out(w, j);
		j = next;
	}
}

static int start(struct worker *w)
{
	pthread_attr_t attr;
	sigset_t blocked;

	sigmask_fill(&blocked);

	int ret = -pthread_attr_init(&attr);

	if (ret)
		return ret;
	ret = -pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (!ret)
		ret = -pthread_attr_setsigmask_np(&attr, &blocked);
	if (!ret)
		ret = -pthread_create(&w->thread, &attr, serve, w);
	(void)pthread_attr_destroy(&attr);
	return ret;
}

int worker_new(struct worker **w, struct err *e)
{
	struct worker *made = calloc(1, sizeof(*made));

	if (!made)
		return err_sys(e, "Failed to make the helper thread");
	(void)pthread_mutex_init(&made->lock, NULL);
	(void)pthread_cond_init(&made->more, NULL);

	int ret = start(made);

	if (ret) {
		free(made);
		return err_code(e, ret, "Failed to start the helper thread");
	}
	*w = made;
	return 0;
}

void worker_attach(struct worker *w, struct loop *l)
{
	w->loop = l;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->stop = true;
	(void)pthread_cond_signal(&w->more);
	(void)pthread_mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);
	(void)pthread_cond_destroy(&w->more);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

void worker_submit(struct worker *w, struct job *j)
{
	j->next = NULL;
	(void)pthread_mutex_lock(&w->lock);
	if (w->last)
		w->last->next = j;
	else
		w->first = j;
	w->last = j;
	(void)pthread_cond_signal(&w->more);
	(void)pthread_mutex_unlock(&w->lock);
}

void worker_seal(struct worker *w, const struct filter *f)
{
	(void)pthread_mutex_lock(&w->lock);
	if (!w->sealing)
		w->filter = f;
	w->sealing = true;
	(void)pthread_cond_signal(&w->more);
	(void)pthread_mutex_unlock(&w->lock);
}

int worker_sealed(struct worker *w)
{
	while (__atomic_load_n(&w->sealed, __ATOMIC_ACQUIRE) == 0)
		(void)syscall(SYS_futex, &w->sealed, FUTEX_WAIT_PRIVATE, 0,
			      NULL);
	return w->seal_ret;
}
