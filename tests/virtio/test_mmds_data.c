/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of connections to the metadata service, both ways. */
#include "tests/virtio/mmds_peer.h"

static char buf[2 * LIMIT];

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
