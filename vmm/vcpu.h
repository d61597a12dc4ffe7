/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.h: one virtual CPU and its thread.
 *
 * The thread does KVM_RUN and the bus, nothing else. It parks by a futex: at
 * birth, and when asked to. To park, the loop sets immediate_exit and sends
 * SIGRTMIN (blocked everywhere but inside KVM_RUN); the thread finishes the
 * exit in hand, enters KVM_RUN once more with immediate_exit so that a pending
 * port or MMIO access completes, reports and waits. Before its first KVM_RUN it
 * adds the filter that vm_config names.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"

struct err;
struct kvm_run;
struct vm;

/* Work that a vCPU hands to the loop while it waits for the answer. */
struct vcpu_call {
	void (*fn)(
		struct vcpu_call *c); /* on the loop; ends with vcpu_answer */
	struct loop_msg msg;	      /* vcpu.c's, as the rest */
	uint32_t done;		      /* futex */
};

struct vcpu_counts {
	uint64_t io_in, io_out, mmio_read, mmio_write, failures;
};

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd; /* FD_VCPU0 + index */
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool has_thread;
	pid_t pid, tid; /* tid: 0 until the thread has begun */
	char name[16];
	uint32_t order; /* futex, written by the loop: see vcpu.c */
	uint32_t runs;	/* the loop's: how often it was told to run */
	struct vcpu_counts counts;
};

/*
 * Start the thread, parked. Before the slow part of a start, so that on a busy
 * host the thread has had its first turn when it is needed.
 */
int vcpu_init(struct vcpu *v, struct vm *vm, unsigned int index, struct err *e);

/* Create the KVM vCPU and map its run page; before the first vcpu_run(). */
int vcpu_create(struct vcpu *v, size_t run_bytes, struct err *e);

/* Loop thread: leave the park, or ask to park (reports to the vm). */
void vcpu_run(struct vcpu *v);
void vcpu_park(struct vcpu *v);

/*
 * Loop, while parked: tell a guest that knows kvmclock that it was stopped, so
 * that its watchdogs do not take the pause for a lock-up.
 */
void vcpu_note_pause(struct vcpu *v);

/* End and join the thread, close the rest; accepts half-built. */
void vcpu_exit(struct vcpu *v);

/*
 * vCPU thread: hand c->fn to the loop and wait until vcpu_answer(c). A vCPU
 * that is told to end meanwhile waits all the same: the loop always answers.
 * With v == NULL (tests) fn runs at once on the calling thread and has to
 * answer before it returns.
 */
void vcpu_call(struct vcpu *v, struct vcpu_call *c);
void vcpu_answer(struct vcpu_call *c);

#endif
