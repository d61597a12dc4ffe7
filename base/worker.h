/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h: the helper thread, for whatever may block or names a path.
 *
 * One thread, named "fc_api", parked on a futex from the start. Jobs (struct
 * job, base/msg.h) run one after another in the order of submission; done()
 * runs on the loop thread. The job is the caller's and must live until done()
 * has been called.
 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include "base/loop.h"

struct err;
struct filter;
struct worker;

/*
 * Start the thread. Every signal is blocked on it but those that a fault of its
 * own raises (SIGSEGV, SIGBUS...): blocked, these would kill the process past
 * its handlers.
 */
int worker_new(struct worker **w, struct err *e);

/* The loop that done() callbacks run on. Once, before the first job. */
void worker_attach(struct worker *w, struct loop *l);

/*
 * End the thread after the jobs already submitted; accepts NULL. The done()
 * callbacks of these run if the loop turns once more.
 */
void worker_free(struct worker *w);

/* Loop thread only. */
void worker_submit(struct worker *w, struct job *j);

/*
 * From inside a long job: the jobs that were submitted meanwhile have their
 * turn now, those that come during it later. The long job need not go through
 * the loop for that, which may be waiting for it.
 */
void worker_turn(struct worker *w);

/*
 * Have the thread add a filter to itself, before any further job; once, however
 * often it is asked for. Any thread, that of the job under way too.
 */
void worker_seal(struct worker *w, const struct filter *f);

/*
 * Wait until it has; in between the caller can add its own. Returns what
 * filter_add() did. Loop thread only.
 */
int worker_sealed(struct worker *w);

#endif
