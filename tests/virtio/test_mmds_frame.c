/* SPDX-License-Identifier: Apache-2.0 */
/* Which frames the metadata service takes, and ARP. */
#include "tests/virtio/mmds_peer.h"

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
	const struct CMUnitTest tests[] = {
		TEST(arp_is_answered),
		TEST(only_its_own_address_is_wanted),
		TEST(broken_headers_are_dropped),
		TEST(header_of_no_length_is_dropped),
		TEST(checksums_are_checked_if_they_are_there),
		TEST(padding_behind_the_packet_is_ignored),
		TEST(frames_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
