/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inherited.h: what a process gets from who started it, and the program must
 * not.
 */
#ifndef JAILER_INHERITED_H
#define JAILER_INHERITED_H

struct err;

/*
 * First of all: close descriptors but 0, 1 and 2, which become /dev/null where
 * they are closed; forget environment, signals (ignored, blocked, pending),
 * timers, umask, personality. SIGPIPE and SIGXFSZ are ignored for the time
 * being: a message that nobody reads, or a limit on files, must not end a
 * jailer before it has undone its work.
 */
int inherited_clean(struct err *e);

/*
 * For a jail: leave the session's keyring and its terminal, and refuse a folder
 * as 0, 1 or 2, below which the program could open files. The terminal stays
 * open, and its keys still signal who is in the foreground, but what has it no
 * longer as its own cannot type into it (TIOCSTI).
 */
int inherited_leave(struct err *e);

/* Before the program is executed: no signal is ignored. */
void inherited_restore(void);

#endif
