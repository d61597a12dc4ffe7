/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/virtio/mmds_peer.h"

static char buf[2 * LIMIT];

/* ---- frames ---- */

static const uint8_t arp_request[42] =
	"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x05\x08\x06"
	"\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x05\xa9\xfe\x01\x01"
	"\0\0\0\0\0\0\xa9\xfe\xa9";

static void arp_is_answered(void **state)
{
	uint8_t f[42], out[MMDS_FRAME_MAX];

	(void)state;
	memcpy(f, arp_request, sizeof(f));
	f[41] = 0xfe;
	assert_true(mmds_net_wants(net, f, sizeof(f)));
	input(f, sizeof(f));
	assert_int_equal(outputs, 1);
	assert_int_equal(mmds_net_output(net, out), 42);
	assert_memory_equal(out,
			    "\x02\0\0\0\0\x05\x06\x01\x23\x45\x67\x01\x08\x06"
			    "\0\x01\x08\0\x06\x04\0\x02\x06\x01\x23\x45\x67\x01"
			    "\xa9\xfe\xa9\xfe\x02\0\0\0\0\x05\xa9\xfe\x01\x01",
			    42);
	assert_int_equal(mmds_net_output(net, out), 0);
	f[21] = 2; /* a reply is ours to drop */
	assert_true(mmds_net_wants(net, f, sizeof(f)));
	input(f, sizeof(f));
	assert_int_equal(mmds_net_output(net, out), 0);
}

static void only_its_own_address_is_wanted(void **state)
{
	struct peer p = {.port = 1};
	uint8_t f[128], arp[42];
	size_t len = build(f, &p, m.ipv4, TCP_SYN, NULL, 0, NULL, 0);

	(void)state;
	memcpy(arp, arp_request, sizeof(arp));
	assert_true(mmds_net_wants(net, f, len));
	assert_true(mmds_net_wants(net, f, 34));
	assert_false(mmds_net_wants(net, f, 33));
	f[33] ^= 1;
	assert_false(mmds_net_wants(net, f, len));
	f[33] ^= 1;
	f[12] = 0x86; /* IPv6 */
	assert_false(mmds_net_wants(net, f, len));
	assert_false(mmds_net_wants(net, arp, 42)); /* .0 */
	arp[41] = 0xfe;
	assert_true(mmds_net_wants(net, arp, 42));
	assert_false(mmds_net_wants(net, arp, 41));
	m.ipv4 = 0xa9fe0001;
	assert_false(mmds_net_wants(net, arp, 42));
	assert_int_equal(m.counts.rx_accepted, 0);
}

/* Send a SYN with one thing changed: it has no effect. */
static void ignored(size_t at, uint8_t value, bool checked)
{
	struct peer p = {.port = 1};
	uint8_t f[128];
	size_t len = build(f, &p, m.ipv4, TCP_SYN, NULL, 0, NULL, 0);

	f[at] = value;
	mmds_net_input(net, f, len, checked);
	expect_silence();
}

static void broken_headers_are_dropped(void **state)
{
	(void)state;
	ignored(14, 0x65, false); /* version */
	ignored(14, 0x44, false); /* header of 16 bytes */
	ignored(14, 0x4f, false); /* header of 60 bytes */
	ignored(16, 1, false);	  /* total length beyond the frame */
	ignored(17, 19, false);
	ignored(17, 39, false);	  /* cuts the TCP header */
	ignored(20, 0x20, false); /* more fragments */
	ignored(21, 1, false);	  /* a fragment */
	ignored(23, 17, false);	  /* UDP */
	ignored(37, 81, false);	  /* port */
	ignored(46, 0x40, false); /* data offset of 16 bytes */
	ignored(46, 0x60, false); /* data offset of 24 bytes */
	ignored(46, 0xf0, false);
	assert_int_equal(m.counts.rx_accepted, 13);
	assert_int_equal(m.counts.rx_accepted_err, 12);
	assert_int_equal(m.counts.rx_accepted_unusual, 1);
	assert_int_equal(m.counts.rx_count, 0);
	mmds_net_input(net, arp_request, 13, true);
	assert_int_equal(m.counts.rx_bad_eth, 1);
}

