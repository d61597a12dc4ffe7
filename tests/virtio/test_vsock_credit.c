/* SPDX-License-Identifier: Apache-2.0 */
/* Credit both ways, and what waits when it is gone. */
#include "tests/virtio/vsock_fixture.h"

/* ---- the guest's credit ---- */

static void data_stays_within_the_guests_credit(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
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

static void a_host_that_does_not_read_stalls_the_guest(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer p;
	uint32_t sent;
	size_t got;
	int fd;

	fd = attach_and_connect(f, &p);
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
		closed(f, fd);
		fd = connect_guest(f, &p, 1);
	}
	(void)close(fd);
}

static void data_beyond_credit_resets(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
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

	fd = attach_and_connect(f, &p);
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

	fd = attach_and_connect(f, &p);
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

	fd = attach_and_connect(f, &p);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
