/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/virtio/net_fixture.h"

static struct mmds service;
static const struct net_config with_mmds = {.mmds = &service};

static uint64_t offered(struct fixture *f)
{
	uint64_t low;

	reg_write(&f->rx, 0x14, 0);
	low = reg_read(&f->rx, 0x10);
	reg_write(&f->rx, 0x14, 1);
	return low | (uint64_t)reg_read(&f->rx, 0x10) << 32;
}

/* ---- what the driver is told ---- */

static void features_are_those_of_the_contract(void **state)
{
	struct fixture *f = *state;
	const uint64_t always =
		F_PLAIN | F_BIT(CSUM) | F_BIT(GUEST_CSUM) | F_BIT(GUEST_TSO4) |
		F_BIT(GUEST_TSO6) | F_BIT(GUEST_UFO) | F_BIT(HOST_TSO4) |
		F_BIT(HOST_TSO6) | F_BIT(HOST_UFO) | F_BIT(MRG_RXBUF);

	make(f, nothing);
	assert_int_equal(reg_read(&f->rx, 0x08), 1);
	assert_int_equal(offered(f), always);
	stop_net(f);
	make(f, (struct net_config){.has_mac = true, .has_mtu = true});
	assert_int_equal(offered(f), always | F_BIT(MAC) | F_BIT(MTU));
}

static void mac_and_mtu_are_in_the_config_space(void **state)
{
	static const uint8_t expected[12] = {6, 0, 0xac, 0x10, 0,    2,
					     0, 0, 0,	 0,    0x28, 0x23};
	struct fixture *f = *state;
	uint8_t space[12];

	make(f, (struct net_config){.has_mac = true,
				    .mac = {6, 0, 0xac, 0x10, 0, 2},
				    .has_mtu = true,
				    .mtu = 9000});
	for (uint32_t i = 0; i < 12; i += 4) {
		uint32_t v = reg_read(&f->rx, 0x100 + i);

		memcpy(space + i, &v, 4);
	}
	assert_memory_equal(space, expected, 12);
}

static void offloads_of_the_tap_are_those_negotiated(void **state)
{
	struct fixture *f = *state;
	const uint64_t some = F_PLAIN | F_BIT(GUEST_CSUM) | F_BIT(GUEST_TSO6);

	make(f, nothing);
	assert_int_equal(fake_tap.calls, 0);
	start_driver(f, some);
	assert_int_equal(fake_tap.calls, 1);
	assert_int_equal(fake_tap.features, some);
	start_driver(f, F_PLAIN);
	assert_int_equal(fake_tap.calls, 2);
	assert_int_equal(fake_tap.features, F_PLAIN);
}

static void a_tap_that_refuses_offloads_fails_the_start(void **state)
{
	struct fixture *f = *state;

	make(f, nothing);
	fake_tap.ret = -EBADFD;
	start_driver(f, F_ALL);
	assert_true(needs_reset(f));
	assert_int_equal(counts(f)->activate_fails, 1);
	turns(f, 3);
	fake_tap.ret = 0;
	start_driver(f, F_ALL);
	assert_false(needs_reset(f));
}

static void a_foreign_source_address_is_counted(void **state)
{
	struct fixture *f = *state;
	struct net_config cfg = {.has_mac = true};
	uint8_t buf[200], *p;

	fill_frame(buf, 5, 60);
	memcpy(cfg.mac, buf + 6, 6);
	attach(f, cfg, F_ALL);
	transmit(f, 0, &plain_hdr, 5, 60);
	expect_sent(f, 0);
	assert_int_equal(counts(f)->tx_spoofed_mac, 0);
	for (unsigned int i = 0; i < 6; i++) {
		put_tx(f, 0, &plain_hdr, 5, 60);
		p = ram(&f->rx, TX_BUF + 12 + 6, 6);
		p[i] ^= 1;
		offer(&f->tx, 0);
		kick_queue(f, NET_TX);
		expect_sent(f, 0);
		assert_int_equal(counts(f)->tx_spoofed_mac, i + 1);
	}
	assert_int_equal(counts(f)->tx_packets, 7);
}

