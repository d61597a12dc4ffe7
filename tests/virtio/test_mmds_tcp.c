/* SPDX-License-Identifier: Apache-2.0 */
/* How connections to the metadata service begin and end. */
#include "tests/virtio/mmds_peer.h"

static char buf[2 * LIMIT];

/* ---- opening ---- */

static void mss_option_is_found(void **state)
{
	static const struct {
		uint8_t opt[12];
		size_t len, mss;
	} cases[] = {
		{{0}, 0, 536},
		{{2, 4, 0, 100}, 4, 100},
		{{2, 4, 0, 1}, 4, 1},
		{{2, 4, 0, 0}, 4, 536},
		{{2, 4, 0xff, 0xff}, 4, 1460},
		{{1, 1, 1, 2, 4, 0, 99, 0}, 8, 99},
		{{8, 4, 2, 4, 2, 4, 0, 98}, 8, 98},
		{{0, 2, 4, 0, 100, 0, 0, 0}, 8, 536},
		{{3, 0, 2, 4, 0, 100, 0, 0}, 8, 536},
		{{3, 1, 2, 4, 0, 100, 0, 0}, 8, 536},
		{{3, 200, 2, 4, 0, 100, 0, 0}, 8, 536},
		{{1, 1, 1, 2}, 4, 536},
		{{1, 1, 2, 4}, 4, 536},
		{{2, 3, 0, 100}, 4, 536},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct peer p = {.port = (uint16_t)(i + 1), .window = 65535};
		struct got g;

		send_opt(&p, TCP_SYN, NULL, 0, cases[i].opt, cases[i].len);
		g = expect(TCP_SYN | TCP_ACK);
		p.seq++;
		p.ack = g.seq + 1;
		say_text(&p, ASK_LONG);
		assert_true(hear(&g));
		assert_int_equal(g.len, cases[i].mss);
		mmds_net_reset(net);
	}
}

static void syn_that_comes_again_is_answered_again(void **state)
{
	struct peer p = {.port = 7, .window = 100, .seq = 50};
	struct got a, b;

	(void)state;
	say(&p, TCP_SYN);
	a = expect(TCP_SYN | TCP_ACK);
	say(&p, TCP_SYN);
	b = expect(TCP_SYN | TCP_ACK);
	assert_int_equal(a.seq, b.seq);
	expect_silence();
	assert_int_equal(m.counts.connections_created, 1);
}

static void syn_ack_is_repeated_for_a_while(void **state)
{
	struct peer p = {.port = 7, .window = 100, .seq = 50};

	(void)state;
	say(&p, TCP_SYN);
	expect(TCP_SYN | TCP_ACK);
	for (uint64_t i = 0; i < 5; i++) {
		pass((200 * NS_PER_MS << i) - 1);
		expect_silence();
		pass(1);
		expect(TCP_SYN | TCP_ACK);
	}
	pass(80 * NS_PER_S);
	expect(TCP_RST | TCP_ACK);
	expect_silence();
	assert_int_equal(m.counts.connections_destroyed, 1);
	assert_null(loop.timer);
}

static void wrong_ack_while_opening_is_refused(void **state)
{
	struct peer p = {.port = 7, .window = 100, .seq = 50};
	struct got g;

	(void)state;
	say(&p, TCP_SYN);
	p.seq++;
	p.ack = 1234567;
	say(&p, TCP_ACK); /* before our half is even there */
	assert_int_equal(expect(TCP_RST).seq, 1234567);
	g = expect(TCP_SYN | TCP_ACK);
	p.ack = g.seq;
	say(&p, TCP_ACK);
	assert_int_equal(expect(TCP_RST).seq, g.seq);
	p.ack = g.seq + 1;
	say(&p, TCP_ACK);
	expect_silence();
	say_text(&p, ASK_SHORT);
	assert_int_equal(expect(TCP_ACK).len, 100);
}

static void segments_of_nothing_are_reset(void **state)
{
	struct peer p = {.port = 7, .seq = 50, .ack = 99};
	struct got g;

	(void)state;
	say(&p, TCP_ACK);
	assert_int_equal(expect(TCP_RST).seq, 99);
	say(&p, TCP_SYN | TCP_ACK);
	assert_int_equal(expect(TCP_RST).seq, 99);
	send_opt(&p, TCP_FIN, "abc", 3, NULL, 0);
	g = expect(TCP_RST | TCP_ACK);
	assert_int_equal(g.seq, 0);
	assert_int_equal(g.ack, 54);
	say(&p, TCP_SYN | TCP_FIN);
	assert_int_equal(expect(TCP_RST | TCP_ACK).ack, 52);
	say(&p, TCP_RST);
	say(&p, TCP_RST | TCP_ACK);
	say(&p, TCP_RST | TCP_SYN);
	expect_silence();
}

