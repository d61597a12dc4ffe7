/* SPDX-License-Identifier: Apache-2.0 */
/* Packets in every layout, credit both ways, and peers that stall. */
#include "tests/virtio/vsock_fixture.h"

/* ---- the guest's credit ---- */

static void data_stays_within_the_guests_credit(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	p.buf_alloc = 100;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	fill_pattern(f->data, 0, 1000);
	assert_int_equal(send(fd, f->data, 1000, 0), 1000);
	packet_for(f, VSOCK_RW, &p);
	assert_int_equal(f->hdr.len, 100);
	packet_for(f, VSOCK_CREDIT_REQUEST, &p);
	no_packet(f); /* asked once */
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	no_packet(f);
	p.fwd_cnt = 60;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	packet_for(f, VSOCK_RW, &p);
	assert_int_equal(f->hdr.len, 60);
	assert_true(is_pattern(f->data, 100, 60));
	packet_for(f, VSOCK_CREDIT_REQUEST, &p);
	p.buf_alloc = 5000;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	packet_for(f, VSOCK_RW, &p);
	assert_int_equal(f->hdr.len, 840);
	assert_true(is_pattern(f->data, 160, 840));
	(void)close(fd);
}

/* After 100 bytes: what the guest says, and how many bytes it then gets. */
static void lies_about_credit_are_no_credit(void **state)
{
	static const struct {
		uint32_t buf_alloc, fwd_cnt, len;
	} cases[] = {
		{0, 100, 0},
		{1, 100, 1},
		{50, 0, 0}, /* shrunk below what is in flight */
		{100, 0, 0},
		{101, 0, 1},
		{1000, 101, 0}, /* took more than it got */
		{1000, 0x80000000, 0},
		{UINT32_MAX, 101, 0},
		{UINT32_MAX, 102, 1},
		{UINT32_MAX, 0, 500},
		{10, 100 - 5u, 5},
		{200, UINT32_MAX - 49, 50}, /* wraps: 150 in flight */
		{200, UINT32_MAX - 99, 0},
	};
	struct fixture *f = *state;

	attach(f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t data[500] = {0};
		struct peer p;
		int fd = connect_guest(f, &p, 1);

		assert_int_equal(send(fd, data, 100, 0), 100);
		packet_for(f, VSOCK_RW, &p);
		assert_int_equal(f->hdr.len, 100);
		p.buf_alloc = cases[i].buf_alloc;
		p.fwd_cnt = cases[i].fwd_cnt;
		tell(f, &p, VSOCK_CREDIT_UPDATE);
		assert_int_equal(send(fd, data, 500, 0), 500);
		if (cases[i].len) {
			packet_for(f, VSOCK_RW, &p);
			assert_int_equal(f->hdr.len, cases[i].len);
		}
		if (cases[i].len < 500)
			packet_for(f, VSOCK_CREDIT_REQUEST, &p);
		no_packet(f);
		tell(f, &p, VSOCK_RST);
		until(f, is_closed(fd) || recv(fd, data, 1, 0) < 0);
		(void)close(fd);
	}
}

/* ---- our credit ---- */

static uint32_t ask_fwd_cnt(struct fixture *f, const struct peer *p)
{
	turns(f, 3);
	while (poll_packet(f))
		assert_int_equal(f->hdr.op, VSOCK_CREDIT_UPDATE);
	tell(f, p, VSOCK_CREDIT_REQUEST);
	packet_for(f, VSOCK_CREDIT_UPDATE, p);
	return f->hdr.fwd_cnt;
}

/* Send until no credit is left; returns the number of bytes sent. */
static uint32_t stuff(struct fixture *f, const struct peer *p)
{
	uint32_t sent = 0, room;

	while ((room = BUF_ALLOC - (sent - ask_fwd_cnt(f, p))) > 0) {
		uint8_t data[7000];
		uint32_t n = MIN(room, (uint32_t)sizeof(data));

		fill_pattern(data, sent, n);
		tell_data(f, p, data, n);
		sent += n;
	}
	return sent;
}