/* An IPv4 header without a length would be read as one of TCP. */
static void header_of_no_length_is_dropped(void **state)
{
	struct peer p = {.port = 1};
	uint8_t f[128], forty[40] = {0};
	size_t len = build(f, &p, m.ipv4, TCP_SYN, forty, 40, NULL, 0);

	(void)state;
	assert_int_equal(rd(f + 16, 2), 80);
	f[14] = 0x40;
	mmds_net_input(net, f, len, false);
	assert_int_equal(m.counts.rx_count, 0);
	expect_silence();
}

static void checksums_are_checked_if_they_are_there(void **state)
{
	struct peer p = {.port = 1};
	uint8_t f[128];
	size_t len = build(f, &p, m.ipv4, TCP_SYN, NULL, 0, NULL, 0);

	(void)state;
	ignored(24, 0xaa, true); /* IP */
	ignored(50, 0xaa, true); /* TCP */
	assert_int_equal(m.counts.rx_count, 0);
	f[50] = 0xaa;
	mmds_net_input(net, f, len, false);
	expect(TCP_SYN | TCP_ACK);
}

static void padding_behind_the_packet_is_ignored(void **state)
{
	struct peer p = {.port = 1, .seq = 5};
	uint8_t f[128];
	size_t len = build(f, &p, m.ipv4, TCP_SYN, NULL, 0, NULL, 0);

	(void)state;
	memset(f + len, 0xff, 6);
	input(f, len + 6);
	assert_int_equal(expect(TCP_SYN | TCP_ACK).ack, 6);
}

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

/* ---- receiving ---- */

static void request_may_come_in_pieces(void **state)
{
	struct peer p = dial(1);

	(void)state;
	for (const char *c = ASK_SHORT; *c; c++) {
		char one[2] = {*c, '\0'};

		expect_silence();
		say_text(&p, one);
		if (c[1])
			assert_int_equal(expect(TCP_ACK).ack, p.seq);
	}
	hears_short(&p);
}

static void requests_are_served_one_after_another(void **state)
{
	static const char *const lengths[] = {": 1\r", ": 51184\r", ": 1\r",
					      ": 24\r"};
	struct peer p = dial(1);
	size_t n, all = 0;
	const char *at = buf;

	(void)state;
	say_text(&p, ASK_SHORT ASK_LONG ASK_SHORT "GET /no HTTP/1.1\r\n\r\n");
	while ((n = listen_to(&p, buf + all, sizeof(buf) - all)) > 0)
		all += n;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		at = memmem(at, all - (size_t)(at - buf), "-Length", 7);
		assert_non_null(at);
		at += 7;
		assert_memory_equal(at, lengths[i], strlen(lengths[i]));
	}
	assert_int_equal(m.counts.rx_no_token, 4);
}

static void old_and_overlapping_data_count_once(void **state)
{
	struct peer p = dial(1), q;

	(void)state;
	q = p;
	say_text(&q, "GET /a HT");
	expect(TCP_ACK);
	q = p;
	say_text(&q, "GET /a HT"); /* again */
	assert_int_equal(expect(TCP_ACK).ack, p.seq + 9);
	q = p;
	q.seq += 4;
	say_text(&q, "/a HTTP/1.1\r\n\r\n"); /* overlaps */
	hears_short(&q);
}

static void data_behind_a_hole_are_dropped(void **state)
{
	struct peer p = dial(1), q;

	(void)state;
	q = p;
	q.seq += 4;
	say_text(&q, "/a HTTP/1.1\r\n\r\n");
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	expect_silence();
	q = p;
	q.seq += 2501; /* beyond the window */
	say_text(&q, "x");
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	q.seq = p.seq - 65536; /* far behind it */
	say_text(&q, "x");
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	q.seq = p.seq - 60000; /* less far */
	say_text(&q, "x");
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	q.seq = p.seq - 1; /* is anybody there? */
	say(&q, TCP_ACK);
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	say_text(&p, ASK_SHORT);
	hears_short(&p);
}

