/* SPDX-License-Identifier: Apache-2.0 */
/* A socket device under more of everything than it has room for. */
#include "tests/virtio/vsock_fixture.h"

/* Packets of a storm. */
static uint32_t storm(void)
{
	return getenv("MAYFLY_SOAK") ? 1000000 : 100000;
}

/* ---- records ---- */

static void connections_are_limited(void **state)
{
	struct fixture *f = *state;
	struct peer p, late = {.guest_port = 9, .host_port = 5000};
	int fd[4], lfd;

	attach_with(f, 4, VSOCK_POOL_BYTES);
	lfd = listen_port(f, 5000, 5);
	for (uint32_t i = 0; i < 4; i++)
		fd[i] = connect_guest(f, &p, i);
	refused(f, client(f));
	tell(f, &late, VSOCK_REQUEST);
	packet_for(f, VSOCK_RST, &late);
	tell(f, &p, VSOCK_RST);
	closed(f, fd[3]);
	fd[3] = connect_host(f, &late, lfd, 9, 5000);
	for (int i = 0; i < 4; i++)
		(void)close(fd[i]);
	(void)close(lfd);
}

static bool may_open(uint32_t n)
{
	struct rlimit lim;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = MAX(lim.rlim_max, FDS_END + (rlim_t)n + 100);
	lim.rlim_max = lim.rlim_cur;
	return setrlimit(RLIMIT_NOFILE, &lim) == 0;
}

static void the_default_number_is_served_at_once(void **state)
{
	enum { N = VSOCK_CONNECTIONS };
	struct fixture *f = *state;
	static struct peer p[N];
	static int fd[N];
	unsigned int fds;

	if (!may_open(2 * N))
		skip();
	attach(f);
	fds = count_fds();
	for (uint32_t i = 0; i < N; i++)
		fd[i] = connect_guest(f, &p[i], i);
	refused(f, client(f));
	for (uint32_t i = 0; i < N; i++) {
		uint32_t at = i * 7919 % N;
		char text[16] = {0}, got[16] = {0};

		(void)snprintf(text, sizeof(text), "%u", at);
		tell_data(f, &p[at], text, 16);
		until(f, recv(fd[at], got, 16, MSG_WAITALL) == 16);
		assert_string_equal(got, text);
	}
	for (uint32_t i = 0; i < N; i++)
		(void)close(fd[i]);
	for (uint32_t i = 0; i < N; i++) {
		packet(f, VSOCK_SHUTDOWN);
		assert_int_equal(f->hdr.src_port, p[f->hdr.dst_port].host_port);
		tell(f, &p[f->hdr.dst_port], VSOCK_RST);
	}
	until(f, counts(f)->conns_removed == N);
	assert_int_equal(count_fds(), fds);
}

/* In the queues of four listeners, so that one descriptor each is enough. */
static void ten_thousand_are_served_at_once(void **state)
{
	enum { N = 10000, EACH = 2500 };
	struct fixture *f = *state;
	struct peer p = {.buf_alloc = 1000};
	unsigned int fds;
	int lfd[N / EACH];

	if (!may_open(N))
		skip();
	attach_with(f, N, VSOCK_POOL_BYTES);
	for (uint32_t i = 0; i < N / EACH; i++)
		lfd[i] = listen_port(f, i, EACH);
	fds = count_fds();
	for (uint32_t i = 0; i < N; i++) {
		p.guest_port = i;
		p.host_port = i / EACH;
		tell(f, &p, VSOCK_REQUEST);
		packet_for(f, VSOCK_RESPONSE, &p);
	}
	assert_int_equal(count_fds(), fds + N);
	p.guest_port = N;
	tell(f, &p, VSOCK_REQUEST);
	packet_for(f, VSOCK_RST, &p);
	for (uint32_t i = 0; i < N; i += 9) {
		p.guest_port = i;
		p.host_port = i / EACH;
		tell_data(f, &p, &i, sizeof(i));
	}
	for (uint32_t i = 0; i < N; i++) {
		int fd = accept4(lfd[i / EACH], NULL, NULL, SOCK_CLOEXEC);
		uint32_t got;

		if (i % 9 == 0) {
			assert_int_equal(read(fd, &got, sizeof(got)), 4);
			assert_int_equal(got, i);
		}
		(void)close(fd);
	}
	for (uint32_t i = 0; i < N; i++) {
		packet(f, VSOCK_SHUTDOWN);
		p.guest_port = f->hdr.dst_port;
		p.host_port = f->hdr.src_port;
		tell(f, &p, VSOCK_RST);
	}
	until(f, counts(f)->conns_removed == N);
	assert_int_equal(count_fds(), fds);
	for (uint32_t i = 0; i < N / EACH; i++)
		(void)close(lfd[i]);
}

