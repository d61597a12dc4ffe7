/* SPDX-License-Identifier: Apache-2.0 */
/* Packets and buffers in every layout, right and wrong. */
#include "tests/virtio/vsock_fixture.h"

/* Send the packet cut into pieces of n bytes, in a chain or in a table. */
static void send_cut(struct fixture *f, const struct vsock_hdr *h,
		     const void *data, uint32_t len, uint32_t n, bool table)
{
	uint32_t all = (uint32_t)sizeof(*h) + len;
	uint32_t pieces = (all + n - 1) / n;
	uint64_t list = table ? 0x8000 : DESC_GPA;

	assert_int_equal(gmem_write(&f->vm->mem, TX_GPA, h, sizeof(*h)), 0);
	assert_int_equal(
		gmem_write(&f->vm->mem, TX_GPA + sizeof(*h), data, len), 0);
	assert_true(pieces <= QUEUE_SIZE);
	for (uint32_t i = 0; i < pieces; i++)
		put_desc(&f->q[TX], list, i, TX_GPA + i * n,
			 MIN(n, all - i * n), i + 1 < pieces ? DESC_NEXT : 0,
			 (uint16_t)(i + 1));
	if (table)
		desc(&f->q[TX], 0, RINGS_GPA(TX) + list, pieces * 16,
		     DESC_INDIRECT, 0);
	offer(&f->q[TX], 0);
	kick_queue(f, TX);
	until(f, get16(&f->q[TX], USED_GPA + 2) == f->q[TX].avail_idx);
	collect_tx(f);
}

static void packets_may_be_cut_anyhow(void **state)
{
	struct fixture *f = *state;
	uint8_t data[200], got[200];
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	fill_pattern(data, 0, sizeof(data));
	for (uint32_t n = 1; n <= 244; n += n < 50 ? 1 : 37) {
		struct vsock_hdr h = header(&p, VSOCK_RW, sizeof(data));

		send_cut(f, &h, data, sizeof(data), n, n & 1);
		assert_int_equal(hear(f, fd, got, sizeof(got)), sizeof(got));
		assert_memory_equal(got, data, sizeof(data));
		while (poll_packet(f))
			assert_int_equal(f->hdr.op, VSOCK_CREDIT_UPDATE);
	}
	(void)close(fd);
}

/* The host's socket takes a part of what lies in many pieces, and reads on. */
static void what_is_taken_in_part_goes_on_where_it_stopped(void **state)
{
	enum { TOTAL = 8 * MIB, PACKET = 250000 };
	struct fixture *f = *state;
	static uint8_t data[PACKET], got[PACKET];
	uint32_t sent = 0, heard = 0;
	struct peer p;
	int fd;

	f->credit = MIB;
	fd = attach_and_connect(f, &p);
	while (heard < TOTAL) {
		uint32_t most = MIN(f->credit - (sent - ask_fwd_cnt(f, &p)),
				    (uint32_t)PACKET - sent % 997);
		uint32_t len = MIN(most, TOTAL - sent);
		struct vsock_hdr h = header(&p, VSOCK_RW, len);
		ssize_t n;

		fill_pattern(data, sent, len);
		if (len > 0)
			send_cut(f, &h, data, len, 990 + sent % 1009, len & 1);
		sent += len;
		n = read(fd, got, 70000 + sent % 1009);
		assert_true(n <= 0 || is_pattern(got, heard, (size_t)n));
		heard += n > 0 ? (uint32_t)n : 0;
	}
	assert_int_equal(read(fd, got, 1), -1);
	assert_int_equal(ask_fwd_cnt(f, &p), TOTAL);
	(void)close(fd);
}

