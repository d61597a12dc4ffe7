/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/net.h"

#define TYPE_ARP  0x0806
#define TYPE_IPV4 0x0800
#define ICMP	  1
#define TCP	  6
#define UDP	  17
#define TCP_PORT  5001

/* Offsets in a frame. */
enum {
	TYPE = 12,
	ARP_OP = 20,
	ARP_MAC = 22,
	ARP_IP = 28,
	ARP_TO_MAC = 32,
	ARP_TO_IP = 38,
	ARP_END = 42,
	IP = 14,
	IP_LENGTH = 16,
	IP_FRAGMENT = 20,
	IP_PROTOCOL = 23,
	IP_SUM = 24,
	IP_FROM = 26,
	IP_TO = 30,
	L4 = 34,
	PORT_FROM = 34,
	PORT_TO = 36,
	ICMP_SUM = 36,
	UDP_LENGTH = 38,
	UDP_SUM = 40,
	TCP_SEQ = 38,
	TCP_FLAGS = 46,
	TCP_WINDOW = 48,
	TCP_SUM = 50,
};

uint32_t net_sum(const uint8_t *p, uint32_t n, uint32_t sum)
{
	uint64_t s = sum;
	for (; n >= 2; n -= 2, p += 2)
		s += get16be(p);
	s += n ? (uint64_t)p[0] << 8 : 0;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint32_t)s;
}

/* Of addresses, protocol and length. */
static uint32_t pseudo_sum(const uint8_t *f, uint32_t bytes)
{
	return net_sum(f + IP_FROM, 8, f[IP_PROTOCOL] + bytes - L4);
}

static void finish_sum(struct net_packet *p, uint32_t bytes, uint32_t at,
		       bool partial)
{
	uint8_t *f = p->frame;
	put16be(f + at, pseudo_sum(f, bytes));
	if (partial) {
		p->flags = NET_NEEDS_CSUM;
		p->csum_start = L4;
		p->csum_offset = (uint16_t)(at - L4);
	} else {
		put16be(f + at, ~net_sum(f + L4, bytes - L4, 0));
	}
}

void net_ip_header(const struct net *n, uint8_t *f, uint32_t bytes,
		   uint8_t protocol)
{
	memset(f, 0, UDP_DATA);
	memcpy(f, n->host_mac, 6);
	memcpy(f + 6, n->mac, 6);
	put16be(f + TYPE, TYPE_IPV4);
	f[IP] = 0x45;
	f[IP + 8] = 64; /* hops */
	put16be(f + IP_LENGTH, bytes - ETH_BYTES);
	f[IP_PROTOCOL] = protocol;
	memcpy(f + IP_FROM, n->ip, 4);
	memcpy(f + IP_TO, n->host_ip, 4);
	put16be(f + IP_SUM, ~net_sum(f + IP, 20, 0));
}

void net_udp_header(struct net_packet *p, uint32_t bytes, uint32_t from,
		    uint32_t to, bool partial)
{
	put16be(p->frame + PORT_FROM, from);
	put16be(p->frame + PORT_TO, to);
	put16be(p->frame + UDP_LENGTH, bytes - L4);
	finish_sum(p, bytes, UDP_SUM, partial);
}

void net_tcp_header(struct net_packet *p, uint32_t bytes, uint32_t seq,
		    bool partial)
{
	memset(p->frame + L4, 0, TCP_DATA - L4);
	put16be(p->frame + PORT_FROM, TCP_PORT);
	put16be(p->frame + PORT_TO, PORT_DISCARD);
	put16be(p->frame + TCP_SEQ, seq >> 16);
	put16be(p->frame + TCP_SEQ + 2, seq);
	put16be(p->frame + TCP_FLAGS, 0x5010); /* 20 bytes, ACK */
	put16be(p->frame + TCP_WINDOW, 0xffff);
	finish_sum(p, bytes, TCP_SUM, partial);
}

