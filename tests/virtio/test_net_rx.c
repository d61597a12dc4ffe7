/* SPDX-License-Identifier: Apache-2.0 */
/* Received frames in buffers of every kind, and a ring that is full. */
#include "tests/virtio/net_fixture.h"

/* Offer again what the last frames were in, in the order of the used ring. */
static void post_again(struct fixture *f, uint16_t from, uint32_t len)
{
	for (; from != f->rx.used_idx; from++)
		post(f,
		     (uint16_t)get32(&f->rx,
				     USED_GPA + 4 + 8 * (uint64_t)(from % 256)),
		     len);
}

static void sweep(struct fixture *f, uint32_t buf_len, size_t step)
{
	uint32_t seq = 0;

	post_all(f, buf_len);
	for (size_t len = 14; len <= 65535; len += step + len / 40) {
		uint16_t from = f->rx.used_idx;

		send_frame(f, seq, len);
		(void)expect_frame(f, seq++, len);
		post_again(f, from, buf_len);
		kick_queue(f, NET_RX);
	}
	assert_int_equal(counts(f)->rx_packets, seq);
	assert_int_equal(counts(f)->rx_fails, 0);
	assert_int_equal(counts(f)->tap_read_fails, 0);
}

static void every_size_arrives_in_mergeable_buffers(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	sweep(f, 1536, 13);
}

static void every_size_arrives_in_buffers_of_one_frame(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL & ~F_BIT(MRG_RXBUF));
	sweep(f, 65562, 97);
}

static void a_frame_takes_as_many_buffers_as_it_needs(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	post_all(f, 100);
	send_frame(f, 1, 88);
	assert_int_equal(expect_frame(f, 1, 88), 1);
	send_frame(f, 2, 89);
	assert_int_equal(expect_frame(f, 2, 89), 2);
	send_frame(f, 3, 1000);
	assert_int_equal(expect_frame(f, 3, 1000), 11);
	send_frame(f, 4, 14);
	assert_int_equal(expect_frame(f, 4, 14), 1);
	assert_int_equal(counts(f)->rx_bytes, 88 + 89 + 1000 + 14);
}

/* Buffers of 12 bytes and more in any number of segments. */
static void buffers_may_be_cut_anywhere(void **state)
{
	struct fixture *f = *state;
	uint8_t *p;

	attach(f, nothing, F_ALL);
	for (uint16_t cut = 1; cut < 12; cut++) {
		desc(&f->rx, 0, RX_BUF(0), cut, DESC_WRITE | DESC_NEXT, 1);
		desc(&f->rx, 1, RX_BUF(0) + cut, 11, DESC_WRITE | DESC_NEXT, 2);
		desc(&f->rx, 2, RX_BUF(0) + cut + 11u, 100, DESC_WRITE, 0);
		offer(&f->rx, 0);
		kick_queue(f, NET_RX);
		p = ram(&f->rx, RX_BUF(0), 200);
		memset(p, 0xaa, 200);
		send_frame(f, cut, 60);
		(void)expect_frame(f, cut, 60);
		assert_int_equal(p[72], 0xaa);
	}
}

static void a_frame_waits_for_the_buffers_that_it_lacks(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	/* The driver is known to have eight. */
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 512);
	send_frame(f, 1, 7 * 512 - 12);
	assert_int_equal(expect_frame(f, 1, 7 * 512 - 12), 7);
	send_frame(f, 2, 3000);
	send_frame(f, 3, 100);
	turns(f, 4);
	assert_false(used_waits(&f->rx));
	for (uint16_t i = 0; i < 4; i++) {
		post(f, i, 512);
		kick_queue(f, NET_RX);
		turns(f, 3);
		assert_false(used_waits(&f->rx));
	}
	post(f, 4, 512);
	post(f, 5, 512);
	kick_queue(f, NET_RX);
	assert_int_equal(expect_frame(f, 2, 3000), 6);
	assert_int_equal(expect_frame(f, 3, 100), 1);
	assert_int_equal(counts(f)->rx_fails, 0);
}

/* Few buffers are held ready then; the rest of it goes through our memory. */
static void a_large_frame_after_many_small_ones_is_whole(void **state)
{
	struct fixture *f = *state;
	uint32_t seq = 0;

	attach(f, nothing, F_ALL);
	post_all(f, 1536);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 500; i++, seq++) {
			uint16_t from = f->rx.used_idx;

			send_frame(f, seq, 60);
			(void)expect_frame(f, seq, 60);
			post_again(f, from, 1536);
		}
		assert_true(f->net->rx.n_chains <= 2);
		send_frame(f, seq, 65535);
		assert_int_equal(expect_frame(f, seq, 65535), 43);
		seq++;
	}
	assert_int_equal(counts(f)->rx_fails, 0);
}

/* ---- the ring is full, and is refilled ---- */