/* Whichever it is: nothing in front of it reaches the host. */
static void a_chain_with_a_bad_piece_is_not_sent(void **state)
{
	enum { PIECES = 8, PIECE = 100 };
	struct fixture *f = *state;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	for (uint32_t bad = 0; bad < PIECES; bad++) {
		struct vsock_hdr h;
		struct peer p;
		char byte;
		int fd;

		bring_up_vsock(f, F_ALL);
		f->rx_bytes = 4096;
		post_rx(f, 0, 8);
		fd = connect_guest(f, &p, 1);
		h = header(&p, VSOCK_RW, PIECES * PIECE - sizeof(h));
		assert_int_equal(gmem_write(&f->vm->mem, TX_GPA, &h, sizeof(h)),
				 0);
		for (uint32_t i = 0; i < PIECES; i++)
			desc(&f->q[TX], (uint16_t)i,
			     i == bad ? RAM_BYTES - 50
				      : (uint64_t)TX_GPA + i * PIECE,
			     PIECE, i + 1 < PIECES ? DESC_NEXT : 0,
			     (uint16_t)(i + 1));
		offer(&f->q[TX], 0);
		kick_queue(f, TX);
		until(f, needs_reset(f));
		assert_int_equal(read(fd, &byte, 1), -1);
		assert_int_equal(counts(f)->tx_bytes, 0);
		reset_vsock(f);
		closed(f, fd);
	}
}

/* Only what the header says is taken of a longer chain. */
static void a_chain_may_be_longer_than_its_packet(void **state)
{
	struct fixture *f = *state;
	struct vsock_hdr h;
	uint8_t got[8];
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	h = header(&p, VSOCK_RW, 3);
	send_packet(f, &h, "abcdef", 6);
	assert_int_equal(hear(f, fd, got, 8), 3);
	assert_memory_equal(got, "abc", 3);
	(void)close(fd);
}

static void a_length_beyond_the_chain_resets(void **state)
{
	static const uint32_t lens[] = {7, 65536, 65537, 0x80000000,
					UINT32_MAX};
	struct fixture *f = *state;

	attach(f);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct vsock_hdr h;
		struct peer p;
		int fd = connect_guest(f, &p, 1);

		h = header(&p, VSOCK_RW, lens[i]);
		send_packet(f, &h, "abcdef", i & 1 ? 6 : 0);
		packet_for(f, VSOCK_RST, &p);
		closed(f, fd);
	}
}

static void a_cut_header_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 2};
	struct vsock_hdr h = header(&p, VSOCK_REQUEST, 0);

	attach(f);
	assert_int_equal(gmem_write(&f->vm->mem, TX_GPA, &h, sizeof(h)), 0);
	desc(&f->q[TX], 0, TX_GPA, 43, 0, 0);
	offer(&f->q[TX], 0);
	kick_queue(f, TX);
	until(f, used_waits(&f->q[TX]));
	no_packet(f);
	assert_int_equal(counts(f)->conns_added, 0);
	assert_int_equal(counts(f)->tx_queue_event_fails, 1);
	assert_false(needs_reset(f));
}

static void payload_may_end_where_ram_ends(void **state)
{
	struct fixture *f = *state;
	struct vsock_hdr h;
	uint8_t got[100];
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	h = header(&p, VSOCK_RW, 100);
	fill_pattern(got, 0, 100);
	assert_int_equal(gmem_write(&f->vm->mem, TX_GPA, &h, sizeof(h)), 0);
	assert_int_equal(gmem_write(&f->vm->mem, RAM_BYTES - 100, got, 100), 0);
	for (uint32_t over = 0; over < 2; over++) {
		desc(&f->q[TX], 0, TX_GPA, sizeof(h), DESC_NEXT, 1);
		desc(&f->q[TX], 1, RAM_BYTES - 100 + over, 100, 0, 0);
		offer(&f->q[TX], 0);
		kick_queue(f, TX);
		if (over)
			until(f, needs_reset(f));
		else
			assert_int_equal(hear(f, fd, got, 100), 100);
		assert_true(is_pattern(got, 0, 100));
	}
	(void)close(fd);
}

static void offer_rx(struct fixture *f, const uint32_t *lens, uint16_t n,
		     uint16_t last_flags)
{
	uint64_t gpa = RX_GPA;

	for (uint16_t i = 0; i < n; gpa += lens[i++])
		desc(&f->q[RX], i, gpa, lens[i],
		     i + 1 < n ? DESC_WRITE | DESC_NEXT : last_flags,
		     (uint16_t)(i + 1));
	offer(&f->q[RX], 0);
	kick_queue(f, RX);
}

