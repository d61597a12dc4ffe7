/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>

#include "tests/virtio/net_fixture.h"

/* A frame of 1000 bytes with that header must not reach the TAP. */
static void refused(struct fixture *f, struct net_hdr h)
{
	uint64_t before = counts(f)->tx_malformed;
	uint8_t buf[2000];

	transmit(f, 0, &h, 1, 1000);
	expect_sent(f, 0);
	assert_int_equal(counts(f)->tx_malformed, before + 1);
	assert_int_equal(receive(f, buf, sizeof(buf)), -1);
}

/* And one with that header must, unchanged. */
static void sent(struct fixture *f, struct net_hdr h)
{
	uint8_t buf[2000];

	transmit(f, 0, &h, 1, 1000);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), 1012);
	assert_memory_equal(buf, &h, sizeof(h));
	assert_true(is_frame(buf + 12, 1, 1000));
}

static void every_size_reaches_the_tap(void **state)
{
	static uint8_t buf[1 << 17];
	struct fixture *f = *state;
	uint32_t seq = 0;
	uint64_t bytes = 0;

	attach(f, nothing, F_ALL);
	for (size_t len = 14; len <= NET_FRAME_MAX; len += 1 + len / 30) {
		transmit(f, (uint16_t)(seq % 256), &plain_hdr, seq, len);
		expect_sent(f, (uint16_t)(seq % 256));
		assert_int_equal(receive(f, buf, sizeof(buf)), len + 12);
		assert_true(is_frame(buf + 12, seq, len));
		bytes += len;
		seq++;
	}
	transmit(f, 0, &plain_hdr, 1, NET_FRAME_MAX);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), NET_FRAME_MAX + 12);
	assert_int_equal(counts(f)->tx_packets, seq + 1);
	assert_int_equal(counts(f)->tx_bytes, bytes + NET_FRAME_MAX);
	assert_int_equal(counts(f)->tx_malformed, 0);
}

static void frames_too_short_or_too_long_are_dropped(void **state)
{
	static uint8_t buf[1 << 17];
	struct fixture *f = *state;
	uint64_t n = 0;

	attach(f, nothing, F_ALL);
	for (uint32_t len = 1; len < 26; len++) {
		desc(&f->tx, 3, TX_BUF, len, 0, 0);
		offer(&f->tx, 3);
		kick_queue(f, NET_TX);
		expect_sent(f, 3);
		assert_int_equal(counts(f)->tx_malformed, ++n);
	}
	desc(&f->tx, 3, TX_BUF, 12 + NET_FRAME_MAX + 1, 0, 0);
	offer(&f->tx, 3);
	desc(&f->tx, 4, TX_BUF, 7 * MIB, 0, 0);
	offer(&f->tx, 4);
	kick_queue(f, NET_TX);
	expect_sent(f, 3);
	expect_sent(f, 4);
	assert_int_equal(counts(f)->tx_malformed, n + 2);
	assert_int_equal(receive(f, buf, sizeof(buf)), -1);
}

/* Neither read from nor written to. */
static void writable_parts_make_a_frame_malformed(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2000], *p;

	attach(f, nothing, F_ALL);
	p = ram(&f->rx, TX_BUF + 0x1000, 1000);
	memset(p, 0xaa, 1000);
	desc(&f->tx, 0, TX_BUF, 100, DESC_NEXT, 1);
	desc(&f->tx, 1, TX_BUF + 0x1000, 1000, DESC_WRITE, 0);
	offer(&f->tx, 0);
	desc(&f->tx, 2, TX_BUF + 0x1000, 1000, DESC_WRITE, 0);
	offer(&f->tx, 2);
	kick_queue(f, NET_TX);
	expect_sent(f, 0);
	expect_sent(f, 2);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(p[i], 0xaa);
	assert_int_equal(counts(f)->tx_malformed, 2);
	assert_int_equal(receive(f, buf, sizeof(buf)), -1);
}

