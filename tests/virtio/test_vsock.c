/* SPDX-License-Identifier: Apache-2.0 */
/* How connections through a socket device begin. */
#include "tests/virtio/vsock_fixture.h"

/* ---- the device ---- */

static void configuration_holds_the_cid(void **state)
{
	struct fixture *f = *state;

	attach(f);
	assert_int_equal(reg_read(&f->q[RX], 0x08), 19);
	assert_int_equal(reg_read(&f->q[RX], 0x100), CID);
	assert_int_equal(reg_read(&f->q[RX], 0x104), 0);
	assert_true(dev(f)->features == F_ALL);
}

static void bad_configurations_are_refused(void **state)
{
	struct fixture *f = *state;
	struct vsock_config cfg = {.uds_path = f->path,
				   .listener = -1,
				   .max_connections = 1,
				   .pool_bytes = 4096};
	char path[128] = {0};
	struct err e;
	struct vsock *v;

	cfg.max_connections = 0;
	assert_int_equal(vsock_new(&v, f->vm, &cfg, &e), -EINVAL);
	cfg.max_connections = VSOCK_CONNECTIONS_MAX + 1;
	assert_int_equal(vsock_new(&v, f->vm, &cfg, &e), -EINVAL);
	cfg.max_connections = 1;
	cfg.pool_bytes = 4095;
	assert_int_equal(vsock_new(&v, f->vm, &cfg, &e), -EINVAL);
	cfg.pool_bytes = 4096;
	cfg.uds_path = memset(path, 'x', sizeof(path) - 1);
	assert_int_equal(vsock_new(&v, f->vm, &cfg, &e), -ENAMETOOLONG);
	assert_int_equal(f->vm->n_devs, 0);
	assert_int_equal(fcntl(0, F_GETFD), 0); /* nothing else was closed */
}

/* ---- host to guest ---- */

static void a_client_reaches_the_guest(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint8_t data[5];
	int fd;

	fd = attach_and_connect(f, &p);
	assert_int_equal(p.host_port, 1u << 30);
	tell_data(f, &p, "hello", 5);
	assert_int_equal(hear(f, fd, data, 5), 5);
	assert_memory_equal(data, "hello", 5);
	say(fd, "world!");
	packet_for(f, VSOCK_RW, &p);
	assert_int_equal(f->hdr.len, 6);
	assert_memory_equal(f->data, "world!", 6);
	assert_int_equal(counts(f)->tx_bytes, 5);
	assert_int_equal(counts(f)->rx_bytes, 6);
	(void)close(fd);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_BOTH);
	tell(f, &p, VSOCK_RST);
	until(f, counts(f)->conns_removed == 1);
	no_packet(f);
}

static void local_ports_count_up(void **state)
{
	struct fixture *f = *state;

	attach(f);
	for (uint32_t i = 0; i < 5; i++) {
		struct peer p;
		int fd = connect_guest(f, &p, 1000);

		assert_int_equal(p.host_port, (1u << 30) + i);
		(void)close(fd);
		packet_for(f, VSOCK_SHUTDOWN, &p);
		tell(f, &p, VSOCK_RST);
	}
}

static void a_local_port_in_use_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct peer p, q;
	int lfd, fd, other;

	attach(f);
	lfd = listen_port(f, 1u << 30, 5);
	fd = connect_host(f, &p, lfd, 77, 1u << 30);
	other = connect_guest(f, &q, 77);
	assert_int_equal(q.host_port, (1u << 30) + 1);
	(void)close(fd);
	(void)close(other);
	(void)close(lfd);
}

static void a_line_may_come_in_pieces(void **state)
{
	struct fixture *f = *state;
	const char *line = "cOnNeCt 1234\n";
	int fd;

	attach(f);
	fd = client(f);
	for (size_t i = 0; i < strlen(line); i++) {
		no_packet(f);
		assert_int_equal(send(fd, line + i, 1, 0), 1);
	}
	packet(f, VSOCK_REQUEST);
	assert_int_equal(f->hdr.dst_port, 1234);
	(void)close(fd);
	packet(f, VSOCK_RST);
}

