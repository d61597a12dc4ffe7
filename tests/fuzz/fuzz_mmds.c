/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata service and a guest that knows the numbers of its connections
 * and abuses them as the input says, with documents, pauses and time. Replies
 * must be right frames, and whatever was done before, a guest that waits a
 * moment and behaves is served in the end.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "tests/fuzz/fake_loop.h"
#include "tests/virtio/mmds_wire.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PORTS 40

static const char token_request[] = "PUT /latest/api/token HTTP/1.1\r\n"
				    "X-metadata-token-ttl-seconds: 9\r\n"
				    "\r\n";

struct state {
	const uint8_t *p;
	size_t left;
	struct mmds mmds;
	struct loop loop;
	struct mmds_net *net;
	struct peer peer[PORTS];
	size_t bytes; /* of data that came from the service */
};

static uint64_t now;

static uint64_t test_now(void)
{
	return now;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static uint32_t byte(struct state *s)
{
	if (s->left == 0)
		return 0;
	s->left--;
	return *s->p++;
}

static void output(void *arg)
{
	(void)arg;
}

static void pass(struct state *s, uint64_t ns)
{
	const uint64_t end = now + ns;

	while (s->loop.timer && s->loop.timer->deadline_ns <= end) {
		now = MAX(now, s->loop.timer->deadline_ns);
		fake_fire(&s->loop);
	}
	now = end;
}

/* Take up to n frames; what they say about connections is remembered. */
static void take(struct state *s, size_t n)
{
	uint8_t *f = malloc(MMDS_FRAME_MAX);
	size_t len;

	while (n-- > 0 && (len = mmds_net_output(s->net, f)) > 0) {
		const uint8_t *ip = f + 14, *tcp = f + 34;
		struct peer *p;

		check(len >= 42 && len <= MMDS_FRAME_MAX);
		if (f[13] != 0)
			continue;
		check(rd(ip + 2, 2) == len - 14 && sum(0, ip, 20) == 0);
		check(tcp_sum(ip, tcp, len - 34) == 0);
		s->bytes += len - 34 - (size_t)(tcp[12] >> 4) * 4;
		if (rd(ip + 16, 4) != GUEST_IP || rd(tcp + 2, 2) >= PORTS)
			continue;
		p = &s->peer[rd(tcp + 2, 2)];
		p->ack = rd(tcp + 4, 4) +
			 (uint32_t)(len - 34 - (size_t)(tcp[12] >> 4) * 4) +
			 !!(tcp[13] & (TCP_SYN | TCP_FIN));
		if (tcp[13] & TCP_ACK)
			p->seq = rd(tcp + 8, 4);
	}
	free(f);
}

static void send(struct state *s, const struct peer *p, uint8_t flags,
		 const void *data, size_t len, const uint8_t *opt,
		 size_t opt_len)
{
	uint8_t f[4096], *exact;
	size_t n = build(f, p, s->mmds.ipv4, flags, data, len, opt, opt_len);
	bool checked = true;

	if (byte(s) % 16 == 0) { /* something in it is wrong */
		f[14 + byte(s) % (n - 14)] = (uint8_t)byte(s);
		checked = byte(s) % 2;
	}
	n -= byte(s) % 32 ? 0 : byte(s) % n;
	exact = malloc(n + 1);
	memcpy(exact, f, n);
	if (mmds_net_wants(s->net, exact, n) || byte(s) % 4 == 0)
		mmds_net_input(s->net, exact, n, checked);
	free(exact);
}

static void send_syn(struct state *s)
{
	static const uint16_t windows[] = {0, 1, 100, 65535};
	struct peer *p = &s->peer[byte(s) % PORTS];
	uint8_t opt[40];
	size_t len = 4 * (byte(s) % 11);

	p->port = (uint16_t)(p - s->peer);
	p->window = windows[byte(s) % 4];
	for (size_t i = 0; i < len; i++)
		opt[i] = (uint8_t)byte(s);
	if (len >= 4 && byte(s) % 2)
		memcpy(opt, "\x02\x04\0\x40", 4);
	send(s, p, TCP_SYN, NULL, 0, opt, len);
	p->seq++;
}

static const char *text(struct state *s)
{
	static const char *const texts[] = {
		"GET / HTTP/1.1\r\n\r\n",
		"GET /x HTTP/1.1\r\nAccept: application/json\r\n\r\n",
		"GET /x HTTP/1.0\r\n\r\nGET /a/0 HTTP/1.1\r\n\r\n",
		token_request,
		"GET /a",
		" HTTP/1.1\r\n",
		"\r\n",
		"X-metadata-token: ",
		"\n\n",
		"Content-Length: ",
		"~1~0/",
		"PATCH",
	};

	return texts[byte(s) % ARRAY_LEN(texts)];
}

static void send_data(struct state *s)
{
	struct peer *p = &s->peer[byte(s) % PORTS];
	struct peer q = *p;
	uint8_t flags = TCP_ACK, raw[2600];
	const void *data = raw;
	size_t len = 0;
	uint32_t odd = byte(s);

	switch (byte(s) % 4) {
	case 0:
		data = text(s);
		len = strlen(data);
		break;
	case 1:
		len = byte(s) * byte(s) % sizeof(raw);
		memset(raw, 'x', len);
		for (size_t i = 0; i < len && i < 40; i++)
			raw[i] = (uint8_t)byte(s);
		break;
	default:
		break;
	}
	if (odd & 1)
		flags = (uint8_t)byte(s);
	if (odd & 2)
		q.seq += (uint32_t)(int8_t)byte(s);
	if (odd & 4)
		q.ack += (uint32_t)(int8_t)byte(s);
	if (odd & 8)
		q.window = (uint16_t)(byte(s) * byte(s));
	if ((odd & 0x70) == 0x70)
		q.seq += byte(s) << 24 | byte(s) << 8;
	send(s, &q, flags, data, len, NULL, 0);
	p->seq += (uint32_t)len;
}

static void change_document(struct state *s)
{
	size_t len = byte(s) * (byte(s) % 4 + 1);
	char *doc = malloc(len + 64);
	struct err e;
	size_t n;

	n = (size_t)sprintf(doc, "{\"a\":[\"b\"],\"x\":\"");
	memset(doc + n, 'y', len);
	for (size_t i = 0; i < len && i < 20; i++)
		doc[n + i] = (char)byte(s);
	memcpy(doc + n + len, "\"}", 2);
	if (byte(s) % 2)
		(void)mmds_store_put(&s->mmds.store, doc, n + len + 2, &e);
	else
		(void)mmds_store_patch(&s->mmds.store, doc, n + len + 2, &e);
	free(doc);
}

static void step(struct state *s)
{
	switch (byte(s) % 12) {
	case 0:
	case 1:
		send_syn(s);
		break;
	case 2:
		pass(s, NS_PER_MS << (byte(s) % 17));
		break;
	case 3:
		change_document(s);
		break;
	case 4:
		if (byte(s) % 4 == 0)
			mmds_net_reset(s->net);
		mmds_net_pause(s->net);
		now += byte(s) * NS_PER_S;
		mmds_net_resume(s->net);
		break;
	case 5:
	case 6:
	case 7:
		take(s, byte(s));
		break;
	default:
		send_data(s);
		break;
	}
	check(s->mmds.counts.connections_created -
		      s->mmds.counts.connections_destroyed <=
	      TCP_CONNS);
}

/* Say it with nothing wrong in it. */
static void say(struct state *s, struct peer *p, uint8_t flags,
		const char *data)
{
	s->left = 1;
	s->p = (const uint8_t *)"\x01";
	send(s, p, flags, data, strlen(data), NULL, 0);
	s->left = 0;
}

static void is_served(struct state *s)
{
	struct peer *p = &s->peer[PORTS - 1];
	size_t before;

	pass(s, 6 * NS_PER_S);
	take(s, SIZE_MAX);
	*p = (struct peer){.port = PORTS - 1, .window = 65535, .seq = 77};
	say(s, p, TCP_RST, ""); /* an old one may have this port */
	p->seq = 77;
	say(s, p, TCP_SYN, "");
	take(s, SIZE_MAX);
	if (p->seq != 78) /* it had: this tells its number */
		return;
	say(s, p, TCP_ACK, "");
	before = s->bytes;
	say(s, p, TCP_ACK, token_request);
	take(s, SIZE_MAX);
	check(s->bytes > before + 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state *s = calloc(1, sizeof(*s));
	struct err e;

	s->p = data;
	s->left = size;
	now = NS_PER_S;
	fake_loop_init(&s->loop);
	mmds_init(&s->mmds, 3000);
	s->mmds.now = test_now;
	s->mmds.has_key = true;
	s->mmds.version = byte(s) % 8 == 0 ? MMDS_V2 : MMDS_V1;
	check(mmds_net_new(&s->net, &s->mmds, &s->loop, output, NULL, &e) == 0);
	while (s->left > 0)
		step(s);
	is_served(s);
	mmds_net_reset(s->net);
	check(!s->loop.timer);
	check(s->mmds.counts.connections_created ==
	      s->mmds.counts.connections_destroyed);
	mmds_net_free(s->net);
	mmds_exit(&s->mmds);
	free(s);
	return 0;
}
