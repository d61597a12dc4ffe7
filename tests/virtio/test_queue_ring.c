/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/virtio/queue_fixture.h"

/* ---- chains ---- */

static void take_and_fill_cross_segments(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[8] = {0};

	start(f, false, false);
	desc(&f->drv, 0, 0x5000, 3, DESC_NEXT, 1);
	desc(&f->drv, 1, 0x6000, 5, DESC_NEXT, 2);
	desc(&f->drv, 2, 0x7000, 2, DESC_NEXT | DESC_WRITE, 3);
	desc(&f->drv, 3, 0x7800, 4, DESC_WRITE, 0);
	assert_int_equal(gmem_write(&f->mem, 0x5000, "abc", 3), 0);
	assert_int_equal(gmem_write(&f->mem, 0x6000, "defgh", 5), 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), 1);
	assert_false(virtq_chain_take(&f->c, buf, 9));
	assert_true(virtq_chain_take(&f->c, buf, 4));
	assert_memory_equal(buf, "abcd", 5);
	assert_int_equal(f->c.n_out, 1);
	assert_int_equal(f->c.out_bytes, 4);
	assert_int_equal(f->c.max_iov, SEGS - 1);
	assert_true(virtq_chain_take(&f->c, buf, 4));
	assert_memory_equal(buf, "efgh", 4);
	assert_int_equal(f->c.n_out, 0);
	assert_false(virtq_chain_take(&f->c, buf, 1));
	assert_false(virtq_chain_fill(&f->c, "1234567", 7));
	assert_true(virtq_chain_fill(&f->c, "12345", 5));
	assert_memory_equal(ram(&f->drv, 0x7000, 2), "12", 2);
	assert_memory_equal(ram(&f->drv, 0x7800, 4), "345", 4);
}

/* ---- notification ---- */

static void complete_one(struct fixture *f)
{
	desc(&f->drv, 0, 0x5000, 16, DESC_WRITE, 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), 1);
	virtq_push(&f->q, f->c.head, 1);
}

static void irq_follows_the_flag(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	assert_false(virtq_needs_irq(&f->q));
	complete_one(f);
	assert_true(virtq_needs_irq(&f->q));
	assert_false(virtq_needs_irq(&f->q));
	put16(&f->drv, AVAIL_GPA, 1);
	complete_one(f);
	assert_false(virtq_needs_irq(&f->q));
	put16(&f->drv, AVAIL_GPA, 0);
	complete_one(f);
	assert_true(virtq_needs_irq(&f->q));
}

static void irq_follows_the_event_index(void **state)
{
	struct fixture *f = *state;
	const uint64_t used_event = AVAIL_GPA + 4 + 2 * 4;

	start(f, true, false);
	put16(&f->drv, AVAIL_GPA, 1); /* has no meaning with EVENT_IDX */
	for (uint32_t i = 0; i < 70000; i++) {
		/* Ask for every third. */
		uint16_t mark = (uint16_t)(i - i % 3 + 2);

		put16(&f->drv, used_event, mark);
		complete_one(f);
		assert_int_equal(virtq_needs_irq(&f->q), i % 3 == 2);
	}
	/* A mark inside a batch counts. */
	put16(&f->drv, used_event, (uint16_t)(f->q.next_used + 1));
	complete_one(f);
	complete_one(f);
	complete_one(f);
	assert_true(virtq_needs_irq(&f->q));
	assert_false(virtq_needs_irq(&f->q));
}

static void kicks_follow_the_flag(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	virtq_disable_kick(&f->q);
	assert_int_equal(get16(&f->drv, USED_GPA), 1);
	assert_false(virtq_enable_kick(&f->q));
	assert_int_equal(get16(&f->drv, USED_GPA), 0);
	desc(&f->drv, 0, 0x5000, 16, 0, 0);
	offer(&f->drv, 0);
	assert_true(virtq_enable_kick(&f->q));
}

static void kicks_follow_the_event_index(void **state)
{
	struct fixture *f = *state;
	const uint64_t avail_event = USED_GPA + 4 + 8 * 4;

	start(f, true, false);
	complete_one(f);
	virtq_disable_kick(&f->q);
	assert_int_equal(get16(&f->drv, USED_GPA), 0);
	assert_int_equal(get16(&f->drv, avail_event), 0);
	assert_false(virtq_enable_kick(&f->q));
	assert_int_equal(get16(&f->drv, avail_event), 1);
	offer(&f->drv, 0);
	assert_true(virtq_enable_kick(&f->q));
	assert_int_equal(get16(&f->drv, avail_event), 1);
}

/* ---- several chains at once, or one that goes back ---- */

static void offer_three(struct fixture *f)
{
	for (uint16_t i = 0; i < 3; i++) {
		desc(&f->drv, i, 0x5000 + i * 0x100u, 16, DESC_WRITE, 0);
		offer(&f->drv, i);
	}
}