static void buffers_may_be_cut_anyhow(void **state)
{
	static const uint32_t cuts[][6] = {
		{44, 300},
		{43, 300},
		{45, 300},
		{1, 43, 300},
		{20, 20, 20, 20, 20, 20},
		{1, 1, 1, 1, 1, 60000},
		{144},
		{69000},
	};
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	f->rx_bytes = 0;		    /* none is offered again */
	for (uint16_t i = 0; i < 32; i++) { /* use up the others */
		tell(f, &p, VSOCK_CREDIT_REQUEST);
		packet_for(f, VSOCK_CREDIT_UPDATE, &p);
	}
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		uint8_t data[100];
		uint16_t n = 0;

		while (n < 6 && cuts[i][n])
			n++;
		fill_pattern(data, i, sizeof(data));
		assert_int_equal(send(fd, data, 100, 0), 100);
		for (uint32_t got = 0; got < 100; got += f->hdr.len) {
			no_packet(f);
			offer_rx(f, cuts[i], n, DESC_WRITE);
			packet_for(f, VSOCK_RW, &p);
			assert_true(f->hdr.len > 0);
			assert_true(is_pattern(f->data, i + got, f->hdr.len));
		}
	}
	(void)close(fd);
}

static void a_buffer_for_a_header_carries_no_data(void **state)
{
	const uint32_t len = 44;
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .buf_alloc = 1000};
	int fd;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	bring_up_vsock(f, F_ALL);
	fd = client(f);
	say(fd, "CONNECT 1\ndata");
	offer_rx(f, &len, 1, DESC_WRITE);
	packet(f, VSOCK_REQUEST);
	p.host_port = f->hdr.src_port;
	tell(f, &p, VSOCK_RESPONSE);
	offer_rx(f, &len, 1, DESC_WRITE);
	packet_for(f, VSOCK_CREDIT_UPDATE, &p);
	no_packet(f);
	offer_rx(f, (const uint32_t[]){44, 4}, 2, DESC_WRITE);
	packet_for(f, VSOCK_RW, &p);
	assert_memory_equal(f->data, "data", 4);
	(void)close(fd);
}

static void bad_buffers_need_a_reset(void **state)
{
	static const struct {
		uint32_t lens[2];
		uint16_t n, flags;
	} cases[] = {
		{{43}, 1, DESC_WRITE},
		{{44}, 1, 0}, /* readable */
		{{20, 23}, 2, DESC_WRITE},
		{{44, 44}, 2, 0}, /* readable behind writable */
	};
	struct fixture *f = *state;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int fd;

		bring_up_vsock(f, F_ALL);
		fd = client(f);
		say(fd, "CONNECT 1\n");
		turns(f, 3);
		offer_rx(f, cases[i].lens, cases[i].n, cases[i].flags);
		until(f, needs_reset(f));
		assert_false(used_waits(&f->q[RX]));
		reset_vsock(f);
		closed(f, fd);
	}
}

static void a_buffer_with_a_readable_part_needs_a_reset(void **state)
{
	struct fixture *f = *state;
	int fd;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	bring_up_vsock(f, F_ALL);
	fd = client(f);
	say(fd, "CONNECT 1\n");
	desc(&f->q[RX], 0, RX_GPA, 100, DESC_NEXT, 1);
	desc(&f->q[RX], 1, RX_GPA + 100, 100, DESC_WRITE, 0);
	offer(&f->q[RX], 0);
	kick_queue(f, RX);
	until(f, needs_reset(f));
	(void)close(fd);
}