static void a_host_that_does_not_read_stalls_the_guest(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer p;
	uint32_t sent;
	size_t got;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	for (int round = 0; round < 3; round++) {
		uint32_t before = ask_fwd_cnt(f, &p);

		assert_int_equal(before, 0);
		sent = stuff(f, &p);
		assert_true(sent > BUF_ALLOC);
		assert_int_equal(ask_fwd_cnt(f, &p), sent - BUF_ALLOC);
		/* It is told without asking. */
		got = hear(f, fd, data, sent);
		assert_int_equal(got, sent);
		assert_true(is_pattern(data, 0, sent));
		packet_for(f, VSOCK_CREDIT_UPDATE, &p);
		assert_true(f->hdr.fwd_cnt >= sent - BUF_ALLOC / 2);
		assert_int_equal(ask_fwd_cnt(f, &p), sent);
		tell(f, &p, VSOCK_RST);
		until(f, is_closed(fd));
		(void)close(fd);
		fd = connect_guest(f, &p, 1);
	}
	(void)close(fd);
}

static void data_beyond_credit_resets(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	(void)stuff(f, &p);
	tell_data(f, &p, "", 0); /* nothing is not too much */
	no_packet(f);
	tell_data(f, &p, "x", 1);
	packet_for(f, VSOCK_RST, &p);
	(void)close(fd);
}

static void a_full_shutdown_waits_for_the_host_to_read(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer p;
	uint32_t sent;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	sent = stuff(f, &p);
	tell_shut(f, &p, VSOCK_SHUT_BOTH);
	turn_for(f, 500);
	assert_false(used_waits(&f->q[RX]));
	assert_int_equal(hear(f, fd, data, sizeof(data)), sent);
	assert_true(is_pattern(data, 0, sent));
	packet_for(f, VSOCK_RST, &p);
	assert_true(is_closed(fd));
	(void)close(fd);
}

static void a_host_that_never_reads_is_given_up(void **state)
{
	struct fixture *f = *state;
	uint64_t start;
	struct peer p;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	(void)stuff(f, &p);
	start = clock_now_ns();
	tell_shut(f, &p, VSOCK_SHUT_BOTH);
	packet_for(f, VSOCK_RST, &p);
	assert_in_range(clock_now_ns() - start, 1900 * NS_PER_MS,
			3000 * NS_PER_MS);
	assert_int_equal(counts(f)->conns_killed, 1);
	(void)close(fd);
}

static void a_host_that_goes_with_data_waiting_is_told(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	(void)stuff(f, &p);
	(void)close(fd);
	until(f, poll_packet(f) && f->hdr.op == VSOCK_SHUTDOWN &&
			 f->hdr.flags == VSOCK_SHUT_BOTH);
	tell(f, &p, VSOCK_RST);
	until(f, counts(f)->conns_removed == 1);
}

/* More than the pool has, in all: whoever finds it empty is reset. */
static void the_pool_bounds_what_waits(void **state)
{
	struct fixture *f = *state;
	struct peer p[4];
	int fd[4], resets = 0;

	attach_with(f, 16, 96 * 1024);
	for (uint32_t i = 0; i < 4; i++)
		fd[i] = connect_guest(f, &p[i], i);
	(void)stuff(f, &p[0]);
	for (uint32_t i = 1; i < 4; i++) {
		uint8_t data[4096] = {0};

		for (uint32_t sent = 0; sent < 400 * 1024;) {
			struct vsock_hdr h = {0};

			tell_data(f, &p[i], data, sizeof(data));
			sent += (uint32_t)sizeof(data);
			turns(f, 1);
			while (poll_packet(f))
				h = f->hdr;
			if (h.op == VSOCK_RST) {
				assert_true(sent < 400 * 1024);
				resets++;
				break;
			}
		}
	}
	assert_int_equal(resets, 3);
	assert_int_equal(counts(f)->conns_killed, 3);
	for (int i = 0; i < 4; i++)
		(void)close(fd[i]);
}

