/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmds_wire.h: TCP in IPv4 in Ethernet, written by a guest.
 */
#ifndef TESTS_VIRTIO_MMDS_WIRE_H
#define TESTS_VIRTIO_MMDS_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GUEST_IP 0xa9fe0101u

/* The guest's end of a connection. */
struct peer {
	uint16_t port, window;
	uint32_t seq, ack; /* next of ours, next expected */
};

static inline void be(uint8_t *p, size_t n, uint64_t v)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static inline uint32_t rd(const uint8_t *p, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* Of bytes with their checksum in place: 0 if it is right. */
static inline uint16_t sum(uint32_t start, const uint8_t *p, size_t len)
{
	uint32_t s = start;

	for (size_t i = 0; i < len; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

static inline uint16_t tcp_sum(const uint8_t *ip, const uint8_t *tcp,
			       size_t len)
{
	uint32_t pseudo = 6 + (uint32_t)len;

	for (int i = 12; i < 20; i += 2)
		pseudo += rd(ip + i, 2);
	return sum(pseudo, tcp, len);
}

/* An IPv4 frame for a segment; options are opt_len bytes, a multiple of 4. */
static inline size_t build(uint8_t *f, const struct peer *p, uint32_t to,
			   uint8_t flags, const void *data, size_t len,
			   const uint8_t *opt, size_t opt_len)
{
	uint8_t *ip = f + 14, *tcp = ip + 20;
	size_t tcp_len = 20 + opt_len + len;

	memset(f, 0, 14 + 20 + 20);
	memcpy(f, "\x06\x01\x23\x45\x67\x01\x02\0\0\0\0\x05\x08\0", 14);
	be(ip, 2, 0x4500);
	be(ip + 2, 2, 20 + tcp_len);
	ip[8] = 64;
	ip[9] = 6;
	be(ip + 12, 4, GUEST_IP);
	be(ip + 16, 4, to);
	be(ip + 10, 2, sum(0, ip, 20));
	be(tcp, 2, p->port);
	be(tcp + 2, 2, 80);
	be(tcp + 4, 4, p->seq);
	be(tcp + 8, 4, p->ack);
	tcp[12] = (uint8_t)((20 + opt_len) / 4 << 4);
	tcp[13] = flags;
	be(tcp + 14, 2, p->window);
	if (opt_len)
		memcpy(tcp + 20, opt, opt_len);
	if (len)
		memcpy(tcp + 20 + opt_len, data, len);
	be(tcp + 16, 2, tcp_sum(ip, tcp, tcp_len));
	return 34 + tcp_len;
}

#endif