static void request_that_is_too_long_is_reset(void **state)
{
	struct peer p = dial(1);
	char request[2501];

	(void)state;
	memset(request, 'x', sizeof(request));
	memcpy(request, "GET /", 5);
	request[2499] = '\0';
	say_text(&p, request);
	assert_int_equal(expect(TCP_ACK).window, 1);
	say_text(&p, "x");
	assert_int_equal(expect(TCP_RST | TCP_ACK).ack, p.seq);
	say_text(&p, "x");
	expect(TCP_RST);
	assert_int_equal(m.counts.connections_destroyed, 1);
	p = dial(2);
	memcpy(request + 2500 - 13, " HTTP/1.1\r\n\r\n", 14);
	say_text(&p, request); /* as long as may be */
	assert_true(listen_to(&p, buf, sizeof(buf)) > 2500);
}

static void full_buffer_closes_the_window(void **state)
{
	struct peer p = dial(1), q;
	char request[3000] = "";

	(void)state;
	p.window = 0; /* so that the reply stays */
	say_text(&p, ASK_SHORT);
	assert_int_equal(expect(TCP_ACK).window, 2500);
	for (int i = 0; i < 140; i++)
		memcpy(request + i * 19L, ASK_SHORT, 20);
	say_text(&p, request);
	p.seq -= 140 * 19 - 2500;
	assert_int_equal(expect(TCP_ACK).window, 0);
	q = p;
	say_text(&q, "G"); /* a probe */
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	send_opt(&p, TCP_ACK | TCP_FIN, "x", 1, NULL, 0); /* comes too early */
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	p.window = 65535;
	say(&p, TCP_ACK);
	for (size_t n = 0, got; n < 131; n += got / 110) {
		got = listen_to(&p, buf, sizeof(buf));
		assert_true(got > 0);
	}
}

static void bad_request_ends_the_connection(void **state)
{
	struct peer p = dial(1);
	struct got g;

	(void)state;
	say_text(&p, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
		     "GET / HTTP/1.1\r\n\r\n");
	g = expect(TCP_ACK | TCP_PSH);
	assert_memory_equal(g.data, "HTTP/1.1 501", 12);
	p.ack += (uint32_t)g.len;
	say(&p, TCP_ACK);
	assert_int_equal(expect(TCP_FIN | TCP_ACK).seq, p.ack);
	p.ack++;
	say_text(&p, "more"); /* read away */
	assert_int_equal(expect(TCP_ACK).window, 2500);
	say(&p, TCP_FIN | TCP_ACK);
	assert_int_equal(expect(TCP_ACK).ack, p.seq + 1);
	assert_int_equal(m.counts.connections_destroyed, 1);
	expect_silence();
	assert_null(loop.timer);
}

/* ---- sending ---- */

static void long_reply_is_sent_within_mss_and_window(void **state)
{
	struct peer p = dial(1);
	struct got g = {0};
	size_t all = 0, seen;

	(void)state;
	p.window = 5000;
	say_text(&p, ASK_LONG);
	do {
		seen = 0;
		while (hear(&g)) {
			assert_int_equal(g.seq, p.ack);
			assert_true(g.len <= 1460);
			memcpy(buf + all, g.data, g.len);
			all += g.len;
			seen += g.len;
			p.ack += (uint32_t)g.len;
		}
		assert_true(seen <= 5000);
		say(&p, TCP_ACK);
	} while (seen > 0);
	is_long(buf, all);
	assert_null(loop.timer);
}

static void window_of_one_and_mss_of_one_work(void **state)
{
	static const uint8_t mss[4] = {2, 4, 0, 1};
	struct peer p = {.port = 3, .window = 1, .seq = 9};
	struct got g;

	(void)state;
	send_opt(&p, TCP_SYN, NULL, 0, mss, sizeof(mss));
	g = expect(TCP_SYN | TCP_ACK);
	p.seq++;
	p.ack = g.seq + 1;
	say_text(&p, ASK_LONG);
	is_long(buf, listen_to(&p, buf, sizeof(buf)));
}