/* ---- an interface that disappears ---- */

static void a_tap_that_is_gone_harms_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t cpu;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 2048);
	send_frame(f, 1, 100);
	(void)expect_frame(f, 1, 100);
	(void)close(f->peer);
	f->peer = -1;
	until(f, counts(f)->tap_read_fails > 0);
	cpu = clock_process_cpu_us();
	turns(f, 300);
	assert_true(clock_process_cpu_us() - cpu < 100000);
	assert_true(counts(f)->tap_read_fails < 5);
	for (uint16_t i = 0; i < 100; i++) {
		transmit(f, i, &plain_hdr, i, 100);
		expect_sent(f, i);
	}
	assert_int_equal(counts(f)->tap_write_fails, 100);
	assert_false(needs_reset(f));
}

/* ---- limits ---- */

static void received_frames_wait_for_the_limiter(void **state)
{
	struct fixture *f = *state;
	uint64_t start;

	attach(f, nothing, F_ALL);
	limiter_set_ops(net_rx_limiter(f->net), 1, 0, 50);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 2048);
	kick_queue(f, NET_RX);
	start = clock_now_ns();
	for (uint32_t i = 0; i < 4; i++)
		send_frame(f, i, 100);
	for (uint32_t i = 0; i < 4; i++) {
		(void)expect_frame(f, i, 100);
		assert_true(clock_now_ns() - start >= i * 50 * NS_PER_MS);
	}
	assert_int_equal(net_rx_limiter(f->net)->throttled, 3);
	/* Lifted while one waits. */
	limiter_set_bandwidth(net_rx_limiter(f->net), 1, 0, 1000000);
	limiter_set_ops(net_rx_limiter(f->net), 0, 0, 0);
	send_frame(f, 4, 1000);
	turns(f, 5);
	assert_false(used_waits(&f->rx));
	limiter_set_bandwidth(net_rx_limiter(f->net), 0, 0, 0);
	(void)expect_frame(f, 4, 1000);
	assert_int_equal(counts(f)->rx_bytes, 1400);
}

static void sent_frames_wait_for_the_limiter(void **state)
{
	struct fixture *f = *state;
	uint64_t start;
	uint8_t buf[2000];

	attach(f, nothing, F_ALL);
	limiter_set_bandwidth(net_tx_limiter(f->net), 1000, 0, 50);
	start = clock_now_ns();
	for (uint16_t i = 0; i < 4; i++)
		transmit(f, i, &plain_hdr, i, 1000);
	for (uint16_t i = 0; i < 4; i++) {
		expect_sent(f, i);
		assert_true(clock_now_ns() - start >= i * 50 * NS_PER_MS);
		assert_int_equal(receive(f, buf, sizeof(buf)), 1012);
		assert_true(is_frame(buf + 12, i, 1000));
	}
	assert_int_equal(net_tx_limiter(f->net)->throttled, 3);
	assert_true(counts(f)->tx_remaining >= 3);
}

/* ---- pause and reset ---- */

static void pause_net(struct fixture *f)
{
	virtio_pause(dev(f), net_paused);
	assert_null(dev(f)->pause_done);
}

static void nothing_moves_during_a_pause(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2000];

	attach(f, with_mmds, F_ALL);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 2048);
	pause_net(f);
	assert_int_equal(fake_mmds.pauses, 1);
	send_frame(f, 1, 500);
	transmit(f, 0, &plain_hdr, 2, 500);
	mmds_hands_out(100);
	turns(f, 5);
	assert_false(used_waits(&f->rx));
	assert_false(used_waits(&f->tx));
	assert_int_equal(receive(f, buf, sizeof(buf)), -1);
	assert_int_equal(fake_mmds.resumes, 0);
	virtio_resume(dev(f));
	assert_true(fake_mmds.resumes > 0);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), 512);
	until(f, used_waits(&f->rx));
	assert_int_equal(take_frame(f, buf, NULL), 100);
	(void)expect_frame(f, 1, 500);
}

