/* SPDX-License-Identifier: Apache-2.0 */
/* Received frames that no buffer takes, and buffers that take no frame. */
#include "tests/virtio/net_fixture.h"

/* It could wait for ever, and everything behind it. */
static void a_frame_larger_than_all_buffers_is_dropped(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 4; i++)
		post(f, i, 512);
	send_frame(f, 1, 4 * 512 - 12 + 1);
	send_frame(f, 2, 4 * 512 - 12);
	(void)expect_frame(f, 2, 4 * 512 - 12);
	assert_int_equal(counts(f)->rx_fails, 1);
	assert_int_equal(counts(f)->rx_packets, 1);
}

/* 256 buffers of 12 bytes: as many segments as we take. */
static void a_frame_larger_than_a_full_ring_is_dropped(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	post_all(f, 12);
	send_frame(f, 1, 255 * 12 + 1);
	send_frame(f, 2, 255 * 12);
	assert_int_equal(expect_frame(f, 2, 255 * 12), 256);
	assert_int_equal(counts(f)->rx_fails, 1);
}

/* What an earlier driver had says nothing about this one. */
static void a_reset_forgets_how_many_buffers_there_were(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	post_all(f, 512);
	send_frame(f, 1, 65535);
	(void)expect_frame(f, 1, 65535);
	start_driver(f, F_ALL);
	for (uint16_t i = 0; i < 4; i++)
		post(f, i, 512);
	send_frame(f, 2, 3000);
	send_frame(f, 3, 100);
	(void)expect_frame(f, 3, 100);
	assert_int_equal(counts(f)->rx_fails, 1);
}

/* Indirect chains of many small segments: head i, `n` bytes one by one. */
static void post_crumbs(struct fixture *f, uint16_t head, uint32_t n)
{
	const uint64_t table = 0x40000 + head * 4096u;

	for (uint32_t i = 0; i < n; i++)
		put_desc(&f->rx, table, i, RX_BUF(head) + i, 1,
			 (uint16_t)(DESC_WRITE | (i < n - 1 ? DESC_NEXT : 0)),
			 (uint16_t)(i + 1));
	desc(&f->rx, head, table, n * 16, DESC_INDIRECT, 0);
	offer(&f->rx, head);
}

/* However many wait in the ring: the device does not look for ever. */
static void a_frame_for_too_many_segments_is_dropped(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 10; i++)
		post(f, i, 128);
	send_frame(f, 1, 1268);
	assert_int_equal(expect_frame(f, 1, 1268), 10);
	for (uint16_t i = 0; i < 5; i++)
		post_crumbs(f, i, 200);
	kick_queue(f, NET_RX);
	send_frame(f, 2, 900);
	send_frame(f, 3, 300);
	assert_int_equal(expect_frame(f, 3, 300), 2);
	assert_int_equal(counts(f)->rx_fails, 1);
}

/*
 * As Linux does with half of its ring: the driver gives buffers back when many
 * are used, and the device has used too few of them for that. It must neither
 * wait for ever nor every time.
 */
static void a_frame_does_not_wait_for_ever(void **state)
{
	struct fixture *f = *state;
	uint64_t start;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 512);
	send_frame(f, 1, 7 * 512 - 12);
	assert_int_equal(expect_frame(f, 1, 7 * 512 - 12), 7);
	for (uint16_t i = 0; i < 3; i++)
		post(f, i, 512);
	send_frame(f, 2, 3000);
	start = clock_now_ns();
	while (try_send(f, 3, 100)) /* that more arrives makes no difference */
		;
	(void)expect_frame(f, 3, 100);
	assert_in_range(clock_now_ns() - start, NS_PER_S - 10 * NS_PER_MS,
			2 * NS_PER_S);
	assert_int_equal(counts(f)->rx_fails, 1);
	for (uint16_t i = 0; i < 3; i++)
		(void)expect_frame(f, 3, 100);
	while (recv(f->tap, &start, sizeof(start), 0) > 0)
		;
	send_frame(f, 4, 3000);
	send_frame(f, 5, 100);
	for (uint16_t i = 0; i < 4; i++)
		post(f, i, 512);
	start = clock_now_ns();
	kick_queue(f, NET_RX);
	(void)expect_frame(f, 5, 100);
	assert_true(clock_now_ns() - start < NS_PER_S / 2);
	assert_int_equal(counts(f)->rx_fails, 2);
}