/* Every third frame is lost either way. */
static void lost_segments_are_sent_again(void **state)
{
	struct peer p = dial(1);
	struct got g = {0};
	size_t all = 0;
	unsigned int frames = 0;

	(void)state;
	say_text(&p, ASK_LONG);
	do {
		while (hear(&g)) {
			if (frames++ % 3 == 1)
				continue;
			if (g.seq == p.ack) {
				memcpy(buf + all, g.data, g.len);
				all += g.len;
				p.ack += (uint32_t)g.len;
			}
			if (frames % 5 != 2)
				say(&p, TCP_ACK);
		}
		pass(400 * NS_PER_MS);
	} while (loop.timer);
	is_long(buf, all);
}

static void retries_slow_down_and_end(void **state)
{
	struct peer p = dial(1);
	uint64_t wait = 200 * NS_PER_MS, start = now;
	uint32_t seq;

	(void)state;
	say_text(&p, ASK_SHORT);
	seq = expect(TCP_ACK | TCP_PSH).seq;
	for (int i = 0; i < 15; i++) {
		pass(wait - 1);
		expect_silence();
		pass(1);
		assert_int_equal(expect(TCP_ACK | TCP_PSH).seq, seq);
		wait = MIN(2 * wait, 32 * 200 * NS_PER_MS);
	}
	pass(wait);
	expect(TCP_RST | TCP_ACK);
	assert_true(now - start < 80 * NS_PER_S);
	assert_int_equal(m.counts.connections_destroyed, 1);
	assert_null(loop.timer);
}

static void zero_window_is_probed(void **state)
{
	struct peer p = dial(1);
	struct got g;

	(void)state;
	p.window = 0;
	say_text(&p, ASK_LONG);
	expect(TCP_ACK);
	for (int i = 0; i < 3; i++) {
		pass(10 * NS_PER_S);
		g = expect(TCP_ACK);
		assert_int_equal(g.len, 1);
		assert_int_equal(g.seq, p.ack);
		expect_silence();
		say(&p, TCP_ACK); /* still 0: the byte was dropped */
		expect_silence();
	}
	p.window = 65535;
	say(&p, TCP_ACK);
	is_long(buf, listen_to(&p, buf, sizeof(buf)));
}

static void window_that_shrinks_is_obeyed(void **state)
{
	struct peer p = dial(1);
	struct got g;

	(void)state;
	say_text(&p, ASK_LONG);
	g = expect(TCP_ACK);
	p.ack += (uint32_t)g.len;
	memcpy(buf, g.data, g.len);
	p.window = 10;
	say(&p, TCP_ACK);
	assert_int_equal(expect(TCP_ACK).len, 10);
	expect_silence();
	p.window = 5; /* less than is on its way */
	say(&p, TCP_ACK);
	expect_silence();
	p.window = 60000;
	say(&p, TCP_ACK);
	pass(NS_PER_S);
	is_long(buf, g.len + listen_to(&p, buf + g.len, sizeof(buf) - g.len));
}

static void acks_of_what_was_not_sent_are_refused(void **state)
{
	struct peer p = dial(1), q;

	(void)state;
	q = p;
	q.ack += 1;
	say_text(&q, ASK_SHORT);
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	q.ack = p.ack - 65536;
	q.seq = p.seq;
	say_text(&q, ASK_SHORT);
	assert_int_equal(expect(TCP_ACK).ack, p.seq);
	expect_silence();
	send_opt(&p, TCP_PSH, "x", 1, NULL, 0); /* without ACK */
	expect_silence();
	say_text(&p, ASK_SHORT);
	hears_short(&p);
}

static void old_acks_change_nothing(void **state)
{
	struct peer p = dial(1), old;
	struct got g = {0};

	(void)state;
	p.window = 2000;
	say_text(&p, ASK_LONG);
	old = p;
	g = expect(TCP_ACK);
	p.ack += (uint32_t)g.len;
	expect(TCP_ACK);
	say(&p, TCP_ACK);
	while (hear(&g))
		;
	old.window = 65535;
	say(&old, TCP_ACK);
	expect_silence();
	old = p;
	old.window = 65535;
	old.seq = p.seq + 2501; /* nor do those out of the window */
	say(&old, TCP_ACK);
	assert_int_equal(expect(TCP_ACK).len, 0);
	old.seq = p.seq - 65536;
	say(&old, TCP_ACK);
	assert_int_equal(expect(TCP_ACK).len, 0);
	expect_silence();
}

