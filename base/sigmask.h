/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigmask.h: the signal mask of every thread but the main one.
 */
#ifndef BASE_SIGMASK_H
#define BASE_SIGMASK_H

#include <signal.h>

/*
 * All signals but those that a fault of the thread's own raises: these,
 * blocked, would end the process past its handlers.
 */
static inline void sigmask_fill(sigset_t *set)
{
	static const int faults[] = {SIGSEGV, SIGBUS,  SIGILL, SIGFPE,
				     SIGSYS,  SIGTRAP, SIGABRT};

	(void)sigfillset(set);
	for (unsigned int i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		(void)sigdelset(set, faults[i]);
}

#endif