static void what_waited_goes_with_its_connection(void **state)
{
	struct fixture *f = *state;

	attach_with(f, 16, BUF_ALLOC + 4096);
	for (int i = 0; i < 3; i++) {
		struct peer p;
		int fd = connect_guest(f, &p, 1);

		(void)stuff(f, &p); /* all of the pool */
		tell(f, &p, VSOCK_RST);
		(void)close(fd);
		until(f, counts(f)->conns_removed == (uint64_t)i + 1);
	}
}

/* ---- layouts ---- */

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

	attach(f);
	fd = connect_guest(f, &p, 1);
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
	attach(f);
	fd = connect_guest(f, &p, 1);
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
		until(f, is_closed(fd));
		(void)close(fd);
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

	attach(f);
	fd = connect_guest(f, &p, 1);
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
		until(f, is_closed(fd));
		(void)close(fd);
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

	attach(f);
	fd = connect_guest(f, &p, 1);
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

	attach(f);
	fd = connect_guest(f, &p, 1);
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
		until(f, is_closed(fd));
		(void)close(fd);
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
		until(f, is_closed(fd));
		(void)close(fd);
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

/* ---- stalls and fairness ---- */

static uint64_t cpu_permille(struct fixture *f, uint64_t ms)
{
	uint64_t before = clock_process_cpu_us();
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < end)
		assert_int_equal(loop_turn(f->loop, end - clock_now_ns()), 0);
	return (clock_process_cpu_us() - before) / ms;
}

static void nothing_spins_without_buffers(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer p;
	size_t got = 0;
	ssize_t sent;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	p.buf_alloc = 1 << 20;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	f->rx_bytes = 0;
	fill_pattern(data, 0, sizeof(data));
	sent = send(fd, data, sizeof(data), 0);
	assert_true(sent > 200 * 1024);
	turns(f, 20);
	assert_true(cpu_permille(f, 1000) < 20);
	f->rx_bytes = 4096;
	for (size_t n = 0; n < 31; n++)
		until(f, poll_packet(f));
	got = 31ul * (4096 - sizeof(f->hdr));
	while (got < (size_t)sent) {
		packet_for(f, VSOCK_RW, &p);
		assert_true(is_pattern(f->data, got, f->hdr.len));
		got += f->hdr.len;
	}
	no_packet(f);
	(void)close(fd);
}

static bool doorbell_is_wanted(struct fixture *f, int q)
{
	if (virtio_has(dev(f), VIRTIO_F_RING_EVENT_IDX))
		return get16(&f->q[q], USED_GPA + 4 + 8 * QUEUE_SIZE) ==
		       f->q[q].avail_idx;
	return get16(&f->q[q], USED_GPA) == 0;
}