static void ack_that_is_late_ends_sending_again(void **state)
{
	struct peer p = dial(1);
	struct got g = {0};
	size_t all = 0;

	(void)state;
	say_text(&p, ASK_LONG);
	while (hear(&g)) {
		memcpy(buf + all, g.data, g.len);
		all += g.len;
	}
	p.ack += (uint32_t)all;
	is_long(buf, all);
	pass(200 * NS_PER_MS);
	expect(TCP_ACK); /* the first of it again */
	say(&p, TCP_ACK);
	expect_silence();
	assert_null(loop.timer);
	say_text(&p, ASK_SHORT);
	hears_short(&p);
}

static void replies_take_turns(void **state)
{
	struct peer a = dial(1), b = dial(2), c = dial(3);
	size_t all = 0, n, frames = 0;

	(void)state;
	say_text(&a, ASK_LONG);
	say_text(&b, ASK_LONG); /* has to wait for a */
	say_text(&c, ASK_SHORT);
	for (struct got g = {0}; hear(&g);) {
		struct peer *p = g.port == 1 ? &a : g.port == 2 ? &b : &c;

		assert_true(g.len == 0 || g.port != 2);
		assert_true(g.port != 3 || frames == 2);
		frames++;
		assert_int_equal(g.seq, p->ack);
		if (g.port == 1)
			memcpy(buf + all, g.data, g.len);
		all += g.port == 1 ? g.len : 0;
		p->ack += (uint32_t)g.len;
	}
	is_long(buf, all);
	say(&a, TCP_ACK); /* takes the last of it: b gets its own */
	say(&c, TCP_ACK);
	n = listen_to(&b, buf, sizeof(buf));
	is_long(buf, n);
	assert_int_equal(m.counts.rx_no_token, 3);
}

static void stalled_reply_loses_its_turn(void **state)
{
	struct peer a = dial(1), b;
	struct got g = {0};

	(void)state;
	a.window = 0;
	say_text(&a, ASK_LONG);
	expect(TCP_ACK);
	pass(30 * NS_PER_S); /* as long as nobody else wants one */
	assert_int_equal(m.counts.connections_destroyed, 0);
	while (hear(&g))
		assert_int_equal(g.len, 1);
	b = dial(2);
	say_text(&b, ASK_LONG);
	assert_int_equal(expect(TCP_ACK).port, 2);
	pass(1);
	g = expect(TCP_RST | TCP_ACK);
	assert_int_equal(g.port, 1);
	is_long(buf, listen_to(&b, buf, sizeof(buf)));
	assert_int_equal(m.counts.connections_destroyed, 1);
}

/* Also if what it waits to be told is that its request is bad. */
static void long_fault_waits_for_its_turn(void **state)
{
	struct peer a = dial(1), b = dial(2);
	char request[1200] = "GET / HTTP/1.1\r\n";
	size_t n;

	(void)state;
	a.window = 0;
	say_text(&a, ASK_LONG);
	expect(TCP_ACK);
	memset(request + 16, 'x', 1100);
	memcpy(request + 1116, "\r\n\r\n", 5);
	say_text(&b, request);
	expect(TCP_ACK);
	say_text(&b, "more");
	expect(TCP_ACK);
	say(&a, TCP_RST);
	n = listen_to(&b, buf, sizeof(buf));
	assert_true(n > 1100);
	assert_memory_equal(buf, "HTTP/1.1 400", 12);
}

static void turn_lasts_two_seconds(void **state)
{
	struct peer a = dial(1), b = dial(2);
	struct got g = {0};

	(void)state;
	a.window = 0;
	say_text(&a, ASK_LONG);
	say_text(&b, ASK_LONG);
	while (hear(&g))
		;
	pass(2 * NS_PER_S - 1);
	assert_int_equal(m.counts.connections_destroyed, 0);
	while (hear(&g))
		assert_int_not_equal(g.flags & TCP_RST, TCP_RST);
	pass(1);
	assert_int_equal(expect(TCP_RST | TCP_ACK).port, 1);
	is_long(buf, listen_to(&b, buf, sizeof(buf)));
}