/* A frame that was read but not paid, or lacks room, is not lost. */
static void a_frame_that_waits_survives_a_pause(void **state)
{
	struct fixture *f = *state;
	uint8_t *p;

	attach(f, nothing, F_ALL);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 512);
	send_frame(f, 0, 4000);
	(void)expect_frame(f, 0, 4000);
	for (uint16_t i = 0; i < 4; i++)
		post(f, i, 512);
	send_frame(f, 1, 3000);
	send_frame(f, 2, 14);
	turns(f, 4);
	/* The popped buffers are the guest's again. */
	pause_net(f);
	assert_int_equal(dev(f)->queue[NET_RX].last_avail, 8);
	p = ram(&f->rx, RX_BUF(0), 512);
	memset(p, 0xaa, 512);
	for (uint16_t i = 4; i < 8; i++)
		post(f, i, 512);
	turns(f, 2);
	assert_false(used_waits(&f->rx));
	limiter_set_ops(net_rx_limiter(f->net), 1, 0, 100);
	virtio_resume(dev(f));
	assert_int_equal(expect_frame(f, 1, 3000), 6);
	turns(f, 2);
	assert_false(used_waits(&f->rx)); /* number 2 waits for its token */
	pause_net(f);
	assert_int_equal(dev(f)->queue[NET_RX].last_avail, 14);
	turns(f, 150);
	assert_false(used_waits(&f->rx));
	virtio_resume(dev(f));
	turns(f, 5); /* its time stood still */
	assert_false(used_waits(&f->rx));
	(void)expect_frame(f, 2, 14);
	assert_int_equal(counts(f)->rx_fails, 0);
}

static void a_reset_gives_everything_up(void **state)
{
	struct fixture *f = *state;

	attach(f, with_mmds, F_ALL);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 512);
	limiter_set_ops(net_rx_limiter(f->net), 1, 0, 3600000);
	kick_queue(f, NET_RX);
	send_frame(f, 1, 100);
	send_frame(f, 2, 100);
	(void)expect_frame(f, 1, 100);
	turns(f, 2);
	assert_true(net_rx_limiter(f->net)->waiting);
	start_driver(f, F_ALL & ~F_BIT(MRG_RXBUF));
	assert_int_equal(fake_mmds.resets, 1);
	assert_int_equal(counts(f)->rx_fails, 1);
	assert_false(net_rx_limiter(f->net)->waiting);
	limiter_set_ops(net_rx_limiter(f->net), 0, 0, 0);
	for (uint16_t i = 0; i < 8; i++)
		post(f, i, 512);
	send_frame(f, 3, 100);
	kick_queue(f, NET_RX);
	(void)expect_frame(f, 3, 100);
}

static void a_device_that_stops_is_left_alone(void **state)
{
	struct fixture *f = *state;

	attach(f, with_mmds, F_ALL);
	post(f, 0, 2048);
	send_frame(f, 1, 100);
	transmit(f, 0, &plain_hdr, 1, 100);
	mmds_hands_out(60);
	stop_net(f);
	turns(f, 3);
	assert_false(used_waits(&f->tx));
	assert_false(used_waits(&f->rx));
}

/* ---- the metadata service ---- */

/* Frame seq for the service, in descriptor i, cut after `cut` bytes. */
static void ask(struct fixture *f, const struct net_hdr *h, uint16_t i,
		size_t len, uint32_t cut)
{
	uint64_t gpa = TX_BUF + (uint64_t)i * 0x11000;
	uint8_t *p;

	put_tx(f, i, h, 1, len);
	p = ram(&f->rx, gpa + 12, 1);
	*p = 7;
	desc(&f->tx, i, gpa, cut, DESC_NEXT, (uint16_t)(i + 1));
	desc(&f->tx, i + 1u, gpa + cut, (uint32_t)(12 + len) - cut, 0, 0);
	offer(&f->tx, i);
	kick_queue(f, NET_TX);
	expect_sent(f, i);
}