static void breaks(struct fixture *f)
{
	kick_queue(f, NET_TX);
	until(f, needs_reset(f));
	turns(f, 2);
	assert_false(used_waits(&f->tx));
	start_driver(f, F_ALL);
	sent(f, plain_hdr);
}

static void chains_against_the_rules_break_the_queue(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (int at = 0; at < 3; at++) { /* a segment of no bytes */
		for (uint16_t i = 0; i < 3; i++)
			desc(&f->tx, i, TX_BUF, i == at ? 0 : 40,
			     i < 2 ? DESC_NEXT : 0, (uint16_t)(i + 1));
		offer(&f->tx, 0);
		breaks(f);
	}
	/* writable before readable */
	desc(&f->tx, 0, TX_BUF, 40, DESC_WRITE | DESC_NEXT, 1);
	desc(&f->tx, 1, TX_BUF, 40, 0, 0);
	offer(&f->tx, 0);
	breaks(f);
	/* beyond RAM */
	desc(&f->tx, 0, RAM_BYTES - 20, 40, 0, 0);
	offer(&f->tx, 0);
	breaks(f);
	assert_int_equal(counts(f)->tx_fails, 5);
}

/* Header and frame may lie in any number of segments. */
static void frames_may_be_cut_anywhere(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2000];

	attach(f, nothing, F_ALL);
	put_tx(f, 0, &plain_hdr, 1, 300);
	for (uint32_t cut = 1; cut < 80; cut++) {
		desc(&f->tx, 0, TX_BUF, cut, DESC_NEXT, 1);
		desc(&f->tx, 1, TX_BUF + cut, 7, DESC_NEXT, 2);
		desc(&f->tx, 2, TX_BUF + cut + 7, 305 - cut, 0, 0);
		offer(&f->tx, 0);
		kick_queue(f, NET_TX);
		expect_sent(f, 0);
		assert_int_equal(receive(f, buf, sizeof(buf)), 312);
		assert_true(is_frame(buf + 12, 1, 300));
	}
	/* As many as there can be. */
	for (uint32_t i = 0; i < 256; i++)
		put_desc(&f->tx, 0x8000, i, TX_BUF + i, i == 255 ? 57 : 1,
			 i == 255 ? 0 : DESC_NEXT, (uint16_t)(i + 1));
	desc(&f->tx, 0, TX_RING + 0x8000, 4096, DESC_INDIRECT, 0);
	offer(&f->tx, 0);
	kick_queue(f, NET_TX);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), 312);
	assert_true(is_frame(buf + 12, 1, 300));
}

/* ---- the header ---- */

static void checksum_fields_must_lie_in_the_frame(void **state)
{
	static const uint16_t values[] = {0,	 1,	14,	34,	997,
					  998,	 999,	1000,	1001,	1012,
					  10000, 32767, 0x8000, 0xfffe, 0xffff};
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		for (size_t k = 0; k < ARRAY_LEN(values); k++) {
			struct net_hdr h = {.flags = 1,
					    .csum_start = values[i],
					    .csum_offset = values[k]};

			if (values[i] + values[k] + 2 <= 1000)
				sent(f, h);
			else
				refused(f, h);
			h.flags = 0; /* then they mean nothing */
			sent(f, h);
		}
	}
	for (uint16_t len = 999; len < 1003; len++) {
		struct net_hdr h = {.hdr_len = len};

		if (len <= 1000)
			sent(f, h);
		else
			refused(f, h);
	}
	refused(f, (struct net_hdr){.hdr_len = 0xffff});
}

static void offloads_must_be_negotiated(void **state)
{
	static const struct {
		uint8_t type;
		uint64_t feature;
	} all[] = {
		{1, F_BIT(HOST_TSO4)},
		{4, F_BIT(HOST_TSO6)},
		{3, F_BIT(HOST_UFO)},
	};
	struct fixture *f = *state;
	struct net_hdr h = {.flags = 1,
			    .hdr_len = 54,
			    .gso_size = 500,
			    .csum_start = 34,
			    .csum_offset = 16};

	make(f, nothing);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		h.gso_type = all[i].type;
		start_driver(f, F_PLAIN | F_BIT(CSUM) | all[i].feature);
		sent(f, h);
		start_driver(f, F_PLAIN | F_BIT(CSUM));
		refused(f, h);
		start_driver(f, F_ALL & ~F_BIT(CSUM));
		refused(f, h);
	}
	start_driver(f, F_PLAIN);
	h.gso_type = 0;
	refused(f, h);
	h.flags = 0;
	sent(f, h);
}