/* A driver rings only when it is asked to. */
static void doorbells_are_asked_for_when_needed(void **state)
{
	struct fixture *f = *state;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	for (int i = 0; i < 2; i++) {
		int fd;

		bring_up_vsock(f,
			       i ? F_ALL : VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
		post_rx(f, 0, 0); /* the doorbell of a driver that starts */
		kick_queue(f, TX);
		turns(f, 5);
		assert_true(doorbell_is_wanted(f, TX));
		fd = client(f);
		say(fd, "CONNECT 1\n");
		turns(f, 5);
		assert_true(doorbell_is_wanted(f, RX));
		f->rx_bytes = 4096;
		post_rx(f, 0, 2);
		packet(f, VSOCK_REQUEST);
		if (!i)
			assert_false(doorbell_is_wanted(f, RX));
		tell(f, &(struct peer){1, f->hdr.src_port, 0, 0}, VSOCK_RST);
		turns(f, 5);
		assert_true(doorbell_is_wanted(f, TX));
		(void)close(fd);
		reset_vsock(f);
	}
}

static void nothing_spins_without_credit(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer p;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	p.buf_alloc = 1000;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	assert_true(send(fd, data, sizeof(data), 0) > 0);
	packet_for(f, VSOCK_RW, &p);
	packet_for(f, VSOCK_CREDIT_REQUEST, &p);
	(void)stuff(f, &p); /* and the other way too */
	assert_true(cpu_permille(f, 1000) < 20);
	(void)close(fd);
}

static void a_flood_leaves_turns_to_others(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer flood, calm;
	int fd, other, before = 0;

	attach(f);
	fd = connect_guest(f, &flood, 1);
	other = connect_guest(f, &calm, 2);
	flood.buf_alloc = 1 << 30;
	tell(f, &flood, VSOCK_CREDIT_UPDATE);
	for (int i = 0; i < 100; i++) {
		(void)!send(fd, data, sizeof(data), 0);
		until(f, poll_packet(f));
	}
	say(other, "me too");
	do {
		until(f, poll_packet(f));
		before += f->hdr.src_port == flood.host_port;
		(void)!send(fd, data, sizeof(data), 0);
	} while (f->hdr.src_port == flood.host_port);
	/* What is in the ring, and one more. */
	assert_true(before <= 34);
	assert_memory_equal(f->data, "me too", 6);
	(void)close(fd);
	(void)close(other);
}

#define STREAMS	     200
#define STREAM_BYTES 20000u

/* The guest echoes what it gets; every stream has bytes of its own. */
static void streams_do_not_mix(void **state)
{
	struct fixture *f = *state;
	static struct {
		struct peer p;
		int fd;
		uint32_t sent, echoed, got;
	} s[STREAMS];
	uint32_t ended = 0;

	attach(f);
	for (uint32_t i = 0; i < STREAMS; i++) {
		s[i].fd = connect_guest(f, &s[i].p, i);
		s[i].sent = s[i].echoed = s[i].got = 0;
	}
	while (ended < STREAMS) {
		ended = 0;
		for (uint32_t i = 0; i < STREAMS; i++) {
			uint8_t data[3000];
			uint32_t n = MIN(STREAM_BYTES - s[i].sent, 3000u);
			ssize_t got;

			fill_pattern(data, i * 1000 + s[i].sent, n);
			if (n > 0 && send(s[i].fd, data, n, 0) == (ssize_t)n)
				s[i].sent += n;
			got = read(s[i].fd, data, sizeof(data));
			if (got > 0) {
				assert_true(is_pattern(data,
						       i * 1000 + s[i].got,
						       (size_t)got));
				s[i].got += (uint32_t)got;
			}
			ended += s[i].got == STREAM_BYTES;
		}
		turns(f, 1);
		while (poll_packet(f)) {
			uint32_t i = f->hdr.dst_port;
			uint8_t copy[4096];

			if (f->hdr.op != VSOCK_RW)
				continue;
			assert_true(is_pattern(f->data, i * 1000 + s[i].echoed,
					       f->hdr.len));
			s[i].echoed += f->hdr.len;
			s[i].p.fwd_cnt += f->hdr.len;
			memcpy(copy, f->data, f->hdr.len);
			tell_data(f, &s[i].p, copy, f->hdr.len);
		}
	}
	for (uint32_t i = 0; i < STREAMS; i++)
		(void)close(s[i].fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(data_stays_within_the_guests_credit),
		BOTH(lies_about_credit_are_no_credit),
		BOTH(a_host_that_does_not_read_stalls_the_guest),
		BOTH(data_beyond_credit_resets),
		BOTH(a_full_shutdown_waits_for_the_host_to_read),
		BOTH(a_host_that_never_reads_is_given_up),
		BOTH(a_host_that_goes_with_data_waiting_is_told),
		BOTH(the_pool_bounds_what_waits),
		BOTH(what_waited_goes_with_its_connection),
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
		BOTH(nothing_spins_without_buffers),
		BOTH(doorbells_are_asked_for_when_needed),
		BOTH(nothing_spins_without_credit),
		BOTH(a_flood_leaves_turns_to_others),
		BOTH(streams_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