static void reset_storm_is_bounded(void **state)
{
	struct got g = {0};
	size_t n = 0;

	(void)state;
	for (uint16_t i = 0; i < 5000; i++) {
		struct peer p = {.port = i};

		say(&p, TCP_ACK);
	}
	while (hear(&g))
		n++;
	assert_int_equal(n, TCP_RESETS);
	dial(1);
}

static void flood_does_not_lock_out(void **state)
{
	struct peer p = {.port = 1, .window = 65535};
	struct peer first = dial(40000);
	struct got g = {0};

	(void)state;
	pass(10 * NS_PER_MS);
	for (uint16_t i = 1; i < 5000; i++) {
		p.port = i;
		say(&p, TCP_SYN);
		while (hear(&g))
			;
	}
	assert_int_equal(m.counts.connections_created, TCP_CONNS);
	say_text(&first, ASK_SHORT); /* what is there goes on */
	hears_short(&first);
	p.port = 6000;
	say(&p, TCP_SYN);
	expect_silence(); /* dropped, so that it comes again */
	pass(NS_PER_S);
	while (hear(&g))
		;
	say(&p, TCP_SYN);
	assert_int_equal(expect(TCP_RST | TCP_ACK).port, 1);
	assert_int_equal(expect(TCP_SYN | TCP_ACK).port, 6000);
	assert_int_equal(m.counts.connections_destroyed, 1);
	say_text(&first, ASK_SHORT);
	while (hear(&g) && g.port != 40000)
		;
	assert_int_equal(g.port, 40000);
}

static void silent_connection_makes_room(void **state)
{
	struct peer p[TCP_CONNS], late = {.port = 99, .window = 1};
	struct got g;

	(void)state;
	for (uint16_t i = 0; i < TCP_CONNS; i++) {
		p[i] = dial((uint16_t)(100 + i));
		pass(NS_PER_MS);
	}
	say_text(&p[0], ASK_SHORT); /* so the second is the oldest */
	hears_short(&p[0]);
	pass(5 * NS_PER_S - TCP_CONNS * NS_PER_MS);
	say(&late, TCP_SYN);
	expect_silence();
	pass(NS_PER_MS);
	say(&late, TCP_SYN);
	g = expect(TCP_RST | TCP_ACK);
	assert_int_equal(g.port, 101);
	assert_int_equal(g.seq, p[1].ack);
	assert_int_equal(expect(TCP_SYN | TCP_ACK).port, 99);
	say(&late, TCP_SYN); /* there already */
	expect(TCP_SYN | TCP_ACK);
	say_text(&p[0], ASK_SHORT);
	hears_short(&p[0]);
	assert_int_equal(m.counts.connections_destroyed, 1);
}

/* ---- closing ---- */

static void guest_closes(void **state)
{
	struct peer p = dial(1);

	(void)state;
	say_text(&p, ASK_SHORT);
	hears_short(&p);
	say(&p, TCP_FIN | TCP_ACK);
	p.seq++;
	assert_int_equal(expect(TCP_FIN | TCP_ACK).ack, p.seq);
	assert_int_equal(m.counts.connections_destroyed, 0);
	pass(200 * NS_PER_MS);
	expect(TCP_FIN | TCP_ACK); /* again */
	p.ack++;
	say(&p, TCP_ACK);
	expect_silence();
	assert_int_equal(m.counts.connections_destroyed, 1);
	assert_null(loop.timer);
	say(&p, TCP_ACK);
	expect(TCP_RST);
}

static void request_with_fin_is_answered_first(void **state)
{
	struct peer p = dial(1);
	struct got g;

	(void)state;
	send_opt(&p, TCP_ACK | TCP_FIN, ASK_SHORT, 19, NULL, 0);
	p.seq += 20;
	g = expect(TCP_ACK | TCP_PSH);
	assert_int_equal(g.ack, p.seq);
	p.ack += (uint32_t)g.len;
	send_opt(&p, TCP_ACK, "beyond", 6, NULL, 0);
	g = expect(TCP_FIN | TCP_ACK);
	assert_int_equal(g.ack, p.seq);
	p.ack++;
	say(&p, TCP_ACK);
	expect_silence();
	assert_int_equal(m.counts.connections_destroyed, 1);
}