static void segmentation_fields_must_make_sense(void **state)
{
	struct fixture *f = *state;
	const struct net_hdr good = {
		.flags = 1, .gso_type = 1, .gso_size = 1, .hdr_len = 1000};
	struct net_hdr h = good;

	attach(f, nothing, F_ALL);
	sent(f, good);
	h.gso_size = 0xffff;
	sent(f, h);
	h.gso_size = 0;
	refused(f, h);
	h = good;
	h.flags = 0;
	refused(f, h);
	h = good;
	for (unsigned int type = 0; type < 256; type++) {
		h.gso_type = (uint8_t)type;
		if (type == 0 || type == 1 || type == 3 || type == 4)
			sent(f, h);
		else
			refused(f, h);
	}
}

/* Flags that a device says, not a driver, are none of the TAP's business. */
static void unknown_flags_are_left_out(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2000];

	attach(f, nothing, F_ALL);
	transmit(f, 0, &(struct net_hdr){.flags = 0xff, .csum_start = 100}, 1,
		 1000);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), 1012);
	assert_int_equal(buf[0], 1);
	transmit(f, 0, &(struct net_hdr){.flags = 0xfe, .csum_start = 9999}, 1,
		 1000);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), 1012);
	assert_int_equal(buf[0], 0);
}

/* ---- the TAP ---- */

/* Nothing waits: what was sent is written, or counted as not written. */
static void a_full_tap_drops_and_counts(void **state)
{
	struct fixture *f = *state;
	uint64_t got = 0, total = 0;
	uint8_t buf[2000];
	uint32_t head, len;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 256; i++)
		put_tx(f, i, &plain_hdr, i, 1500);
	for (int round = 0; round < 8; round++) {
		for (uint16_t i = 0; i < 256; i++, total++)
			offer(&f->tx, i);
		kick_queue(f, NET_TX);
		for (uint16_t i = 0; i < 256; i++)
			until(f, take_used(&f->tx, &head, &len));
	}
	while (receive(f, buf, sizeof(buf)) > 0)
		got++;
	assert_true(got > 0 && got < total);
	assert_int_equal(counts(f)->tx_packets, got);
	assert_int_equal(counts(f)->tap_write_fails, total - got);
	/* And on it goes. */
	sent(f, plain_hdr);
}

static void the_time_of_writes_is_counted(void **state)
{
	struct fixture *f = *state;

	attach(f, nothing, F_ALL);
	for (int i = 0; i < 100; i++)
		sent(f, plain_hdr);
	assert_true(counts(f)->tap_write_min_us <= counts(f)->tap_write_max_us);
	assert_true(counts(f)->tap_write_sum_us >= counts(f)->tap_write_max_us);
	assert_true(counts(f)->tap_write_sum_us <=
		    100 * counts(f)->tap_write_max_us);
}

/* ---- batches ---- */

static void one_interrupt_tells_of_many_frames(void **state)
{
	struct fixture *f = *state;
	uint32_t head, len;

	attach(f, nothing, F_ALL & ~VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX));
	(void)irqs(f);
	for (uint16_t i = 0; i < NET_TURN_FRAMES; i++) {
		put_tx(f, i, &plain_hdr, i, 60);
		stage(&f->tx, i);
	}
	publish(&f->tx);
	kick_queue(f, NET_TX);
	for (uint16_t i = 0; i < NET_TURN_FRAMES; i++)
		until(f, take_used(&f->tx, &head, &len));
	turns(f, 3);
	assert_int_equal(irqs(f), 1);
}

