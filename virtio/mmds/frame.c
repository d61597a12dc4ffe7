/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the metadata service: Ethernet, ARP, IPv4 and the wire of TCP. */
#include <endian.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/num.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/tcp.h"
#include "virtio/mmds/token.h"

#define ETH_BYTES    14
#define ARP_BYTES    28
#define IP_BYTES     20
#define TCP_BYTES    20
#define MSS_BYTES    4
#define TYPE_IPV4    0x0800
#define TYPE_ARP     0x0806
#define PROTO_TCP    6
#define PORT	     80
#define TTL	     1 /* nobody forwards it */
#define IP_DF	     0x4000
#define IP_FRAGMENT  0x3fff /* an offset, or more to come */
#define ARP_ETHERNET 1
#define ARP_REQUEST  1
#define ARP_REPLY    2

_Static_assert(ETH_BYTES + IP_BYTES + TCP_BYTES + TCP_MSS == MMDS_FRAME_MAX,
	       "a full segment fills a frame");
_Static_assert(ETH_BYTES + ARP_BYTES == MMDS_HEAD, "ARP fits the head");

static const uint8_t our_mac[6] = {0x06, 0x01, 0x23, 0x45, 0x67, 0x01};

struct mmds_net {
	struct mmds *mmds;
	struct loop *loop;
	struct loop_timer timer;
	void (*output)(void *arg);
	void *arg;
	bool paused;
	bool arp_due;
	uint8_t arp_mac[6]; /* who asked last */
	uint8_t arp_ip[4];
	struct tcp tcp;
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint8_t *put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	return put16(put16(p, (uint16_t)(v >> 16)), (uint16_t)v);
}

static uint8_t *put_bytes(uint8_t *p, const void *from, size_t n)
{
	memcpy(p, from, n);
	return p + n;
}

/* The internet checksum of what sum has already and of len bytes. */
static uint16_t checksum(uint64_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len % 2)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Of a TCP segment between two addresses. */
static uint16_t tcp_checksum(uint32_t a, uint32_t b, const uint8_t *p,
			     size_t len)
{
	uint64_t pseudo = (uint64_t)(a >> 16) + (a & 0xffff) + (b >> 16) +
			  (b & 0xffff) + PROTO_TCP + len;

	return checksum(pseudo, p, len);
}

/* ---- life ---- */

void mmds_init(struct mmds *m, size_t limit)
{
	*m = (struct mmds){.ipv4 = MMDS_IPV4_DEFAULT, .now = clock_now_ns};
	mmds_store_init(&m->store, limit);
}

void mmds_exit(struct mmds *m)
{
	mmds_store_exit(&m->store);
	sodium_memzero(m->key, sizeof(m->key));
}

/* Set the timer right, and say so if there are frames. */
static void update(struct mmds_net *n)
{
	uint64_t deadline = tcp_deadline(&n->tcp);

	if (n->paused)
		return;
	if (deadline == 0)
		loop_timer_stop(n->loop, &n->timer);
	else if (!n->timer.armed || n->timer.deadline_ns != deadline)
		loop_timer_set(n->loop, &n->timer, deadline);
	if (n->arp_due || tcp_ready(&n->tcp))
		n->output(n->arg);
}

static void expired(struct loop_timer *t)
{
	struct mmds_net *n = container_of(t, struct mmds_net, timer);

	tcp_expire(&n->tcp);
	update(n);
}

int mmds_net_new(struct mmds_net **out, struct mmds *m, struct loop *l,
		 void (*output)(void *arg), void *arg, struct err *e)
{
	size_t cap = MMDS_HEADERS_MAX +
		     MAX(m->store.limit, (size_t)2 * MMDS_REQUEST_MAX);
	struct mmds_net *n;
	int r = mmds_token_key(m, e);

	if (r < 0)
		return r;
	n = calloc(1, sizeof(*n) + cap);
	if (!n)
		return err_set(e, -ENOMEM, "Out of memory");
	n->mmds = m;
	n->loop = l;
	n->timer.fn = expired;
	n->output = output;
	n->arg = arg;
	n->tcp.mmds = m;
	n->tcp.buf = (char *)(n + 1);
	n->tcp.cap = cap;
	*out = n;
	return 0;
}