static void fin_out_of_order_waits(void **state)
{
	struct peer p = dial(1), q = p;

	(void)state;
	q.seq += 19;
	say(&q, TCP_FIN | TCP_ACK);
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	say_text(&p, ASK_SHORT);
	hears_short(&p);
	say(&p, TCP_FIN | TCP_ACK);
	expect(TCP_FIN | TCP_ACK);
	say(&p, TCP_FIN | TCP_ACK); /* again */
	expect(TCP_ACK);
	p.seq++;
	p.ack++;
	say(&p, TCP_ACK);
	assert_int_equal(m.counts.connections_destroyed, 1);
}

static void fin_and_rst_at_each_state(void **state)
{
	(void)state;
	for (int flag = TCP_FIN; flag <= TCP_RST; flag += TCP_RST - TCP_FIN) {
		for (int step = 0; step < 5; step++) {
			struct peer p = {.port = 5, .window = 2000, .seq = 9};
			struct got g = {0};

			say(&p, TCP_SYN);
			p.seq++;
			if (step >= 1)
				p.ack = expect(TCP_SYN | TCP_ACK).seq + 1;
			if (step >= 2)
				say(&p, TCP_ACK);
			if (step >= 3)
				say_text(&p, ASK_LONG);
			if (step >= 4)
				p.ack += (uint32_t)expect(TCP_ACK).len;
			say(&p, (uint8_t)(flag | TCP_ACK));
			while (hear(&g))
				;
			pass(200 * NS_PER_S);
			while (hear(&g))
				;
			assert_int_equal(m.counts.connections_created,
					 m.counts.connections_destroyed);
			assert_null(loop.timer);
		}
	}
	assert_int_equal(m.counts.connections_created, 10);
}

static void reset_needs_the_right_number(void **state)
{
	struct peer p = dial(1), q = p;

	(void)state;
	q.seq = p.seq + 1;
	say(&q, TCP_RST);
	assert_int_equal(expect(TCP_ACK).ack, p.seq); /* a challenge */
	q.seq = p.seq + 2500;
	say(&q, TCP_RST);
	q.seq = p.seq - 1;
	say(&q, TCP_RST);
	expect_silence();
	say(&p, TCP_SYN);
	assert_int_equal(expect(TCP_ACK).ack, p.seq); /* another */
	assert_int_equal(m.counts.connections_destroyed, 0);
	say(&p, TCP_RST);
	expect_silence();
	assert_int_equal(m.counts.connections_destroyed, 1);
	assert_int_equal(m.counts.rx_accepted_unusual, 5);
}

/* ---- the machine ---- */

static void no_timer_runs_while_paused(void **state)
{
	struct peer p = dial(1);

	(void)state;
	say_text(&p, ASK_SHORT);
	expect(TCP_ACK | TCP_PSH);
	mmds_net_pause(net);
	mmds_net_pause(net);
	assert_null(loop.timer);
	outputs = 0;
	pass(3600 * NS_PER_S);
	say_text(&(struct peer){.port = 8}, "x");
	assert_int_equal(outputs, 0);
	assert_null(loop.timer);
	mmds_net_resume(net);
	mmds_net_resume(net);
	pass(1);
	assert_int_equal(expect(TCP_RST).port, 8);
	hears_short(&p);
	assert_null(loop.timer);
}

static void reset_forgets_everything(void **state)
{
	struct peer a = dial(1), b = dial(2);
	uint8_t f[42];

	(void)state;
	memcpy(f, arp_request, sizeof(f));
	f[41] = 0xfe;
	say_text(&a, ASK_LONG);
	say_text(&b, ASK_LONG);
	a.port = 9;
	say(&a, TCP_ACK);
	input(f, sizeof(f));
	mmds_net_reset(net);
	expect_silence();
	assert_null(loop.timer);
	assert_int_equal(m.counts.connections_destroyed, 2);
	b = dial(2);
	say_text(&b, ASK_LONG);
	is_long(buf, listen_to(&b, buf, sizeof(buf)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mss_option_is_found),
		TEST(syn_that_comes_again_is_answered_again),
		TEST(syn_ack_is_repeated_for_a_while),
		TEST(wrong_ack_while_opening_is_refused),
		TEST(segments_of_nothing_are_reset),
		TEST(reset_storm_is_bounded),
		TEST(flood_does_not_lock_out),
		TEST(silent_connection_makes_room),
		TEST(guest_closes),
		TEST(request_with_fin_is_answered_first),
		TEST(fin_out_of_order_waits),
		TEST(fin_and_rst_at_each_state),
		TEST(reset_needs_the_right_number),
		TEST(no_timer_runs_while_paused),
		TEST(reset_forgets_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