static void a_turn_moves_no_more_than_its_budget(void **state)
{
	static uint8_t buf[1 << 17];
	struct fixture *f = *state;
	unsigned int n = 0;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 200; i++) {
		put_tx(f, i, &plain_hdr, i, i < 20 ? 65535 : 60);
		offer(&f->tx, i);
	}
	kick_queue(f, NET_TX);
	while (n < 200) {
		uint32_t head, len;
		unsigned int now = 0;

		turn(f);
		while (take_used(&f->tx, &head, &len))
			now++;
		while (receive(f, buf, sizeof(buf)) > 0)
			;
		assert_true(now <= (n < 9 ? 9 : NET_TURN_FRAMES));
		n += now;
	}
	assert_int_equal(counts(f)->tx_packets + counts(f)->tap_write_fails,
			 200);
	assert_true(counts(f)->tx_remaining > 2);
}

static size_t open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void malformed_frames_leak_nothing(void **state)
{
	struct fixture *f = *state;
	const struct net_hdr bad = {.gso_type = 99};
	size_t fds;

	attach(f, nothing, F_ALL);
	fds = open_fds();
	for (uint16_t i = 0; i < 256; i++)
		put_tx(f, i, &bad, i, 100 + i);
	for (int round = 0; round < 4000; round++) {
		uint32_t head, len;

		for (uint16_t i = 0; i < 256; i++)
			stage(&f->tx, i);
		publish(&f->tx);
		kick_queue(f, NET_TX);
		for (uint16_t i = 0; i < 256; i++)
			until(f, take_used(&f->tx, &head, &len));
	}
	assert_int_equal(counts(f)->tx_malformed, 4000 * 256);
	assert_int_equal(open_fds(), fds);
	sent(f, plain_hdr);
}

/* ---- a guest that changes what it sends ---- */

struct flipper {
	uint8_t *byte;
	bool stop; /* atomic */
};

static void *flip(void *arg)
{
	struct flipper *fl = arg;

	for (uint8_t i = 0; !__atomic_load_n(&fl->stop, __ATOMIC_RELAXED); i++)
		__atomic_store_n(fl->byte, i & 1 ? 99 : 0, __ATOMIC_RELAXED);
	return NULL;
}

/* A kind of segments that is none comes and goes; no TAP ever sees it. */
static void what_was_checked_is_sent(void **state)
{
	struct fixture *f = *state;
	struct flipper fl = {0};
	uint8_t buf[2000] = {0};
	pthread_t thread;
	uint64_t n = 0;

	attach(f, nothing, F_ALL);
	put_tx(f, 0, &plain_hdr, 1, 100);
	fl.byte = ram(&f->rx, TX_BUF + offsetof(struct net_hdr, gso_type), 1);
	assert_int_equal(pthread_create(&thread, NULL, flip, &fl), 0);
	while (n < 20000 || counts(f)->tx_malformed == 0 ||
	       counts(f)->tx_packets == 0) {
		offer(&f->tx, 0);
		kick_queue(f, NET_TX);
		expect_sent(f, 0);
		n++;
		while (receive(f, buf, sizeof(buf)) > 0)
			assert_int_equal(
				buf[offsetof(struct net_hdr, gso_type)], 0);
	}
	__atomic_store_n(&fl.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(counts(f)->tx_malformed + counts(f)->tx_packets, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(every_size_reaches_the_tap),
		BOTH(frames_too_short_or_too_long_are_dropped),
		BOTH(writable_parts_make_a_frame_malformed),
		BOTH(chains_against_the_rules_break_the_queue),
		BOTH(frames_may_be_cut_anywhere),
		BOTH(checksum_fields_must_lie_in_the_frame),
		BOTH(offloads_must_be_negotiated),
		BOTH(segmentation_fields_must_make_sense),
		BOTH(unknown_flags_are_left_out),
		BOTH(a_full_tap_drops_and_counts),
		BOTH(the_time_of_writes_is_counted),
		BOTH(one_interrupt_tells_of_many_frames),
		BOTH(a_turn_moves_no_more_than_its_budget),
		BOTH(malformed_frames_leak_nothing),
		BOTH(what_was_checked_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
