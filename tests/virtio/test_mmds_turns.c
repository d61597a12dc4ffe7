/* SPDX-License-Identifier: Apache-2.0 */
/* One buffer for long replies: who has it, and how long. */
#include "tests/virtio/mmds_peer.h"

static char buf[2 * LIMIT];

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
	pass(2 * NS_PER_S - 1); /* from now on */
	assert_int_equal(m.counts.connections_destroyed, 0);
	while (hear(&g))
		assert_int_equal(g.port, 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(replies_take_turns),
		TEST(stalled_reply_loses_its_turn),
		TEST(long_fault_waits_for_its_turn),
		TEST(turn_lasts_two_seconds),
		TEST(change_of_the_document_spares_replies),
		TEST(pause_does_not_end_a_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