static void reading_goes_on_when_a_full_ring_is_refilled(void **state)
{
	struct fixture *f = *state;
	uint32_t sent = 0, got = 0;
	uint64_t start;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 4; i++)
		post(f, i, 2048);
	while (try_send(f, sent, 1000)) {
		sent++;
		turns(f, 1);
	}
	assert_true(sent > 20);
	turns(f, 50);
	while (got < sent) {
		uint16_t from = f->rx.used_idx;

		start = clock_now_ns();
		(void)expect_frame(f, got, 1000);
		assert_true(clock_now_ns() - start < 100 * NS_PER_MS);
		got++;
		post_again(f, from, 2048);
		kick_queue(f, NET_RX);
	}
	assert_int_equal(counts(f)->rx_packets, sent);
	assert_true(counts(f)->no_rx_avail_buffer > 0);
}

/* Doorbells are asked for when buffers lack, and only then. */
static void kicks_are_asked_for_when_buffers_lack(void **state)
{
	const uint64_t event = USED_GPA + 4 + 8 * (uint64_t)QUEUE_SIZE;
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	post(f, 0, 2048);
	post(f, 1, 2048);
	send_frame(f, 1, 100);
	(void)expect_frame(f, 1, 100);
	turns(f, 3);
	assert_int_equal(get16(&f->rx, event), 0);
	send_frame(f, 2, 100);
	send_frame(f, 3, 100);
	(void)expect_frame(f, 2, 100);
	turns(f, 3);
	assert_int_equal(get16(&f->rx, event), 2);
}

static void a_full_ring_costs_no_time(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	attach(f, nothing, F_ALL);
	for (uint32_t i = 0; i < 100; i++)
		send_frame(f, i, 100);
	turns(f, 10);
	before = clock_process_cpu_us();
	turns(f, 200);
	assert_true(clock_process_cpu_us() - before < 100000);
	assert_true(counts(f)->no_rx_avail_buffer < 20);
}

/* ---- batches ---- */

static void one_interrupt_tells_of_many_frames(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL & ~VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX));
	for (uint32_t i = 0; i < NET_TURN_FRAMES; i++)
		send_frame(f, i, 60);
	turns(f, 5);
	(void)irqs(f);
	post_all(f, 1536);
	kick_queue(f, NET_RX);
	for (uint32_t i = 0; i < NET_TURN_FRAMES; i++)
		(void)expect_frame(f, i, 60);
	assert_int_equal(irqs(f), 1);
}

static void a_turn_moves_no_more_than_its_budget(void **state)
{
	const int room = 8 << 20;
	struct fixture *f = *state;
	uint32_t got = 0;

	if (setsockopt(f->peer, SOL_SOCKET, SO_SNDBUFFORCE, &room,
		       sizeof(room)) < 0)
		skip();
	attach(f, nothing, F_ALL & ~F_BIT(MRG_RXBUF));
	for (uint32_t i = 0; i < 150; i++)
		send_frame(f, i, i < 20 ? 65535 : 60);
	turns(f, 3);
	post_all(f, 65562);
	kick_queue(f, NET_RX);
	while (got < 150) {
		uint32_t before = got;

		turn(f);
		while (used_waits(&f->rx)) {
			(void)expect_frame(f, got, got < 20 ? 65535 : 60);
			got++;
		}
		assert_true(got - before <=
			    (before < 11 ? 9 : NET_TURN_FRAMES));
	}
}

static void the_largest_chains_are_taken(void **state)
{
	struct fixture *f = *state;
	const uint64_t table = 0x40000;

	attach(f, nothing, F_ALL);
	for (uint16_t c = 0; c < 4; c++) {
		for (uint32_t i = 0; i < 256; i++)
			put_desc(&f->rx, table + c * 4096u, i,
				 RX_BUF(c) + i * 8, 8,
				 (uint16_t)(DESC_WRITE |
					    (i < 255 ? DESC_NEXT : 0)),
				 (uint16_t)(i + 1));
		desc(&f->rx, c, table + c * 4096u, 4096, DESC_INDIRECT, 0);
		offer(&f->rx, c);
	}
	send_frame(f, 1, 3000);
	send_frame(f, 2, 3000);
	assert_int_equal(expect_frame(f, 1, 3000), 2);
	assert_int_equal(expect_frame(f, 2, 3000), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(every_size_arrives_in_mergeable_buffers),
		BOTH(every_size_arrives_in_buffers_of_one_frame),
		BOTH(a_frame_takes_as_many_buffers_as_it_needs),
		BOTH(buffers_may_be_cut_anywhere),
		BOTH(a_frame_waits_for_the_buffers_that_it_lacks),
		BOTH(a_large_frame_after_many_small_ones_is_whole),
		BOTH(reading_goes_on_when_a_full_ring_is_refilled),
		BOTH(kicks_are_asked_for_when_buffers_lack),
		BOTH(a_full_ring_costs_no_time),
		BOTH(one_interrupt_tells_of_many_frames),
		BOTH(a_turn_moves_no_more_than_its_budget),
		BOTH(the_largest_chains_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