/* ---- descriptors ---- */

static void no_descriptors_is_a_pause(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 9, .host_port = 5000};
	struct rlimit lim, none;
	uint64_t cpu, end;
	int fd[3], lfd;

	new_vsock(f, 16, VSOCK_POOL_BYTES);
	lfd = listen_port(f, 5000, 5);
	for (int i = 0; i < 3; i++)
		fd[i] = client(f);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = lim.rlim_max};
	/* io_uring takes the limit of when an accept starts. */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	bring_up_vsock(f, F_ALL);
	f->rx_bytes = 4096;
	post_rx(f, 0, 8);
	tell(f, &p, VSOCK_REQUEST);
	packet_for(f, VSOCK_RST, &p);
	cpu = clock_process_cpu_us();
	end = clock_now_ns() + NS_PER_S;
	while (clock_now_ns() < end)
		assert_int_equal(loop_turn(f->loop, 500 * NS_PER_MS), 0);
	assert_true(clock_process_cpu_us() - cpu < 20000);
	assert_true(counts(f)->muxer_event_fails >= 3);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
	for (int i = 0; i < 3; i++) {
		say(fd[i], "CONNECT 1\n");
		packet(f, VSOCK_REQUEST);
	}
	for (int i = 0; i < 3; i++)
		(void)close(fd[i]);
	(void)close(lfd);
}

/* ---- storms ---- */

/* Several packets a doorbell: they stand in slots of their own. */
static void send_many(struct fixture *f, const struct vsock_hdr *h, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint16_t head = f->q[TX].avail_idx % QUEUE_SIZE;
		uint64_t gpa = TX_GPA + head * 64u;

		assert_int_equal(
			gmem_write(&f->vm->mem, gpa, &h[i], sizeof(*h)), 0);
		desc(&f->q[TX], head, gpa, sizeof(*h), 0, 0);
		offer(&f->q[TX], head);
	}
	kick_queue(f, TX);
	until(f, get16(&f->q[TX], USED_GPA + 2) == f->q[TX].avail_idx);
	collect_tx(f);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void drop_packets(struct fixture *f)
{
	while (poll_packet(f))
		;
}

/* Everything at random, with a listener, without one, with clients. */
static void malformed_packets_leave_nothing_behind(void **state)
{
	struct fixture *f = *state;
	struct vsock_hdr h[32];
	unsigned int fds;
	const uint32_t n = storm();
	uint32_t seed = 1;
	uint64_t rss = 0;
	int lfd;

	attach(f);
	lfd = listen_port(f, 1, 1000);
	fds = count_fds();
	for (uint32_t i = 0; i < n / 32; i++) {
		for (uint32_t k = 0; k < 32; k++) {
			uint32_t r = next_random(&seed);
			struct peer p = {.guest_port = r % 40,
					 .host_port = r / 64 % 3,
					 .buf_alloc = r % 7 ? r : 0,
					 .fwd_cnt = r / 8};

			h[k] = header(&p, (enum vsock_op)(r / 512 % 9),
				      r & 1024 ? 0 : r);
			h[k].flags = r / 2048 % 5;
			if (r / 4096 % 16 == 0)
				h[k].type = (uint16_t)(r / 4096 % 3);
			if (r / 65536 % 16 == 0)
				h[k].dst_cid = r;
		}
		send_many(f, h, 32);
		for (int fd; (fd = accept(lfd, NULL, NULL)) >= 0;)
			(void)close(fd);
		turns(f, 1);
		drop_packets(f);
		if (i == n / 64)
			rss = rss_bytes();
	}
	for (uint32_t port = 0; port < 40; port++)
		for (uint32_t to = 0; to < 3; to++)
			tell(f, &(struct peer){port, to, 0, 0}, VSOCK_RST);
	turns(f, 20);
	drop_packets(f);
	until(f, counts(f)->conns_removed == counts(f)->conns_added);
	assert_true(counts(f)->conns_added > 1000);
	assert_false(needs_reset(f));
	for (int fd; (fd = accept(lfd, NULL, NULL)) >= 0;)
		(void)close(fd);
	assert_int_equal(count_fds(), fds);
	assert_true(rss_bytes() < rss + MIB);
	(void)close(lfd);
}