void mmds_net_free(struct mmds_net *n)
{
	if (n)
		loop_timer_stop(n->loop, &n->timer);
	free(n);
}

void mmds_net_pause(struct mmds_net *n)
{
	n->paused = true;
	loop_timer_stop(n->loop, &n->timer);
}

/* Nobody took a reply meanwhile; all else that was due is late: no harm. */
void mmds_net_resume(struct mmds_net *n)
{
	if (n->paused)
		n->tcp.wanted_ns = n->mmds->now();
	n->paused = false;
	update(n);
}

void mmds_net_reset(struct mmds_net *n)
{
	tcp_reset(&n->tcp);
	n->arp_due = false;
	loop_timer_stop(n->loop, &n->timer);
}

/* ---- frames from the guest ---- */

bool mmds_net_wants(const struct mmds_net *n, const uint8_t *head, size_t len)
{
	if (len < ETH_BYTES + IP_BYTES)
		return false;
	if (get16(head + 12) == TYPE_IPV4)
		return get32(head + 30) == n->mmds->ipv4;
	return get16(head + 12) == TYPE_ARP && len >= ETH_BYTES + ARP_BYTES &&
	       get32(head + 38) == n->mmds->ipv4;
}

static void arp_input(struct mmds_net *n, const uint8_t *arp)
{
	static const uint8_t request[8] = {
		0, ARP_ETHERNET, TYPE_IPV4 >> 8, TYPE_IPV4 & 0xff, 6, 4,
		0, ARP_REQUEST};

	if (memcmp(arp, request, sizeof(request)) != 0)
		return;
	memcpy(n->arp_mac, arp + 8, sizeof(n->arp_mac));
	memcpy(n->arp_ip, arp + 14, sizeof(n->arp_ip));
	n->arp_due = true;
}

/* The MSS option among others (RFC 9293, 3.1); 0: none that is whole. */
static uint16_t mss_of(const uint8_t *opt, size_t len)
{
	enum { END, PAD, MSS };

	for (size_t i = 0, n; i < len && opt[i] != END; i += n) {
		n = opt[i] == PAD ? 1 : i + 1 < len ? opt[i + 1] : 0;
		if (n == 0 || n > len - i || (n == 1 && opt[i] != PAD))
			return 0;
		if (opt[i] == MSS && n == MSS_BYTES)
			return get16(opt + i + 2);
	}
	return 0;
}

/* False: not a segment for us. */
static bool parse_tcp(struct tcp_segment *s, const uint8_t *p, size_t len,
		      uint32_t to, bool checked)
{
	size_t head = len < TCP_BYTES ? 0 : (size_t)(p[12] >> 4) * 4;

	if (head < TCP_BYTES || head > len || get16(p + 2) != PORT ||
	    (checked && tcp_checksum(s->ip, to, p, len) != 0))
		return false;
	s->port = get16(p);
	s->seq = get32(p + 4);
	s->ack = get32(p + 8);
	s->flags = p[13];
	s->window = get16(p + 14);
	s->mss = s->flags & TCP_SYN ? mss_of(p + TCP_BYTES, head - TCP_BYTES)
				    : 0;
	s->data = p + head;
	s->len = len - head;
	return true;
}

static void ip_input(struct mmds_net *n, const uint8_t *frame, size_t len,
		     bool checked)
{
	struct mmds_counts *counts = &n->mmds->counts;
	const uint8_t *ip = frame + ETH_BYTES;
	size_t head = (size_t)(ip[0] & 15) * 4, total = get16(ip + 2);
	struct tcp_segment s = {.ip = get32(ip + 12)};

	if (ip[0] >> 4 != 4 || head < IP_BYTES || total < head ||
	    total > len - ETH_BYTES || (get16(ip + 6) & IP_FRAGMENT) ||
	    (checked && checksum(0, ip, head) != 0)) {
		counts->rx_accepted_err++;
		return;
	}
	if (ip[9] != PROTO_TCP) {
		counts->rx_accepted_unusual++;
		return;
	}
	memcpy(s.mac, frame + 6, sizeof(s.mac));
	if (!parse_tcp(&s, ip + head, total - head, n->mmds->ipv4, checked)) {
		counts->rx_accepted_err++;
		return;
	}
	counts->rx_count++;
	tcp_input(&n->tcp, &s);
}

