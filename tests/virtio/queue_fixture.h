/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue_fixture.h: one queue of 4 entries in 64 KiB of RAM, for the tests of
 * queue.c.
 */
#ifndef TESTS_VIRTIO_QUEUE_FIXTURE_H
#define TESTS_VIRTIO_QUEUE_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/virtio/driver.h"
#include "virtio/queue.h"

#define RAM_BYTES 0x10000
#define SEGS	  8

struct fixture {
	struct gmem mem;
	struct driver drv;
	struct virtq q;
	struct iovec iov[SEGS];
	struct virtq_chain c;
};

static inline void configure(struct fixture *f, uint32_t size)
{
	f->drv.size = size;
	f->q.cfg = (struct virtq_config){
		.size = size,
		.ready = true,
		.desc_gpa = DESC_GPA,
		.avail_gpa = AVAIL_GPA,
		.used_gpa = USED_GPA,
	};
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	ram_init(&f->mem, RAM_BYTES);
	f->drv.mem = &f->mem;
	f->c = (struct virtq_chain){.iov = f->iov, .max_iov = SEGS};
	configure(f, 4);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	ram_exit(&f->mem);
	free(f);
	return 0;
}

static inline void start(struct fixture *f, bool event_idx, bool indirect)
{
	assert_int_equal(virtq_start(&f->q, &f->mem, event_idx, indirect), 0);
}

static inline int pop(struct fixture *f)
{
	return virtq_pop(&f->q, &f->mem, &f->c);
}

/* Offer head; it must be refused, leave *c alone, and break the queue. */
static inline void refused(struct fixture *f, uint16_t head)
{
	f->c.head = 0xaaaa;
	f->c.n_out = 0xbbbb;
	offer(&f->drv, head);
	assert_int_equal(pop(f), -EPROTO);
	assert_int_equal(f->c.head, 0xaaaa);
	assert_int_equal(f->c.n_out, 0xbbbb);
	assert_true(f->q.broken);
	desc(&f->drv, 0, 0x5000, 16, 0, 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), -EPROTO);
	assert_false(virtq_enable_kick(&f->q));
	virtq_reset(&f->q);
	memset(ram(&f->drv, 0, DATA_GPA), 0, DATA_GPA);
	f->drv.avail_idx = 0;
	configure(f, 4);
	start(f, false, true);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