static void bytes_behind_the_line_belong_to_the_stream(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 7, .buf_alloc = 65536};
	int fd;

	attach(f);
	fd = client(f);
	say(fd, "CONNECT 7\nearly\nbird");
	packet(f, VSOCK_REQUEST);
	p.host_port = f->hdr.src_port;
	no_packet(f);
	tell(f, &p, VSOCK_RESPONSE);
	packet_for(f, VSOCK_RW, &p);
	assert_int_equal(f->hdr.len, 10);
	assert_memory_equal(f->data, "early\nbird", 10);
	hears(f, fd, "OK 1073741824\n");
	(void)close(fd);
}

static void lines_are_read_as_in_firecracker(void **state)
{
	static const struct {
		const char *line;
		uint32_t port;
	} good[] = {
		{"CONNECT 0\n", 0},
		{"connect 4294967295\n", UINT32_MAX},
		{"  CONNECT\t 80 \r\n", 80},
		{"Connect 80 and more words\n", 80},
		{"CONNECT +080\n", 80},
		{"CONNECT 0000000000000000000001\n", 1},
	};
	static const char *const bad[] = {
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT x\n",
		"CONNECT 1x\n",
		"CONNECT -1\n",
		"CONNECT +\n",
		"CONNECT 4294967296\n",
		"CONNECT 99999999999999999999\n",
		"CONNECT 0x10\n",
		"CONNECT80\n",
		"CONNEC 80\n",
		"CONNECTS 80\n",
		"80\n",
		"\n",
		"GET / HTTP/1.1\r\n",
		"CONNECT 000000000000000000000001\n",
	};
	struct fixture *f = *state;

	attach(f);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		int fd = client(f);

		say(fd, good[i].line);
		packet(f, VSOCK_REQUEST);
		assert_int_equal(f->hdr.dst_port, good[i].port);
		(void)close(fd);
		packet(f, VSOCK_RST);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int fd = client(f);

		/* The longest is cut: what follows the 32 bytes is not read. */
		assert_true(send(fd, bad[i], MIN(strlen(bad[i]), (size_t)32),
				 0) > 0);
		refused(f, fd);
	}
	no_packet(f);
	assert_int_equal(counts(f)->conns_added, counts(f)->conns_removed);
}

static void a_guest_that_refuses_closes_the_client(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 9};
	int fd;

	attach(f);
	fd = client(f);
	say(fd, "CONNECT 9\n");
	packet(f, VSOCK_REQUEST);
	p.host_port = f->hdr.src_port;
	tell(f, &p, VSOCK_RST);
	refused(f, fd);
	no_packet(f);
}

static void silence_is_timed_out(void **state)
{
	struct fixture *f = *state;
	uint64_t start = clock_now_ns();
	struct peer p = {.guest_port = 9};
	int mute, asked;

	attach(f);
	mute = client(f);
	asked = client(f);
	say(asked, "CONNECT 9\n");
	packet(f, VSOCK_REQUEST);
	p.host_port = f->hdr.src_port;
	turn_for(f, 1700);
	assert_false(is_closed(mute) || is_closed(asked));
	refused(f, mute);
	packet_for(f, VSOCK_RST, &p);
	refused(f, asked);
	assert_true(clock_now_ns() - start < 3 * NS_PER_S);
	/* Too late: there is no such connection. */
	tell(f, &p, VSOCK_RESPONSE);
	packet_for(f, VSOCK_RST, &p);
	assert_int_equal(counts(f)->conns_removed, 2);
}

static void a_client_before_the_driver_waits(void **state)
{
	struct fixture *f = *state;
	int fd;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	fd = client(f);
	say(fd, "CONNECT 9\n");
	turns(f, 5);
	assert_int_equal(counts(f)->conns_added, 0);
	bring_up_vsock(f, F_ALL);
	f->rx_bytes = 4096;
	post_rx(f, 0, 8);
	packet(f, VSOCK_REQUEST);
	(void)close(fd);
}

