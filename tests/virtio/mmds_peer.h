/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmds_peer.h: a guest's side of the metadata service, frame by frame, with a
 * clock of its own.
 */
#ifndef TESTS_VIRTIO_MMDS_PEER_H
#define TESTS_VIRTIO_MMDS_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "tests/fuzz/fake_loop.h"
#include "tests/virtio/mmds_wire.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/tcp.h"

#define GUEST_SEQ 0xfffffff0u /* wraps soon */
#define LIMIT	  51200

static struct mmds m;
static struct loop loop;
static struct mmds_net *net;
static uint64_t now;
static unsigned int outputs; /* calls of output() */

/* A segment from the service. */
struct got {
	uint8_t frame[MMDS_FRAME_MAX];
	size_t frame_len;
	uint16_t port, window, mss;
	uint8_t flags;
	uint32_t seq, ack;
	uint8_t data[1460];
	size_t len;
};

static const uint8_t arp_request[42] =
	"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x05\x08\x06"
	"\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x05\xa9\xfe\x01\x01"
	"\0\0\0\0\0\0\xa9\xfe\xa9";

static inline uint64_t test_now(void)
{
	return now;
}

static inline void test_output(void *arg)
{
	assert_ptr_equal(arg, &m);
	outputs++;
}

static inline void put_document(size_t bytes)
{
	char *text = malloc(bytes);
	struct err e;

	memset(text, 'x', bytes);
	memcpy(text, "{\"a\":\"b\",\"x\":\"", 14);
	memcpy(text + bytes - 2, "\"}", 2);
	assert_int_equal(mmds_store_put(&m.store, text, bytes, &e), 0);
	free(text);
}

static inline int setup(void **state)
{
	struct err e;

	(void)state;
	mmds_init(&m, LIMIT);
	m.now = test_now;
	now = 1000 * NS_PER_S;
	outputs = 0;
	fake_loop_init(&loop);
	put_document(LIMIT);
	return mmds_net_new(&net, &m, &loop, test_output, &m, &e);
}

static inline int teardown(void **state)
{
	(void)state;
	mmds_net_free(net);
	assert_null(loop.timer);
	mmds_exit(&m);
	return 0;
}

/* Let time pass; the timer fires when it should. */
static inline void pass(uint64_t ns)
{
	const uint64_t end = now + ns;

	while (loop.timer && loop.timer->deadline_ns <= end) {
		now = MAX(now, loop.timer->deadline_ns);
		fake_fire(&loop);
	}
	now = end;
}

static inline void input(const uint8_t *f, size_t len)
{
	uint8_t *exact = malloc(len); /* ASan watches its end */

	memcpy(exact, f, len);
	mmds_net_input(net, exact, len, true);
	free(exact);
}

static inline void send_opt(const struct peer *p, uint8_t flags,
			    const void *data, size_t len, const uint8_t *opt,
			    size_t opt_len)
{
	uint8_t f[4096] = {0};

	input(f, build(f, p, m.ipv4, flags, data, len, opt, opt_len));
}

static inline void say(const struct peer *p, uint8_t flags)
{
	send_opt(p, flags, NULL, 0, NULL, 0);
}

static inline void say_text(struct peer *p, const char *text)
{
	send_opt(p, TCP_ACK | TCP_PSH, text, strlen(text), NULL, 0);
	p->seq += (uint32_t)strlen(text);
}

/* The next frame, which must be a right segment; false: there is none. */
static inline bool hear(struct got *g)
{
	const uint8_t *ip = g->frame + 14, *tcp = ip + 20;
	size_t head;

	g->frame_len = mmds_net_output(net, g->frame);
	if (g->frame_len == 0)
		return false;
	assert_memory_equal(
		g->frame, "\x02\0\0\0\0\x05\x06\x01\x23\x45\x67\x01\x08\0", 14);
	assert_int_equal(rd(ip, 2), 0x4500);
	assert_int_equal(rd(ip + 2, 2), g->frame_len - 14);
	assert_int_equal(sum(0, ip, 20), 0);
	assert_int_equal(rd(ip + 12, 4), m.ipv4);
	assert_int_equal(rd(ip + 16, 4), GUEST_IP);
	assert_int_equal(rd(tcp, 2), 80);
	assert_int_equal(tcp_sum(ip, tcp, g->frame_len - 34), 0);
	head = (size_t)(tcp[12] >> 4) * 4;
	g->port = (uint16_t)rd(tcp + 2, 2);
	g->seq = rd(tcp + 4, 4);
	g->ack = rd(tcp + 8, 4);
	g->flags = tcp[13];
	g->window = (uint16_t)rd(tcp + 14, 2);
	g->mss = head == 24 && rd(tcp + 20, 2) == 0x0204
			 ? (uint16_t)rd(tcp + 22, 2)
			 : 0;
	g->len = g->frame_len - 34 - head;
	memcpy(g->data, tcp + head, g->len);
	return true;
}

static inline struct got expect(uint8_t flags)
{
	struct got g = {0};

	assert_true(hear(&g));
	assert_int_equal(g.flags, flags);
	return g;
}

static inline void expect_silence(void)
{
	struct got g = {0};

	assert_false(hear(&g));
}

static inline struct peer dial(uint16_t port)
{
	static const uint8_t mss[4] = {2, 4, 0x05, 0xb4};
	struct peer p = {.port = port, .window = 65535, .seq = GUEST_SEQ};
	struct got g;

	send_opt(&p, TCP_SYN, NULL, 0, mss, sizeof(mss));
	g = expect(TCP_SYN | TCP_ACK);
	assert_int_equal(g.port, port);
	assert_int_equal(g.ack, GUEST_SEQ + 1);
	assert_int_equal(g.mss, 1460);
	assert_int_equal(g.window, 2500);
	p.seq++;
	p.ack = g.seq + 1;
	say(&p, TCP_ACK);
	expect_silence();
	return p;
}

/* Take what comes in order and acknowledge it; returns how many bytes came. */
static inline size_t listen_to(struct peer *p, char *buf, size_t cap)
{
	struct got g = {0};
	size_t n = 0;

	while (hear(&g)) {
		assert_int_equal(g.port, p->port);
		assert_int_equal(g.flags & (TCP_ACK | TCP_RST), TCP_ACK);
		if (g.seq != p->ack)
			continue;
		assert_true(g.len <= cap - n);
		memcpy(buf + n, g.data, g.len);
		n += g.len;
		p->ack += (uint32_t)g.len + !!(g.flags & TCP_FIN);
		if (g.len > 0 || (g.flags & TCP_FIN))
			say(p, TCP_ACK);
	}
	return n;
}

#define ASK_SHORT "GET /a HTTP/1.1\r\n\r\n"
#define ASK_LONG  "GET /x HTTP/1.1\r\n\r\n"
#define LONG_LEN  (LIMIT - 16)

/* The body of a whole reply of n bytes. */
static inline const char *body(const char *buf, size_t n, size_t *len)
{
	const char *end = memmem(buf, n, "\r\n\r\n", 4);

	assert_non_null(end);
	*len = n - (size_t)(end + 4 - buf);
	return end + 4;
}

static inline void hears_short(struct peer *p)
{
	char buf[2048];
	size_t len, n = listen_to(p, buf, sizeof(buf));
	const char *b = body(buf, n, &len);

	assert_int_equal(len, 1);
	assert_int_equal(*b, 'b');
}

static inline void is_long(const char *buf, size_t n)
{
	size_t len;
	const char *b = body(buf, n, &len);

	assert_int_equal(len, LONG_LEN);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(b[i], 'x');
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
