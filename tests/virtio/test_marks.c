/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue writes into RAM is marked for the log of dirty pages: nothing
 * else tells of it.
 */
#include "tests/virtio/queue_fixture.h"

/* Flags and index are at the end of page 2, entries in 3: but for the first. */
#define USED_AT 0x2ff8

static uint64_t marks;

static void start_marked(struct fixture *f, bool event_idx)
{
	f->q.cfg.used_gpa = USED_AT;
	start(f, event_idx, false);
	marks = 0;
	f->mem.marks = &marks;
}

/* The marks since, which are of these pages. */
static void assert_marked(uint64_t pages)
{
	assert_int_equal(marks, pages);
	marks = 0;
}

static void used_ring_is_marked(void **state)
{
	struct fixture *f = *state;

	start_marked(f, false);
	virtq_fill(&f->q, 0, 1);
	assert_marked(1 << 2 | 1 << 3);
	virtq_fill(&f->q, 1, 1);
	assert_marked(1 << 3);
	virtq_publish(&f->q);
	assert_marked(1 << 2);
}

static void wishes_for_doorbells_are_marked(void **state)
{
	struct fixture *f = *state;

	start_marked(f, false);
	virtq_disable_kick(&f->q);
	assert_marked(1 << 2);
	(void)virtq_enable_kick(&f->q);
	assert_marked(1 << 2);
	f->q.event_idx = true;
	(void)virtq_enable_kick(&f->q);
	assert_marked(1 << 3);
	virtq_disable_kick(&f->q);
	assert_marked(0);
}

static void filled_buffers_are_marked(void **state)
{
	struct fixture *f = *state;

	start_marked(f, false);
	desc(&f->drv, 0, 0x4ffe, 4, DESC_NEXT | DESC_WRITE, 1);
	desc(&f->drv, 1, 0x7000, 0x3000, DESC_WRITE, 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), 1);
	assert_marked(0);
	assert_true(virtq_chain_fill(&f->c, "123", 3));
	assert_marked(1 << 4 | 1 << 5);
	assert_true(virtq_chain_fill(&f->c, "12345", 5));
	assert_marked(1 << 4 | 1 << 5 | 1 << 7);
}

static void parts_of_arrays_are_marked(void **state)
{
	struct fixture *f = *state;
	uint8_t ours[8];
	struct iovec v[] = {
		{ram(&f->drv, 0x1000, 0x1001), 0x1001},
		{ours, sizeof(ours)},
		{ram(&f->drv, 0x5000, 0x2000), 0x2000},
	};

	start_marked(f, false);
	gmem_mark_iov(&f->mem, v, 0x1000);
	assert_marked(1 << 1);
	gmem_mark_iov(&f->mem, v, 0x1001 + 8);
	assert_marked(1 << 1 | 1 << 2);
	gmem_mark_iov(&f->mem, v, 0x1001 + 8 + 0x1001);
	assert_marked(1 << 1 | 1 << 2 | 1 << 5 | 1 << 6);
	f->mem.marks = NULL;
	gmem_mark_iov(&f->mem, v, 0x1000);
	assert_marked(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(used_ring_is_marked),
		TEST(wishes_for_doorbells_are_marked),
		TEST(filled_buffers_are_marked),
		TEST(parts_of_arrays_are_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