static void its_frames_never_reach_the_tap(void **state)
{
	static const size_t sizes[] = {14, 41, 42, 43, 60, 1514, 65554};
	struct fixture *f = *state;
	uint8_t buf[2000];

	attach(f, with_mmds, F_ALL);
	limiter_set_ops(net_tx_limiter(f->net), 1, 0, 3600000);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t len = sizes[i];

		ask(f, &plain_hdr, 0, len, i % 2 ? 13 : 25);
		assert_int_equal(fake_mmds.inputs, i + 1);
		assert_int_equal(fake_mmds.in_len, len);
		assert_true(fake_mmds.checked);
		assert_int_equal(fake_mmds.in[0], 7);
		fake_mmds.in[0] = 2;
		assert_true(is_frame(fake_mmds.in, 1, len));
	}
	ask(f, &(struct net_hdr){.flags = 1}, 0, 60, 20);
	assert_false(fake_mmds.checked);
	assert_int_equal(receive(f, buf, sizeof(buf)), -1);
	assert_int_equal(counts(f)->tx_packets, 0);
	/* Its own are the TAP's. */
	transmit(f, 0, &plain_hdr, 2, 60);
	expect_sent(f, 0);
	assert_int_equal(receive(f, buf, sizeof(buf)), 72);
	assert_int_equal(fake_mmds.inputs, 8);
}

static void its_answers_go_first_and_free(void **state)
{
	static const uint8_t zero[10];
	struct fixture *f = *state;
	uint8_t buf[2000];

	attach(f, with_mmds, F_ALL);
	limiter_set_bandwidth(net_rx_limiter(f->net), 100, 0, 10);
	turns(f, 2);
	fake_mmds.echo = true;
	memset(f->net->rx.spill, 0xee, 100);
	send_frame(f, 1, 100);
	ask(f, &plain_hdr, 0, 500, 12);
	ask(f, &plain_hdr, 0, 1514, 12);
	turns(f, 3);
	for (uint16_t i = 0; i < 20; i++)
		post(f, i, 200);
	kick_queue(f, NET_RX);
	until(f, used_waits(&f->rx));
	assert_memory_equal(ram(&f->rx, RX_BUF(0), 10), zero, 10);
	assert_int_equal(take_frame(f, buf, NULL), 500);
	for (int i = 0; i < 500; i++)
		assert_int_equal(buf[i], 0x77);
	until(f, used_waits(&f->rx));
	assert_int_equal(take_frame(f, buf, NULL), 1514);
	(void)expect_frame(f, 1, 100);
	assert_int_equal(counts(f)->rx_bytes, 100);
}

/* The counters are those of the TAP's frames. */
static void its_answers_that_do_not_fit_are_not_counted(void **state)
{
	struct fixture *f = *state;

	attach(f, with_mmds, F_PLAIN);
	fake_mmds.echo = true;
	post(f, 0, 200);
	ask(f, &plain_hdr, 0, 500, 12);
	turns(f, 3);
	ask(f, &plain_hdr, 0, 60, 12);
	until(f, used_waits(&f->rx));
	assert_int_equal(counts(f)->rx_fails, 0);
	send_frame(f, 1, 500);
	post(f, 1, 200);
	kick_queue(f, NET_RX);
	until(f, counts(f)->rx_fails == 1);
}

static void without_it_all_frames_are_the_taps(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[2000];

	attach(f, nothing, F_ALL);
	ask(f, &plain_hdr, 0, 60, 20);
	assert_int_equal(receive(f, buf, sizeof(buf)), 72);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(features_are_those_of_the_contract),
		BOTH(mac_and_mtu_are_in_the_config_space),
		BOTH(offloads_of_the_tap_are_those_negotiated),
		BOTH(a_tap_that_refuses_offloads_fails_the_start),
		BOTH(a_foreign_source_address_is_counted),
		BOTH(a_tap_that_is_gone_harms_nothing),
		BOTH(received_frames_wait_for_the_limiter),
		BOTH(sent_frames_wait_for_the_limiter),
		BOTH(nothing_moves_during_a_pause),
		BOTH(a_frame_that_waits_survives_a_pause),
		BOTH(a_reset_gives_everything_up),
		BOTH(a_device_that_stops_is_left_alone),
		BOTH(its_frames_never_reach_the_tap),
		BOTH(its_answers_go_first_and_free),
		BOTH(its_answers_that_do_not_fit_are_not_counted),
		BOTH(without_it_all_frames_are_the_taps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