/* A pause takes none of the driver's time. */
static void a_pause_begins_the_wait_anew(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 512);
	send_frame(f, 1, 7 * 512 - 12);
	(void)expect_frame(f, 1, 7 * 512 - 12);
	send_frame(f, 2, 3000);
	until(f, f->net->rx.patience.armed);
	virtio_pause(dev(f), net_paused);
	turns(f, 3);
	assert_false(f->net->rx.patience.armed);
	for (uint16_t i = 0; i < 7; i++)
		post(f, i, 512);
	virtio_resume(dev(f));
	(void)expect_frame(f, 2, 3000);
	assert_false(f->net->rx.patience.armed);
}

static void send_asking(struct fixture *f, uint8_t flags, uint8_t gso_type,
			uint32_t seq)
{
	const struct net_hdr h = {.flags = flags, .gso_type = gso_type};
	uint8_t buf[NET_HDR_BYTES + 100];

	memcpy(buf, &h, sizeof(h));
	fill_frame(buf + NET_HDR_BYTES, seq, 100);
	assert_int_equal(send(f->peer, buf, sizeof(buf), 0), sizeof(buf));
}

/* A TAP keeps what it got for an earlier driver, or process. */
static void frames_for_a_driver_that_knew_more_are_dropped(void **state)
{
	static const struct {
		unsigned int feature;
		uint8_t flags, gso_type;
	} cases[] = {
		{NET_F_GUEST_CSUM, NET_HDR_F_NEEDS_CSUM, NET_GSO_NONE},
		{NET_F_GUEST_TSO4, NET_HDR_F_NEEDS_CSUM, NET_GSO_TCPV4},
		{NET_F_GUEST_TSO6, NET_HDR_F_NEEDS_CSUM, NET_GSO_TCPV6},
		{NET_F_GUEST_UFO, NET_HDR_F_NEEDS_CSUM, NET_GSO_UDP},
	};
	struct fixture *f = *state;

	make(f, nothing);
	for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (uint32_t k = 0; k < ARRAY_LEN(cases); k++)
			send_asking(f, cases[k].flags, cases[k].gso_type, k);
		send_asking(f, 0, 99, 8);
		send_asking(f, 0, NET_GSO_NONE, 9);
		start_driver(f, F_ALL & ~VIRTIO_FEATURE(cases[i].feature));
		for (uint16_t n = 0; n < 8; n++)
			post(f, n, 2048);
		kick_queue(f, NET_RX);
		for (uint32_t k = 0; k < ARRAY_LEN(cases); k++)
			if (i != 0 && k != i)
				(void)expect_frame(f, k, 100);
		(void)expect_frame(f, 9, 100);
		turns(f, 3);
		assert_false(f->net->rx.stale || used_waits(&f->rx));
		start_driver(f, F_ALL);
	}
}

static void frames_that_are_too_long_for_a_buffer_are_dropped(void **state)
{
	static const size_t sizes[] = {1515,  1516,  4096,  65535,
				       65550, 65554, 65555, 70000};
	struct fixture *f = *state;
	uint8_t *after;

	attach(f, nothing, F_ALL & ~F_BIT(MRG_RXBUF));
	post(f, 0, 1514 + 12);
	post(f, 1, 1514 + 12);
	after = ram(&f->rx, RX_BUF(0) + 1526, 0x10000);
	memset(after, 0xaa, 0x10000);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		send_frame(f, 9, sizes[i]);
		until(f, counts(f)->rx_fails == i + 1);
	}
	assert_false(used_waits(&f->rx));
	for (size_t i = 0; i < 0x10000; i++)
		assert_int_equal(after[i], 0xaa);
	send_frame(f, 1, 1514);
	send_frame(f, 2, 14);
	(void)expect_frame(f, 1, 1514);
	(void)expect_frame(f, 2, 14);
}

