/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h: reads what the host's KVM offers on the helper thread before anybody
 * asks for a start, which then saves that time. Not beside a start: two threads
 * that make a machine at once were measured to take longer than one.
 *
 * Who needs it first does it: a helper thread that has not come round to it is
 * not waited for. The caller owns the storage, which must live as long as the
 * helper thread.
 */
#ifndef VMM_PROBE_H
#define VMM_PROBE_H

#include <semaphore.h>
#include <stdatomic.h>

#include "base/msg.h"
#include "vmm/x86/cpu.h"

struct worker;

struct probe {
	struct job job;
	bool started;
	atomic_flag taken; /* by the thread that reads */
	sem_t ready;	   /* up from then on */
	bool failed;
	struct cpu_host host;
};

/* Loop thread, or before the loop runs; a zeroed probe. Acts only once. */
void probe_start(struct probe *p, struct worker *w);

/*
 * What was read, or NULL if that failed: the caller then reads for itself, and
 * has the error. Any thread, any number of times.
 */
const struct cpu_host *probe_get(struct probe *p);

#endif