static void packets_that_are_none_are_answered_rightly(void **state)
{
	static const struct {
		uint64_t src, dst;
		uint16_t type, op;
		bool rst;
	} cases[] = {
		{CID, 2, 1, VSOCK_RESPONSE, true},
		{CID, 2, 1, VSOCK_RST, false},
		{CID, 2, 1, VSOCK_SHUTDOWN, true},
		{CID, 2, 1, VSOCK_RW, true},
		{CID, 2, 1, VSOCK_CREDIT_UPDATE, true},
		{CID, 2, 1, VSOCK_CREDIT_REQUEST, true},
		{CID, 2, 1, 0, true},
		{CID, 2, 1, 8, true},
		{CID, 2, 1, 0xffff, true},
		{CID, 2, 2, VSOCK_REQUEST, true}, /* SEQPACKET */
		{CID, 2, 2, VSOCK_RST, false},
		{CID, 2, 0, VSOCK_REQUEST, true},
		{CID, 3, 1, VSOCK_REQUEST, false},
		{CID, CID, 1, VSOCK_REQUEST, false},
		{CID, (uint64_t)2 << 32, 1, VSOCK_REQUEST, false},
		{CID, 2 | (uint64_t)1 << 32, 1, VSOCK_REQUEST, false},
		{CID + 1, 2, 1, VSOCK_REQUEST, false},
		{CID | (uint64_t)1 << 32, 2, 1, VSOCK_RW, false},
	};
	struct fixture *f = *state;
	struct peer p = {.guest_port = 11, .host_port = 12};

	attach(f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vsock_hdr h = header(&p, cases[i].op, 0);

		h.src_cid = cases[i].src;
		h.dst_cid = cases[i].dst;
		h.type = cases[i].type;
		send_packet(f, &h, NULL, 0);
		if (cases[i].rst) {
			packet_for(f, VSOCK_RST, &p);
			assert_int_equal(f->hdr.type, cases[i].type);
		}
		no_packet(f);
	}
	assert_int_equal(counts(f)->conns_added, 0);
}

static void packets_out_of_place_reset(void **state)
{
	static const uint16_t ops[] = {VSOCK_REQUEST, VSOCK_RESPONSE, 0, 99};
	struct fixture *f = *state;

	attach(f);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		struct peer p;
		int fd = connect_guest(f, &p, 1);

		tell(f, &p, ops[i]);
		packet_for(f, VSOCK_RST, &p);
		closed(f, fd);
	}
	for (int op = VSOCK_SHUTDOWN; op <= VSOCK_RW; op++) {
		struct peer p = {.guest_port = 9};
		int fd = client(f);

		say(fd, "CONNECT 9\n");
		packet(f, VSOCK_REQUEST);
		p.host_port = f->hdr.src_port;
		tell(f, &p, (enum vsock_op)op);
		packet_for(f, VSOCK_RST, &p);
		refused(f, fd);
	}
}

static void an_answer_before_the_question_ends_it(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 1u << 30};
	int fd;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	bring_up_vsock(f, F_ALL);
	fd = client(f);
	say(fd, "CONNECT 1\n"); /* there is no buffer for the request */
	turns(f, 5);
	tell(f, &p, VSOCK_RESPONSE);
	refused(f, fd);
}

static void features_may_be_left_out(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	bring_up_vsock(f, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	f->rx_bytes = 300;
	post_rx(f, 0, 2);
	fd = connect_guest(f, &p, 1);
	for (int i = 0; i < 10; i++) {
		uint8_t data[256];

		tell_data(f, &p, "ping", 4);
		hears(f, fd, "ping");
		assert_int_equal(send(fd, data, sizeof(data), 0), 256);
		packet_for(f, VSOCK_RW, &p);
		assert_int_equal(f->hdr.len, 256);
	}
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(packets_may_be_cut_anyhow),
		BOTH(what_is_taken_in_part_goes_on_where_it_stopped),
		BOTH(a_chain_with_a_bad_piece_is_not_sent),
		BOTH(a_chain_may_be_longer_than_its_packet),
		BOTH(a_length_beyond_the_chain_resets),
		BOTH(a_cut_header_is_dropped),
		BOTH(payload_may_end_where_ram_ends),
		BOTH(buffers_may_be_cut_anyhow),
		BOTH(a_buffer_for_a_header_carries_no_data),
		BOTH(bad_buffers_need_a_reset),
		BOTH(a_buffer_with_a_readable_part_needs_a_reset),
		BOTH(packets_that_are_none_are_answered_rightly),
		BOTH(packets_out_of_place_reset),
		BOTH(an_answer_before_the_question_ends_it),
		BOTH(features_may_be_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
