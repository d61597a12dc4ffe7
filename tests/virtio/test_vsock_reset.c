/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What resets, pauses and the end do to connections; and the helper thread's
 * part in it.
 */
#include "tests/virtio/vsock_fixture.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

/* A job of the helper that does not end until the pipe is written to. */
struct block {
	struct job job;
	int pipe[2];
	bool ended;
};

static void wait_for_pipe(struct job *j)
{
	uint8_t byte;

	(void)!read(container_of(j, struct block, job)->pipe[0], &byte, 1);
}

static void block_ended(struct job *j)
{
	container_of(j, struct block, job)->ended = true;
}

static void block_helper(struct fixture *f, struct block *b)
{
	*b = (struct block){
		.job = {.work = wait_for_pipe, .done = block_ended}};
	assert_int_equal(pipe(b->pipe), 0);
	worker_submit(f->worker, &b->job);
}

static void unblock_helper(struct fixture *f, struct block *b)
{
	assert_int_equal(write(b->pipe[1], "", 1), 1);
	until(f, b->ended);
	(void)close(b->pipe[0]);
	(void)close(b->pipe[1]);
}

/* ---- reset by the driver ---- */

static void a_reset_closes_every_connection(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd[4], lfd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	for (int round = 0; round < 3; round++) {
		fd[0] = client(f);
		fd[1] = client(f);
		say(fd[1], "CONNECT 1\n");
		packet(f, VSOCK_REQUEST);
		fd[2] = connect_guest(f, &p, 2);
		fd[3] = connect_host(f, &p, lfd, 3, 5000);
		reset_vsock(f);
		for (int i = 0; i < 4; i++) {
			closed(f, fd[i]);
		}
		until(f, counts(f)->conns_removed == counts(f)->conns_added);
		start_again(f);
		no_packet(f);
	}
	(void)close(lfd);
}

static void clients_are_refused_until_a_driver_is_back(void **state)
{
	struct fixture *f = *state;
	struct peer p;

	attach(f);
	reset_vsock(f);
	refused(f, client(f));
	assert_int_equal(counts(f)->conns_added, 0);
	start_again(f);
	(void)close(connect_guest(f, &p, 1));
}

static void a_reset_does_not_wait_for_a_connect(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 5000, .buf_alloc = 1000};
	struct block b;
	int lfd, fd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	block_helper(f, &b);
	tell(f, &p, VSOCK_REQUEST);
	turns(f, 3);
	reset_vsock(f);
	until(f, counts(f)->conns_removed == 1);
	start_again(f);
	tell(f, &p, VSOCK_REQUEST); /* the same pair, at once */
	no_packet(f);
	unblock_helper(f, &b);
	packet_for(f, VSOCK_RESPONSE, &p);
	/* The first connect has come to nothing. */
	fd = accept(lfd, NULL, NULL);
	closed(f, fd);
	fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
	say(fd, "second");
	packet_for(f, VSOCK_RW, &p);
	(void)close(fd);
	(void)close(lfd);
}

static void the_end_waits_for_connects(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 5000};
	struct block b;
	int lfd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	block_helper(f, &b);
	for (p.guest_port = 0; p.guest_port < 50; p.guest_port++)
		tell(f, &p, VSOCK_REQUEST);
	(void)client(f);
	virtio_stop(dev(f), vsock_stopped);
	turns(f, 20);
	assert_false(dev(f)->stop_queued);
	unblock_helper(f, &b);
	until(f, dev(f)->stop_queued);
	turn(f);
	vsock_free(f->vsock);
	f->vsock = NULL;
	(void)close(lfd);
}

static void a_connect_that_comes_too_late_is_closed(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 5000};
	struct block b;
	int lfd, fd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	block_helper(f, &b);
	tell(f, &p, VSOCK_REQUEST);
	packet_for(f, VSOCK_RST, &p); /* after 2 s */
	unblock_helper(f, &b);
	turns(f, 5);
	fd = accept(lfd, NULL, NULL);
	closed(f, fd);
	(void)close(lfd);
	no_packet(f);
}