static void change_of_the_document_spares_replies(void **state)
{
	struct peer p = dial(1);
	struct got g;

	(void)state;
	say_text(&p, ASK_LONG);
	g = expect(TCP_ACK);
	memcpy(buf, g.data, g.len);
	p.ack += (uint32_t)g.len;
	put_document(100);
	is_long(buf, g.len + listen_to(&p, buf + g.len, sizeof(buf) - g.len));
	mmds_store_exit(&m.store);
	say_text(&p, ASK_LONG);
	listen_to(&p, buf, sizeof(buf));
	assert_memory_equal(buf, "HTTP/1.1 404", 12);
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

/* The guest could not take it. */
static void pause_does_not_end_a_turn(void **state)
{
	struct peer a = dial(1), b = dial(2);
	struct got g = {0};

	(void)state;
	a.window = 0;
	say_text(&a, ASK_LONG);
	say_text(&b, ASK_LONG);
	mmds_net_pause(net);
	pass(3600 * NS_PER_S);
	mmds_net_resume(net);
	pass(2 * NS_PER_S - 1);
	while (hear(&g))
		assert_int_not_equal(g.flags & TCP_RST, TCP_RST);
	pass(1);
	assert_int_equal(expect(TCP_RST | TCP_ACK).port, 1);
	is_long(buf, listen_to(&b, buf, sizeof(buf)));
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

static void frames_are_counted(void **state)
{
	struct peer p = dial(1);

	(void)state;
	say_text(&p, ASK_SHORT);
	hears_short(&p);
	assert_int_equal(m.counts.rx_accepted, 4);
	assert_int_equal(m.counts.rx_count, 4);
	assert_int_equal(m.counts.tx_count, 2);
	assert_int_equal(m.counts.tx_frames, 2);
	assert_int_equal(m.counts.connections_created, 1);
	assert_true(m.counts.tx_bytes > 58 + 54 + 100);
	assert_true(outputs >= 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(arp_is_answered),
		TEST(only_its_own_address_is_wanted),
		TEST(broken_headers_are_dropped),
		TEST(header_of_no_length_is_dropped),
		TEST(checksums_are_checked_if_they_are_there),
		TEST(padding_behind_the_packet_is_ignored),
		TEST(mss_option_is_found),
		TEST(syn_that_comes_again_is_answered_again),
		TEST(syn_ack_is_repeated_for_a_while),
		TEST(wrong_ack_while_opening_is_refused),
		TEST(segments_of_nothing_are_reset),
		TEST(reset_storm_is_bounded),
		TEST(flood_does_not_lock_out),
		TEST(silent_connection_makes_room),
		TEST(request_may_come_in_pieces),
		TEST(requests_are_served_one_after_another),
		TEST(old_and_overlapping_data_count_once),
		TEST(data_behind_a_hole_are_dropped),
		TEST(request_that_is_too_long_is_reset),
		TEST(full_buffer_closes_the_window),
		TEST(bad_request_ends_the_connection),
		TEST(long_reply_is_sent_within_mss_and_window),
		TEST(window_of_one_and_mss_of_one_work),
		TEST(lost_segments_are_sent_again),
		TEST(retries_slow_down_and_end),
		TEST(zero_window_is_probed),
		TEST(window_that_shrinks_is_obeyed),
		TEST(acks_of_what_was_not_sent_are_refused),
		TEST(old_acks_change_nothing),
		TEST(ack_that_is_late_ends_sending_again),
		TEST(replies_take_turns),
		TEST(stalled_reply_loses_its_turn),
		TEST(long_fault_waits_for_its_turn),
		TEST(turn_lasts_two_seconds),
		TEST(change_of_the_document_spares_replies),
		TEST(guest_closes),
		TEST(request_with_fin_is_answered_first),
		TEST(fin_out_of_order_waits),
		TEST(fin_and_rst_at_each_state),
		TEST(reset_needs_the_right_number),
		TEST(no_timer_runs_while_paused),
		TEST(pause_does_not_end_a_turn),
		TEST(reset_forgets_everything),
		TEST(frames_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
