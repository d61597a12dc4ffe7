/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu_thread.h: a register write by a vCPU on a thread of its own, which
 * waits for the loop as a real one does.
 */
#ifndef TESTS_VIRTIO_VCPU_THREAD_H
#define TESTS_VIRTIO_VCPU_THREAD_H

#include <pthread.h>

#include "tests/virtio/driver.h"
#include "vmm/vcpu.h"

struct vcpu_thread {
	struct driver drv;
	struct vcpu vcpu;
	pthread_t thread;
	uint32_t reg, value;
	bool ended; /* atomic */
};

static inline void *vcpu_thread_main(void *arg)
{
	struct vcpu_thread *t = arg;

	reg_write(&t->drv, t->reg, t->value);
	__atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static inline void start_write(const struct driver *drv, struct vm *vm,
			       struct vcpu_thread *t, uint32_t reg,
			       uint32_t value)
{
	*t = (struct vcpu_thread){
		.drv = *drv,
		.vcpu.vm = vm,
		.reg = reg,
		.value = value,
	};
	t->drv.vcpu = &t->vcpu;
	if (pthread_create(&t->thread, NULL, vcpu_thread_main, t) != 0)
		abort();
}

static inline bool ended(const struct vcpu_thread *t)
{
	return __atomic_load_n(&t->ended, __ATOMIC_ACQUIRE);
}

#endif