bool net_udp_good(const struct net_packet *p, uint32_t bytes)
{
	const uint8_t *f = p->frame;
	uint32_t sum = pseudo_sum(f, bytes);
	if (p->flags & NET_NEEDS_CSUM)
		return p->csum_start == L4 && p->csum_offset == UDP_SUM - L4 &&
		       get16be(f + UDP_SUM) == sum;
	return get16be(f + UDP_SUM) == 0 ||
	       net_sum(f + L4, bytes - L4, sum) == 0xffff;
}

void net_test_header(const struct net *n, uint8_t *f, uint32_t type,
		     uint32_t seq)
{
	put16be(f, 0x024e);
	put32(f + 2, seq);
	memcpy(f + 6, n->mac, 6);
	put16be(f + TYPE, type);
}

bool net_is_test(const uint8_t *f, uint32_t bytes, uint32_t type, uint32_t *seq)
{
	if (bytes < ETH_BYTES || get16be(f + TYPE) != type ||
	    get16be(f) != 0x024e)
		return false;
	*seq = get32(f + 2);
	return true;
}

bool net_is_for(const struct net *n, const uint8_t *f, uint32_t bytes,
		uint8_t protocol, uint32_t port)
{
	return bytes >= UDP_DATA && get16be(f + TYPE) == TYPE_IPV4 &&
	       f[IP] == 0x45 && memcmp(f + IP_TO, n->ip, 4) == 0 &&
	       f[IP_PROTOCOL] == protocol &&
	       (get16be(f + IP_FRAGMENT) & 0x3fff) == 0 &&
	       get16be(f + IP_LENGTH) + ETH_BYTES <= bytes &&
	       get16be(f + PORT_TO) == port;
}

static void swap(uint8_t *a, uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t t = a[i];
		a[i] = b[i];
		b[i] = t;
	}
}

static bool is_arp_for_us(const struct net *n, const uint8_t *f, uint32_t bytes)
{
	return bytes >= ARP_END && get16be(f + TYPE) == TYPE_ARP &&
	       get16be(f + ARP_OP) == 1 && memcmp(f + ARP_TO_IP, n->ip, 4) == 0;
}

static void answer_arp(const struct net *n, uint8_t *f)
{
	put16be(f + ARP_OP, 2);
	memcpy(f + ARP_TO_MAC, f + ARP_MAC, 6);
	memcpy(f + ARP_MAC, n->mac, 6);
	swap(f + ARP_IP, f + ARP_TO_IP, 4);
}

/* A request becomes a reply: 8 less in the type, 8 more in the sum. */
static void answer_icmp(uint8_t *f)
{
	uint32_t sum = get16be(f + ICMP_SUM) + 0x800;
	f[L4] = 0;
	put16be(f + ICMP_SUM, sum + (sum >> 16));
	swap(f + IP_FROM, f + IP_TO, 4);
}

/* The sums stay right, also one that is left to somebody. */
static void answer_udp(uint8_t *f)
{
	swap(f + IP_FROM, f + IP_TO, 4);
	swap(f + PORT_FROM, f + PORT_TO, 2);
}

bool net_answer(struct net *n, const struct net_packet *p, uint32_t bytes)
{
	const uint8_t *f = p->frame;
	bool arp = is_arp_for_us(n, f, bytes);
	bool udp = net_is_for(n, f, bytes, UDP, PORT_ECHO);
	bool icmp = bytes > L4 && f[L4] == 8 &&
		    net_is_for(n, f, bytes, ICMP, get16be(f + PORT_TO));
	struct net_packet *to = net_slot(n);
	if (!to || !(arp || udp || icmp))
		return false;
	memcpy(to, p, NET_HEADER + bytes);
	to->flags &= NET_NEEDS_CSUM;
	to->n_buffers = 0;
	memcpy(n->host_mac, f + 6, 6);
	memcpy(to->frame, f + 6, 6);
	memcpy(to->frame + 6, n->mac, 6);
	if (arp)
		answer_arp(n, to->frame);
	else if (udp)
		answer_udp(to->frame);
	else
		answer_icmp(to->frame);
	n->arp += arp;
	n->udp += udp;
	n->icmp += icmp;
	net_send(n, to, bytes);
	return true;
}
