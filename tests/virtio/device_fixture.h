/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_fixture.h: a machine without KVM that holds a device which does
 * nothing but remember what it was told.
 */
#ifndef TESTS_VIRTIO_DEVICE_FIXTURE_H
#define TESTS_VIRTIO_DEVICE_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tests/virtio/driver.h"
#include "vmm/vcpu.h"

#define RAM_BYTES   0x10000
#define FAKE_QUEUES 2
#define FAKE_CONFIG 20
#define F_FAKE	    5 /* a feature bit of the device's own */
#define ALL_FEATURES                               \
	(VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |      \
	 VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) | \
	 VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC) | VIRTIO_FEATURE(F_FAKE))

struct fake {
	struct virtio_dev dev;
	unsigned int activated, drains, paused, stopped;
	unsigned int notified[FAKE_QUEUES];
	int activate_ret;
	bool hold; /* drains end when the test says so */
};

struct fixture {
	struct loop *loop;
	struct vm *vm;
	struct fake fake;
	struct driver drv;
};

static inline struct fake *to_fake(struct virtio_dev *d)
{
	return container_of(d, struct fake, dev);
}

static inline int fake_activate(struct virtio_dev *d)
{
	to_fake(d)->activated++;
	return to_fake(d)->activate_ret;
}

static inline void fake_notify(struct virtio_dev *d, unsigned int q)
{
	to_fake(d)->notified[q]++;
}

static inline void fake_drain(struct virtio_dev *d)
{
	to_fake(d)->drains++;
	if (!to_fake(d)->hold)
		virtio_drained(d);
}

static const struct virtio_dev_ops fake_ops = {
	.id = 42,
	.n_queues = FAKE_QUEUES,
	.activate = fake_activate,
	.notify = fake_notify,
	.drain = fake_drain,
};

static inline void fake_paused(struct virtio_dev *d)
{
	to_fake(d)->paused++;
}

static inline void fake_stopped(struct virtio_dev *d)
{
	to_fake(d)->stopped++;
}

/* Serve what is there; nothing is waited for. */
static inline void turns(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(f->loop, NS_PER_MS), 0);
}

static inline int setup(void **state)
{
	const struct vm_config cfg = {.kernel_fd = -1, .initrd_fd = -1};
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	assert_non_null(f);
	log_set_level(LOG_OFF);
	assert_int_equal(loop_new(&f->loop, LOOP_EPOLL, NULL, &e), 0);
	assert_int_equal(vm_new(&f->vm, f->loop, &cfg, &e), 0);
	ram_init(&f->vm->mem, RAM_BYTES);
	assert_int_equal(virtio_init(&f->fake.dev, &fake_ops, f->vm, &e), 0);
	f->fake.dev.features |= VIRTIO_FEATURE(F_FAKE);
	f->fake.dev.config_len = FAKE_CONFIG;
	for (uint8_t i = 0; i < VIRTIO_CONFIG_MAX; i++)
		f->fake.dev.config[i] = (uint8_t)(0xc0 + i);
	f->drv = (struct driver){
		.mem = &f->vm->mem, .dev = &f->fake.dev, .size = 4};
	virtio_listen(&f->fake.dev);
	turns(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	f->fake.hold = false;
	if (!f->fake.dev.stopped)
		virtio_stop(&f->fake.dev, fake_stopped);
	for (int i = 0; i < 1000 && f->fake.stopped == 0; i++)
		turns(f);
	assert_int_equal(f->fake.stopped, 1);
	virtio_exit(&f->fake.dev);
	ram_exit(&f->vm->mem);
	vm_free(f->vm);
	loop_free(f->loop);
	free(f);
	return 0;
}

/* How often the line was raised since the last call. */
static inline uint64_t irqs(struct fixture *f)
{
	eventfd_t n;

	return eventfd_read(f->fake.dev.slot->irq.fd, &n) == 0 ? n : 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