void mmds_net_input(struct mmds_net *n, const uint8_t *frame, size_t len,
		    bool checked)
{
	n->mmds->counts.rx_accepted++;
	if (!mmds_net_wants(n, frame, len))
		n->mmds->counts.rx_bad_eth++;
	else if (get16(frame + 12) == TYPE_ARP)
		arp_input(n, frame + ETH_BYTES);
	else
		ip_input(n, frame, len, checked);
	update(n);
}

/* ---- frames for the guest ---- */

static uint8_t *put_eth(uint8_t *p, const uint8_t to[6], uint16_t type)
{
	p = put_bytes(p, to, 6);
	p = put_bytes(p, our_mac, sizeof(our_mac));
	return put16(p, type);
}

static size_t write_arp(const struct mmds_net *n, uint8_t *buf)
{
	uint8_t *p = put_eth(buf, n->arp_mac, TYPE_ARP);

	p = put16(p, ARP_ETHERNET);
	p = put16(p, TYPE_IPV4);
	*p++ = 6;
	*p++ = 4;
	p = put16(p, ARP_REPLY);
	p = put_bytes(p, our_mac, sizeof(our_mac));
	p = put32(p, n->mmds->ipv4);
	p = put_bytes(p, n->arp_mac, sizeof(n->arp_mac));
	p = put_bytes(p, n->arp_ip, sizeof(n->arp_ip));
	return (size_t)(p - buf);
}

static size_t write_tcp(const struct mmds_net *n, const struct tcp_segment *s,
			uint8_t *buf)
{
	size_t head = TCP_BYTES + (s->mss ? MSS_BYTES : 0);
	uint8_t *ip = put_eth(buf, s->mac, TYPE_IPV4);
	uint8_t *tcp = ip + IP_BYTES, *p;

	p = put16(ip, 0x4500);
	p = put16(p, (uint16_t)(IP_BYTES + head + s->len));
	p = put32(p, IP_DF);
	*p++ = TTL;
	*p++ = PROTO_TCP;
	p = put16(p, 0);
	p = put32(p, n->mmds->ipv4);
	put32(p, s->ip);
	put16(ip + 10, checksum(0, ip, IP_BYTES));

	p = put16(tcp, PORT);
	p = put16(p, s->port);
	p = put32(p, s->seq);
	p = put32(p, s->flags & TCP_ACK ? s->ack : 0);
	*p++ = (uint8_t)(head / 4 << 4);
	*p++ = s->flags;
	p = put16(p, s->window);
	p = put32(p, 0); /* checksum, urgent pointer */
	if (s->mss)
		p = put32(p, 0x02040000u | s->mss);
	if (s->len > 0)
		p = put_bytes(p, s->data, s->len);
	put16(tcp + 16,
	      tcp_checksum(n->mmds->ipv4, s->ip, tcp, (size_t)(p - tcp)));
	return (size_t)(p - buf);
}

size_t mmds_net_output(struct mmds_net *n, uint8_t buf[MMDS_FRAME_MAX])
{
	struct mmds_counts *counts = &n->mmds->counts;
	struct tcp_segment s;
	size_t len = 0;

	if (n->arp_due)
		len = write_arp(n, buf);
	else if (tcp_output(&n->tcp, &s))
		len = write_tcp(n, &s, buf);
	n->arp_due = false;
	counts->tx_count += len > 0;
	counts->tx_frames += len > 0;
	counts->tx_bytes += len;
	return len;
}