static void a_broken_queue_recovers_by_reset(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	desc(&f->q[TX], 0, RAM_BYTES, 44, 0, 0);
	offer(&f->q[TX], 0);
	kick_queue(f, TX);
	until(f, needs_reset(f));
	say(fd, "unheard");
	turn_for(f, 50);
	assert_false(used_waits(&f->q[RX]));
	reset_vsock(f);
	closed(f, fd);
	start_again(f);
	(void)close(connect_guest(f, &p, 1));
}

/* ---- pause ---- */

static void a_pause_leaves_sockets_unread(void **state)
{
	struct fixture *f = *state;
	struct peer p, q = {.guest_port = 2, .buf_alloc = 1000};
	int fd, asked, late, unread, waiting;
	uint64_t cpu_us;

	fd = attach_and_connect(f, &p);
	asked = client(f);
	say(asked, "CONNECT 2\n");
	packet(f, VSOCK_REQUEST);
	q.host_port = f->hdr.src_port;
	pause_vsock(f);
	say(fd, "while paused");
	late = client(f);
	say(late, "CONNECT 3\n");
	cpu_us = clock_process_cpu_us();
	turn_for(f, 2500); /* no time passes for the guest */
	assert_true(clock_process_cpu_us() - cpu_us < 250000);
	assert_false(used_waits(&f->q[RX]));
	assert_false(is_closed(asked) || is_closed(late));
	assert_int_equal(counts(f)->rx_bytes, 0);
	assert_int_equal(ioctl(late, SIOCOUTQ, &waiting), 0);
	assert_true(waiting > 0);
	virtio_resume(dev(f));
	packet(f, VSOCK_RW);
	assert_memory_equal(f->data, "while paused", 12);
	packet(f, VSOCK_REQUEST);
	assert_int_equal(f->hdr.dst_port, 3);
	tell(f, &q, VSOCK_RESPONSE);
	hears(f, asked, "OK 1073741825\n");
	(void)close(late);
	packet(f, VSOCK_RST);
	/* What was left of the time-out has passed, not more. */
	unread = client(f);
	pause_vsock(f);
	turn_for(f, 1000);
	virtio_resume(dev(f));
	turn_for(f, 1500);
	assert_false(is_closed(unread));
	refused(f, unread);
	(void)close(fd);
	(void)close(asked);
}

static void a_host_that_left_during_a_pause_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd = attach_and_connect(f, &p);

	pause_vsock(f);
	say(fd, "bye");
	(void)close(fd);
	turns(f, 5);
	virtio_resume(dev(f));
	packet_for(f, VSOCK_RW, &p);
	packet_for(f, VSOCK_SHUTDOWN, &p);
	assert_int_equal(f->hdr.flags, VSOCK_SHUT_BOTH);
}

static void a_connect_that_ends_during_a_pause_is_told_later(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 5000};
	struct block b;
	int lfd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	block_helper(f, &b);
	tell(f, &p, VSOCK_REQUEST);
	pause_vsock(f);
	unblock_helper(f, &b);
	turns(f, 10);
	assert_false(used_waits(&f->q[RX]));
	virtio_resume(dev(f));
	packet_for(f, VSOCK_RESPONSE, &p);
	(void)close(lfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_reset_closes_every_connection),
		BOTH(clients_are_refused_until_a_driver_is_back),
		BOTH(a_reset_does_not_wait_for_a_connect),
		BOTH(the_end_waits_for_connects),
		BOTH(a_connect_that_comes_too_late_is_closed),
		BOTH(a_broken_queue_recovers_by_reset),
		BOTH(a_pause_leaves_sockets_unread),
		BOTH(a_host_that_left_during_a_pause_is_noticed),
		BOTH(a_connect_that_ends_during_a_pause_is_told_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