static void requests_to_dead_ports_are_all_refused(void **state)
{
	struct fixture *f = *state;
	const uint32_t n = storm() / 10;
	uint32_t rsts = 0;

	attach(f);
	for (uint32_t i = 0; i < n; i += 20) {
		struct vsock_hdr h[20];

		for (uint32_t k = 0; k < 20; k++) {
			struct peer p = {.guest_port = i + k, .host_port = 70};

			h[k] = header(&p, VSOCK_REQUEST, 0);
		}
		send_many(f, h, 20);
		for (uint32_t k = 0; k < 20; k++, rsts++)
			packet(f, VSOCK_RST);
	}
	assert_int_equal(counts(f)->conns_removed, n);
	assert_int_equal(rsts, n);
}

/* Without buffers, refusals of strangers are few, those of friends are kept. */
static void refusals_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct vsock_hdr h[100];
	uint32_t strangers = 0;
	struct peer p[40];
	int fd[40];

	attach(f);
	for (uint32_t i = 0; i < 40; i++)
		fd[i] = connect_guest(f, &p[i], i);
	f->rx_bytes = 0;
	for (uint32_t i = 0; i < 32; i++) {
		tell(f, &p[0], VSOCK_CREDIT_REQUEST);
		packet(f, VSOCK_CREDIT_UPDATE);
	}
	for (uint32_t k = 0; k < 100; k++)
		h[k] = header(&(struct peer){1000 + k, 1, 0, 0}, VSOCK_RW, 0);
	for (int i = 0; i < 10; i++)
		send_many(f, h, 100);
	for (uint32_t i = 0; i < 40; i++)
		tell(f, &p[i], VSOCK_REQUEST); /* an error: it is reset */
	for (uint32_t i = 0; i < 40; i++)
		until(f, is_closed(fd[i]));
	no_packet(f);
	f->rx_bytes = 4096;
	post_rx(f, 0, 32);
	for (uint32_t friends = 0; friends < 40;) {
		packet(f, VSOCK_RST);
		strangers += f->hdr.dst_port >= 1000;
		friends += f->hdr.dst_port < 1000;
	}
	assert_int_equal(strangers, 256);
	for (uint32_t i = 0; i < 40; i++)
		(void)close(fd[i]);
	no_packet(f);
}

/* ---- the helper ---- */

struct slow {
	struct job job;
	uint64_t end_ns;
	bool ended;
};

static void note_time(struct job *j)
{
	container_of(j, struct slow, job)->end_ns = clock_now_ns();
}

static void note_end(struct job *j)
{
	container_of(j, struct slow, job)->ended = true;
}

static void a_storm_of_requests_leaves_the_helper_to_others(void **state)
{
	struct fixture *f = *state;
	struct slow s = {.job = {.work = note_time, .done = note_end}};
	uint64_t start;

	attach(f);
	for (uint32_t i = 0; i < 200; i += 20) {
		struct vsock_hdr h[20];

		for (uint32_t k = 0; k < 20; k++)
			h[k] = header(&(struct peer){i + k, 70, 0, 0},
				      VSOCK_REQUEST, 0);
		send_many(f, h, 20);
	}
	start = clock_now_ns();
	worker_submit(f->worker, &s.job);
	until(f, s.ended);
	assert_true(s.end_ns - start < 200 * NS_PER_MS);
	for (int i = 0; i < 200; i++)
		packet(f, VSOCK_RST);
}

/* ---- credit ---- */

/* Half of what is left of half of the pool, and never less than the least. */
static void few_connections_have_more_credit(void **state)
{
	static const uint32_t credit[] = {3 * MIB,   5 * MIB / 2, 5 * MIB / 4,
					  640 << 10, 320 << 10,	  160 << 10,
					  80 << 10,  BUF_ALLOC,	  BUF_ALLOC};
	struct fixture *f = *state;
	struct peer p[9];
	int fd[9];

	f->credit = 3 * MIB;
	attach(f);
	for (uint32_t i = 0; i < 9; i++) {
		fd[i] = connect_guest(f, &p[i], i);
		tell(f, &p[i], VSOCK_CREDIT_REQUEST);
		packet_for(f, VSOCK_CREDIT_UPDATE, &p[i]);
		assert_int_equal(f->hdr.buf_alloc, credit[i]);
	}
	/* It is there again for the next. */
	tell(f, &p[0], VSOCK_RST);
	closed(f, fd[0]);
	fd[0] = connect_guest(f, &p[0], 0);
	assert_in_range(f->hdr.buf_alloc, MIB, 2 * MIB);
	for (int i = 0; i < 9; i++)
		(void)close(fd[i]);
}