static void unpop_brings_chains_back_in_their_order(void **state)
{
	struct fixture *f = *state;
	uint32_t head, len;

	start(f, true, false);
	offer_three(f);
	for (uint16_t i = 0; i < 3; i++)
		assert_int_equal(pop(f), 1);
	virtq_unpop(&f->q, 2);
	virtq_push(&f->q, 0, 5); /* one that was popped before */
	virtq_unpop(&f->q, 1);
	for (uint16_t i = 1; i < 3; i++) {
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->c.head, i);
	}
	assert_int_equal(pop(f), 0);
	virtq_push(&f->q, 1, 6);
	assert_true(take_used(&f->drv, &head, &len));
	assert_int_equal(head, 0);
	assert_true(take_used(&f->drv, &head, &len));
	assert_int_equal(head, 1);
	assert_false(take_used(&f->drv, &head, &len));
}

/* What is popped again is what the ring says then, checked anew. */
static void unpop_trusts_nothing_that_was_seen(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	offer_three(f);
	assert_int_equal(pop(f), 1);
	virtq_unpop(&f->q, 0);
	desc(&f->drv, 0, 0x7000, 99, 0, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->c.out_bytes, 99);
	virtq_unpop(&f->q, 0);
	desc(&f->drv, 0, RAM_BYTES, 99, 0, 0);
	assert_int_equal(pop(f), -EPROTO);
}

static void unpop_works_over_the_end_of_the_index(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	for (uint32_t i = 0; i < 70000; i++) {
		desc(&f->drv, i % 4, 0x5000, 16, DESC_WRITE, 0);
		offer(&f->drv, (uint16_t)(i % 4));
		assert_int_equal(pop(f), 1);
		virtq_unpop(&f->q, f->c.head);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->c.head, i % 4);
		virtq_push(&f->q, f->c.head, 1);
	}
}

static void filled_chains_are_seen_together(void **state)
{
	struct fixture *f = *state;
	uint32_t head, len;

	start(f, false, false);
	offer_three(f);
	for (uint16_t i = 0; i < 3; i++)
		assert_int_equal(pop(f), 1);
	virtq_fill(&f->q, 2, 7);
	virtq_fill(&f->q, 0, 8);
	assert_false(used_waits(&f->drv));
	virtq_publish(&f->q);
	assert_true(take_used(&f->drv, &head, &len));
	assert_int_equal(head, 2);
	assert_int_equal(len, 7);
	assert_true(take_used(&f->drv, &head, &len));
	assert_int_equal(head, 0);
	assert_int_equal(len, 8);
	assert_false(take_used(&f->drv, &head, &len));
	assert_true(virtq_needs_irq(&f->q));
	/* A filled chain is the driver's again, and may be offered. */
	offer(&f->drv, 2);
	assert_int_equal(pop(f), 1);
	offer(&f->drv, 1);
	assert_int_equal(pop(f), -EPROTO);
	/* Nothing is said any more by a queue that is broken. */
	virtq_fill(&f->q, 2, 9);
	virtq_publish(&f->q);
	assert_false(used_waits(&f->drv));
}

static void a_queue_that_never_started_has_nothing_to_undo(void **state)
{
	struct fixture *f = *state;

	f->q.cfg = (struct virtq_config){0};
	start(f, true, true);
	virtq_unpop(&f->q, 3);
	virtq_fill(&f->q, 3, 1);
	virtq_publish(&f->q);
	assert_int_equal(f->q.last_avail, 0);
	assert_int_equal(f->q.next_used, 0);
}

/* A ring that overlaps others harms its driver alone. */
static void rings_may_overlap(void **state)
{
	struct fixture *f = *state;

	f->q.cfg.used_gpa = DESC_GPA;
	f->q.cfg.avail_gpa = DESC_GPA;
	start(f, true, true);
	for (uint32_t i = 0; i < 1000; i++) {
		put64(&f->drv, DESC_GPA + 8 * (uint64_t)(i % 8),
		      (uint64_t)i << 13 | i);
		if (pop(f) == 1) {
			virtq_push(&f->q, f->c.head, 1);
			(void)virtq_needs_irq(&f->q);
			(void)virtq_enable_kick(&f->q);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(take_and_fill_cross_segments),
		TEST(irq_follows_the_flag),
		TEST(irq_follows_the_event_index),
		TEST(kicks_follow_the_flag),
		TEST(kicks_follow_the_event_index),
		TEST(rings_may_overlap),
		TEST(unpop_brings_chains_back_in_their_order),
		TEST(unpop_trusts_nothing_that_was_seen),
		TEST(unpop_works_over_the_end_of_the_index),
		TEST(filled_chains_are_seen_together),
		TEST(a_queue_that_never_started_has_nothing_to_undo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
