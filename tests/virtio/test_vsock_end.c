/* SPDX-License-Identifier: Apache-2.0 */
/* How connections end: by halves, at every state, on either side. */
#include "tests/virtio/vsock_fixture.h"

/* ---- half a connection ---- */

static void the_host_may_end_its_stream_alone(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint8_t data[4];
	int fd;

	fd = attach_and_connect(f, &p);
	say(fd, "last");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	packet_for(f, VSOCK_RW, &p);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_SEND);
	turn_for(f, 2300); /* no time-out ends the other half */
	tell_data(f, &p, "more", 4);
	assert_int_equal(hear(f, fd, data, 4), 4);
	assert_false(is_closed(fd));
	tell_shut(f, &p, VSOCK_SHUT_BOTH);
	packet_for(f, VSOCK_RST, &p);
	closed(f, fd);
}

static void the_guest_may_end_its_stream_alone(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint8_t data[8];
	int fd;

	fd = attach_and_connect(f, &p);
	tell_data(f, &p, "last", 4);
	tell_shut(f, &p, VSOCK_SHUT_SEND);
	assert_int_equal(hear(f, fd, data, 4), 4);
	until(f, is_eof(fd));
	assert_false(is_closed(fd));
	say(fd, "more");
	packet_for(f, VSOCK_RW, &p);
	assert_memory_equal(f->data, "more", 4);
	/* It said that it would send nothing. */
	tell_data(f, &p, "x", 1);
	packet_for(f, VSOCK_RST, &p);
	closed(f, fd);
}

static void both_halves_end_one_after_the_other(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	tell_shut(f, &p, VSOCK_SHUT_SEND);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_BOTH);
	tell(f, &p, VSOCK_RST);
	closed(f, fd);
}

static void a_guest_that_reads_no_more_stops_the_host(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint8_t data[4];
	int fd;

	fd = attach_and_connect(f, &p);
	tell_shut(f, &p, VSOCK_SHUT_RCV);
	until(f, send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	tell_data(f, &p, "more", 4);
	assert_int_equal(hear(f, fd, data, 4), 4);
	tell_shut(f, &p, VSOCK_SHUT_SEND); /* with the one before: all */
	packet_for(f, VSOCK_RST, &p);
	(void)close(fd);
}

static void a_host_that_reads_no_more_is_told(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	tell_data(f, &p, "lost", 4);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_RCV);
	tell_data(f, &p, "lost too", 8);
	say(fd, "this way still goes");
	packet_for(f, VSOCK_RW, &p);
	assert_int_equal(f->hdr.fwd_cnt, 12);
	(void)close(fd);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_BOTH);
}

static void a_shutdown_without_answer_is_timed_out(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	(void)close(fd);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	turn_for(f, 1700);
	no_packet(f);
	packet_for(f, VSOCK_RST, &p);
	until(f, counts(f)->conns_removed == 1);
	assert_int_equal(counts(f)->conns_killed, 1);
}

/* What a client wrote before it went arrives before the news of that. */
static void a_stream_is_delivered_before_its_end(void **state)
{
	struct fixture *f = *state;
	uint8_t data[50000];
	struct peer p;
	size_t got = 0;
	int fd;

	fd = attach_and_connect(f, &p);
	fill_pattern(data, 0, sizeof(data));
	assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
	(void)close(fd);
	while (got < sizeof(data)) {
		packet_for(f, VSOCK_RW, &p);
		assert_true(is_pattern(f->data, got, f->hdr.len));
		got += f->hdr.len;
	}
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_BOTH);
}

/* ---- at every state ---- */

static void clients_may_go_at_every_state(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	attach(f);
	(void)close(client(f)); /* without a word */
	until(f, counts(f)->conns_removed == 1);
	fd = client(f);
	say(fd, "CONN");
	(void)close(fd);
	until(f, counts(f)->conns_removed == 2);
	fd = client(f);
	say(fd, "CONNECT 3\n");
	packet(f, VSOCK_REQUEST);
	(void)close(fd);
	packet(f, VSOCK_RST);
	until(f, counts(f)->conns_removed == 3);
	fd = connect_guest(f, &p, 3);
	tell_data(f, &p, "unread", 6); /* closing makes it a reset */
	(void)close(fd);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	tell(f, &p, VSOCK_RST);
	until(f, counts(f)->conns_removed == 4);
	no_packet(f);
}

static void a_client_that_left_unannounced_is_not_spoken_of(void **state)
{
	struct fixture *f = *state;
	int fd;

	new_vsock(f, 4, VSOCK_POOL_BYTES);
	bring_up_vsock(f, F_ALL);
	fd = client(f);
	say(fd, "CONNECT 1\n"); /* there is no buffer for the request */
	turns(f, 5);
	assert_int_equal(counts(f)->conns_added, 1);
	(void)close(fd);
	until(f, counts(f)->conns_removed == 1);
	f->rx_bytes = 4096;
	post_rx(f, 0, 4);
	no_packet(f);
}

static void guests_may_reset_at_every_state(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 5, .host_port = 5000};
	int lfd, fd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	tell(f, &p, VSOCK_REQUEST); /* and again before the connect ended */
	tell(f, &p, VSOCK_RST);
	until(f, counts(f)->conns_removed == 1);
	turns(f, 10); /* what became of the connect */
	(void)close(accept4(lfd, NULL, NULL, SOCK_CLOEXEC));
	fd = connect_host(f, &p, lfd, 6, 5000);
	tell(f, &p, VSOCK_RST);
	closed(f, fd);
	fd = connect_guest(f, &p, 7);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	tell(f, &p, VSOCK_RST);
	closed(f, fd);
	(void)close(lfd);
	no_packet(f);
}

/* A reset and a new request in one go: the first socket is yet to be closed. */
static void ports_are_free_after_a_reset(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int lfd, fd[20];

	attach(f);
	lfd = listen_port(f, 5000, 5);
	fd[0] = connect_host(f, &p, lfd, 6, 5000);
	for (int i = 1; i < 20; i++) {
		struct vsock_hdr h[2] = {header(&p, VSOCK_RST, 0),
					 header(&p, VSOCK_REQUEST, 0)};

		assert_int_equal(gmem_write(&f->vm->mem, TX_GPA, h, sizeof(h)),
				 0);
		desc(&f->q[TX], 0, TX_GPA, sizeof(h[0]), 0, 0);
		desc(&f->q[TX], 1, TX_GPA + sizeof(h[0]), sizeof(h[1]), 0, 0);
		offer(&f->q[TX], 0);
		offer(&f->q[TX], 1);
		kick_queue(f, TX);
		packet_for(f, VSOCK_RESPONSE, &p);
		collect_tx(f);
		fd[i] = accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
		closed(f, fd[i - 1]);
	}
	say(fd[19], "last");
	packet_for(f, VSOCK_RW, &p);
	(void)close(fd[19]);
	(void)close(lfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(the_host_may_end_its_stream_alone),
		BOTH(the_guest_may_end_its_stream_alone),
		BOTH(both_halves_end_one_after_the_other),
		BOTH(a_guest_that_reads_no_more_stops_the_host),
		BOTH(a_host_that_reads_no_more_is_told),
		BOTH(a_shutdown_without_answer_is_timed_out),
		BOTH(a_stream_is_delivered_before_its_end),
		BOTH(clients_may_go_at_every_state),
		BOTH(a_client_that_left_unannounced_is_not_spoken_of),
		BOTH(guests_may_reset_at_every_state),
		BOTH(ports_are_free_after_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
