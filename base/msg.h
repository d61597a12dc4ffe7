/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.h: work that passes between threads.
 *
 * Both live inside an object of the caller's and belong to the loop or to the
 * helper thread from the submission until their callback is called; the
 * callback may free or submit them again.
 */
#ifndef BASE_MSG_H
#define BASE_MSG_H

/* Work handed to the loop thread: loop_post(), loop_defer(). */
struct loop_msg {
	void (*fn)(struct loop_msg *m);
	struct loop_msg *next; /* the loop's */
};

/* Work handed to the helper thread: worker_submit(). */
struct job {
	void (*work)(struct job *j); /* on the helper thread; may block */
	void (*done)(struct job *j); /* on the loop thread, afterwards */
	struct job *next;	     /* the worker's */
	struct loop_msg msg;	     /* the worker's */
};

#endif