/* ---- guest to host ---- */

static void the_guest_reaches_a_listener(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint8_t data[3];
	int lfd, fd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	fd = connect_host(f, &p, lfd, 1111, 5000);
	tell_data(f, &p, "abc", 3);
	assert_int_equal(hear(f, fd, data, 3), 3);
	assert_memory_equal(data, "abc", 3);
	say(fd, "xyz");
	packet_for(f, VSOCK_RW, &p);
	assert_memory_equal(f->data, "xyz", 3);
	tell_shut(f, &p, VSOCK_SHUT_BOTH);
	packet_for(f, VSOCK_RST, &p);
	closed(f, fd);
	(void)close(lfd);
}

static void a_missing_listener_is_refused(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 5000};
	uint64_t start = clock_now_ns();

	attach(f);
	tell(f, &p, VSOCK_REQUEST);
	packet_for(f, VSOCK_RST, &p);
	assert_true(clock_now_ns() - start < NS_PER_S);
	assert_int_equal(counts(f)->conns_removed, 1);
	no_packet(f);
}

/* "<path>_<port>" must fit into an address, which has 107 bytes for it. */
static void a_path_that_is_too_long_is_refused(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 10};
	size_t len = strlen(f->dir);
	char path[105], listener[112];
	int lfd, fd;

	memset(path, 'p', sizeof(path));
	memcpy(path, f->dir, len);
	path[len] = '/';
	path[104] = 0;
	(void)snprintf(listener, sizeof(listener), "%s_10", path);
	memcpy(f->path, path, sizeof(path));
	attach(f);
	lfd = listen_at(listener, 5);
	fd = connect_host(f, &p, lfd, 1, 10);
	p = (struct peer){.guest_port = 1, .host_port = 100};
	tell(f, &p, VSOCK_REQUEST);
	packet_for(f, VSOCK_RST, &p);
	(void)close(fd);
	(void)close(lfd);
}

static void a_full_backlog_is_tried_again(void **state)
{
	struct fixture *f = *state;
	struct peer p[8];
	uint64_t start = clock_now_ns();
	int lfd, fd[4];

	attach(f);
	lfd = listen_port(f, 5000, 1); /* takes two */
	for (uint32_t i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = (struct peer){
			.guest_port = i, .host_port = 5000, .buf_alloc = 65536};
		tell(f, &p[i], VSOCK_REQUEST);
	}
	packet(f, VSOCK_RESPONSE);
	packet(f, VSOCK_RESPONSE);
	turn_for(f, 100);
	assert_false(poll_packet(f));
	for (int i = 0; i < 4; i++) { /* lets another in */
		fd[i] = accept4(lfd, NULL, NULL, SOCK_CLOEXEC);
		assert_true(fd[i] >= 0);
		packet(f, VSOCK_RESPONSE);
	}
	turn_for(f, 1500);
	assert_false(poll_packet(f));
	packet(f, VSOCK_RST);
	packet(f, VSOCK_RST);
	assert_true(clock_now_ns() - start < 3 * NS_PER_S);
	for (int i = 0; i < 4; i++)
		(void)close(fd[i]);
	(void)close(lfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(configuration_holds_the_cid),
		BOTH(bad_configurations_are_refused),
		BOTH(a_client_reaches_the_guest),
		BOTH(local_ports_count_up),
		BOTH(a_local_port_in_use_is_passed_over),
		BOTH(a_line_may_come_in_pieces),
		BOTH(bytes_behind_the_line_belong_to_the_stream),
		BOTH(lines_are_read_as_in_firecracker),
		BOTH(a_guest_that_refuses_closes_the_client),
		BOTH(silence_is_timed_out),
		BOTH(a_client_before_the_driver_waits),
		BOTH(the_guest_reaches_a_listener),
		BOTH(a_missing_listener_is_refused),
		BOTH(a_path_that_is_too_long_is_refused),
		BOTH(a_full_backlog_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