/* All of it is held for a host that does not read, and not a byte more. */
static void credit_is_exact(void **state)
{
	static uint8_t data[BUF_ALLOC];
	struct fixture *f = *state;
	uint32_t sent = 0, fwd = 0;
	struct peer p;
	int fd;

	f->credit = MIB;
	fd = attach_and_connect(f, &p);
	while (sent - fwd < MIB) {
		uint32_t n = (uint32_t)MIN(MIB - (sent - fwd), sizeof(data));

		tell_data(f, &p, data, n);
		sent += n;
		drop_packets(f);
		tell(f, &p, VSOCK_CREDIT_REQUEST);
		packet_for(f, VSOCK_CREDIT_UPDATE, &p);
		fwd = f->hdr.fwd_cnt;
	}
	tell_data(f, &p, data, 1);
	packet_for(f, VSOCK_RST, &p);
	(void)close(fd);
}

/* Linux sends no more than it would take, and then waits to be told. */
static void a_guest_that_uses_less_credit_is_told_in_time(void **state)
{
	static uint8_t data[BUF_ALLOC], heard[BUF_ALLOC];
	struct fixture *f = *state;
	struct peer p;
	int fd;

	f->credit = MIB;
	fd = attach_and_connect(f, &p);
	assert_true(p.buf_alloc / 2 % BUF_ALLOC == 0);
	for (uint32_t n = 0; n < p.buf_alloc / 2; n += BUF_ALLOC) {
		tell_data(f, &p, data, BUF_ALLOC);
		assert_int_equal(hear(f, fd, heard, BUF_ALLOC), BUF_ALLOC);
	}
	packet_for(f, VSOCK_CREDIT_UPDATE, &p);
	assert_int_equal(f->hdr.fwd_cnt, p.buf_alloc / 2);
	(void)close(fd);
}

/* ---- memory ---- */

/* What was kept for hosts that did not read goes back when they have. */
static void memory_returns_to_small(void **state)
{
	enum { N = 100 };
	struct fixture *f = *state;
	static uint8_t data[BUF_ALLOC];
	struct peer p[N];
	int fd[N], small = 4096;
	uint64_t before, full;

	attach(f);
	memset(data, 1, sizeof(data));
	for (uint32_t i = 0; i < N; i++)
		fd[i] = connect_guest(f, &p[i], i);
	before = rss_bytes();
	for (uint32_t i = 0; i < N; i++) {
		uint32_t sent = 0, fwd = 0;

		(void)setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &small,
				 sizeof(small));
		while (sent - fwd < BUF_ALLOC) {
			uint32_t n = MIN(BUF_ALLOC - (sent - fwd), 32768u);

			tell_data(f, &p[i], data, n);
			sent += n;
			tell(f, &p[i], VSOCK_CREDIT_REQUEST);
			until(f, poll_packet(f));
			drop_packets(f);
			fwd = f->hdr.fwd_cnt;
		}
	}
	full = rss_bytes();
	assert_true(full - before > 4 * MIB);
	for (uint32_t i = 0; i < N; i++) {
		(void)close(fd[i]);
		turns(f, 1);
		drop_packets(f);
	}
	turns(f, 10);
	assert_true(rss_bytes() < before + MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(connections_are_limited),
		BOTH(the_default_number_is_served_at_once),
		BOTH(ten_thousand_are_served_at_once),
		BOTH(no_descriptors_is_a_pause),
		BOTH(malformed_packets_leave_nothing_behind),
		BOTH(requests_to_dead_ports_are_all_refused),
		BOTH(refusals_are_bounded),
		BOTH(a_storm_of_requests_leaves_the_helper_to_others),
		BOTH(few_connections_have_more_credit),
		BOTH(credit_is_exact),
		BOTH(a_guest_that_uses_less_credit_is_told_in_time),
		BOTH(memory_returns_to_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