static void frames_beyond_the_largest_are_dropped(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 64; i++)
		post(f, i, 0x10000);
	send_frame(f, 1, NET_FRAME_MAX + 1);
	send_frame(f, 2, 90000);
	send_frame(f, 3, NET_FRAME_MAX);
	assert_int_equal(expect_frame(f, 3, NET_FRAME_MAX), 2);
	assert_int_equal(counts(f)->rx_fails, 2);
}

static void frames_shorter_than_their_headers_are_dropped(void **state)
{
	static const uint8_t zero[64];
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	post(f, 0, 1536);
	for (size_t len = 1; len < 26; len++)
		assert_int_equal(send(f->peer, zero, len, 0), len);
	until(f, counts(f)->rx_fails == 25);
	assert_false(used_waits(&f->rx));
	send_frame(f, 1, 14);
	(void)expect_frame(f, 1, 14);
}

/* ---- what a driver must not do ---- */

static void refuses(struct fixture *f)
{
	kick_queue(f, NET_RX);
	send_frame(f, 1, 100);
	until(f, needs_reset(f));
	turns(f, 3);
	assert_false(used_waits(&f->rx));
	/* Nothing more until the driver resets the device. */
	turns(f, 3);
	start_driver(f, F_ALL);
	assert_false(needs_reset(f));
	post(f, 7, 1536);
	kick_queue(f, NET_RX);
	send_frame(f, 2, 50);
	until(f, used_waits(&f->rx));
	/* The first may have been read before. */
	while (used_waits(&f->rx)) {
		uint8_t buf[2000];

		(void)take_frame(f, buf, NULL);
	}
}

static void short_buffers_break_the_queue(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (uint32_t len = 0; len < 12; len += len == 1 ? 10 : 1) {
		desc(&f->rx, 0, RX_BUF(0), len, DESC_WRITE, 0);
		offer(&f->rx, 0);
		refuses(f);
	}
}

static void readable_buffers_break_the_queue(void **state)
{
	struct fixture *f = *state;
	uint8_t *p;

	attach(f, nothing, F_ALL);
	p = ram(&f->rx, RX_BUF(0), 2000);
	memset(p, 0xaa, 2000);
	desc(&f->rx, 0, RX_BUF(0), 2000, 0, 0);
	offer(&f->rx, 0);
	refuses(f);
	desc(&f->rx, 0, RX_BUF(0), 1000, DESC_NEXT, 1);
	desc(&f->rx, 1, RX_BUF(1), 1000, DESC_WRITE, 0);
	offer(&f->rx, 0);
	refuses(f);
	desc(&f->rx, 0, RX_BUF(0), 1000, DESC_WRITE | DESC_NEXT, 1);
	desc(&f->rx, 1, RX_BUF(0) + 1000, 1000, 0, 0);
	offer(&f->rx, 0);
	refuses(f);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(p[i], 0xaa);
}

/* The middle buffer of a frame is bad: none of them is given back. */
static void a_bad_buffer_in_the_middle_of_a_frame_publishes_none(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	post(f, 0, 500);
	desc(&f->rx, 1, RX_BUF(1), 5, DESC_WRITE, 0);
	offer(&f->rx, 1);
	post(f, 2, 500);
	send_frame(f, 1, 900);
	refuses(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_frame_larger_than_all_buffers_is_dropped),
		BOTH(a_frame_larger_than_a_full_ring_is_dropped),
		BOTH(a_reset_forgets_how_many_buffers_there_were),
		BOTH(a_frame_for_too_many_segments_is_dropped),
		BOTH(a_frame_does_not_wait_for_ever),
		BOTH(a_pause_begins_the_wait_anew),
		BOTH(frames_for_a_driver_that_knew_more_are_dropped),
		BOTH(frames_that_are_too_long_for_a_buffer_are_dropped),
		BOTH(frames_beyond_the_largest_are_dropped),
		BOTH(frames_shorter_than_their_headers_are_dropped),
		BOTH(short_buffers_break_the_queue),
		BOTH(readable_buffers_break_the_queue),
		BOTH(a_bad_buffer_in_the_middle_of_a_frame_publishes_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
