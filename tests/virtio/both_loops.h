/* SPDX-License-Identifier: Apache-2.0 */
/*
 * both_loops.h: a machine without KVM for the tests of a device, which run on
 * either backend of the loop.
 *
 * A program has a struct fixture with a member `loop`; its setup() finds the
 * backend at *state.
 */
#ifndef TESTS_VIRTIO_BOTH_LOOPS_H
#define TESTS_VIRTIO_BOTH_LOOPS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/worker.h"
#include "tests/virtio/driver.h"

static inline void turn_loop(struct loop *l, uint64_t max_wait_ns, int n)
{
	while (n-- > 0)
		assert_int_equal(loop_turn(l, max_wait_ns), 0);
}

#define turn(f)	    turn_loop((f)->loop, 10 * NS_PER_MS, 1)
#define turns(f, n) turn_loop((f)->loop, NS_PER_MS, n)

/*
 * Turn the loop until cond holds. What the helper thread or the kernel has a
 * part in takes any number of turns: a test waits for its effect in this way,
 * and counts turns only to show that something does not happen.
 */
#define until(f, cond)                                          \
	do {                                                    \
		uint64_t end_ = clock_now_ns() + 30 * NS_PER_S; \
                                                                \
		while (!(cond)) {                               \
			assert_true(clock_now_ns() < end_);     \
			turn(f);                                \
		}                                               \
	} while (0)

/* w may be NULL; log lines are off from here on. */
static inline void open_machine(struct loop **l, struct vm **vm,
				enum loop_backend backend, struct worker *w,
				uint64_t ram_bytes)
{
	const struct vm_config cfg = {.kernel_fd = -1, .initrd_fd = -1};
	struct err e = {0};

	log_set_level(LOG_OFF);
	assert_int_equal(loop_new(l, backend, w, &e), 0);
	if (w)
		worker_attach(w, *l);
	assert_int_equal(vm_new(vm, *l, &cfg, &e), 0);
	ram_init(&(*vm)->mem, ram_bytes);
}

static inline void close_machine(struct loop *l, struct vm *vm)
{
	ram_exit(&vm->mem);
	vm_free(vm);
	loop_free(l);
}

/* How often the line of a device was raised since the last call. */
static inline uint64_t irqs_of(const struct virtio_dev *d)
{
	eventfd_t n;

	return eventfd_read(d->slot->irq.fd, &n) == 0 ? n : 0;
}

#define BOTH(fn)                                                  \
	{#fn " (io_uring)", fn, setup, teardown, &backends[0]},   \
	{                                                         \
#fn " (epoll)", fn, setup, teardown, &backends[1] \
	}

static enum loop_backend backends[] = {LOOP_URING, LOOP_EPOLL};

#endif
