/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What resets, pauses, restores and the end do to connections; and the helper
 * thread's part in it.
 */
#include "tests/virtio/vsock_fixture.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/archive.h"

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

static void start_again(struct fixture *f)
{
	bring_up_vsock(f, F_ALL);
	post_rx(f, 0, 32);
	turns(f, 2);
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
			until(f, is_closed(fd[i]));
			(void)close(fd[i]);
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
	until(f, is_closed(fd));
	(void)close(fd);
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
	until(f, is_closed(fd));
	(void)close(fd);
	(void)close(lfd);
	no_packet(f);
}

static void a_broken_queue_recovers_by_reset(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	int fd;

	attach(f);
	fd = connect_guest(f, &p, 1);
	desc(&f->q[TX], 0, RAM_BYTES, 44, 0, 0);
	offer(&f->q[TX], 0);
	kick_queue(f, TX);
	until(f, needs_reset(f));
	say(fd, "unheard");
	turn_for(f, 50);
	assert_false(used_waits(&f->q[RX]));
	reset_vsock(f);
	until(f, is_closed(fd));
	(void)close(fd);
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

	attach(f);
	fd = connect_guest(f, &p, 1);
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

	attach(f);
	int fd = connect_guest(f, &p, 1);

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

/* ---- transport reset ---- */

static bool take_event(struct fixture *f, uint32_t *head)
{
	uint32_t len;

	if (!take_used(&f->q[EVENT], head, &len))
		return false;
	assert_int_equal(len, 4);
	assert_int_equal(get32(&f->q[EVENT], DATA_GPA + *head * 8u), 0);
	return true;
}

static void post_events(struct fixture *f, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		put32(&f->q[EVENT], DATA_GPA + i * 8u, 0xeeeeeeee);
		post_event(f, i);
	}
	turns(f, 2);
}

/* As a driver with EVENT_IDX does it: only if the device asked for it. */
static void offer_event_again(struct fixture *f, uint16_t head)
{
	uint16_t idx = f->q[EVENT].avail_idx;
	uint16_t asked =
		get16(&f->q[EVENT], USED_GPA + 4 + 8 * (uint64_t)QUEUE_SIZE);

	desc(&f->q[EVENT], head, RINGS_GPA(EVENT) + DATA_GPA + head * 8u, 8,
	     DESC_WRITE, 0);
	offer(&f->q[EVENT], head);
	if (asked == idx)
		kick_queue(f, EVENT);
}

static void a_transport_reset_comes_before_all_else(void **state)
{
	struct fixture *f = *state;
	struct peer old, p;
	uint32_t head;
	int fd, next;

	attach(f);
	post_events(f, 8);
	fd = connect_guest(f, &old, 1);
	pause_vsock(f);
	vsock_reset_transport(f->vsock);
	until(f, is_closed(fd));
	(void)close(fd);
	virtio_resume(dev(f));
	next = client(f);
	say(next, "CONNECT 2\n");
	until(f, take_event(f, &head));
	no_packet(f); /* the driver has seen it but not shown so */
	kick_queue(f, EVENT);
	kick_queue(f, RX);
	no_packet(f);
	tell(f, &old, VSOCK_RW); /* late, and not worth an answer */
	no_packet(f);
	offer_event_again(f, (uint16_t)head);
	packet(f, VSOCK_REQUEST);
	assert_int_equal(f->hdr.src_port, (1u << 30) + 1); /* counted on */
	p = (struct peer){.guest_port = 2,
			  .host_port = f->hdr.src_port,
			  .buf_alloc = 1000};
	tell(f, &p, VSOCK_RESPONSE);
	hears(f, next, "OK 1073741825\n");
	no_packet(f);
	assert_false(take_event(f, &head)); /* once */
	(void)close(next);
}

static void a_request_is_answered_after_a_transport_reset(void **state)
{
	struct fixture *f = *state;
	struct peer p = {.guest_port = 1, .host_port = 5000};
	struct peer q = {.guest_port = 2, .host_port = 6000};
	struct peer r = {.guest_port = 3, .host_port = 5000};
	struct vsock_hdr seqpacket = header(&r, VSOCK_REQUEST, 0);
	uint32_t head;
	int lfd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	post_events(f, 8);
	vsock_reset_transport(f->vsock);
	tell(f, &p, VSOCK_REQUEST);
	tell(f, &q, VSOCK_REQUEST);
	seqpacket.type = 2;
	send_packet(f, &seqpacket, NULL, 0);
	until(f, take_event(f, &head));
	no_packet(f);
	offer_event_again(f, (uint16_t)head);
	packet_for(f, VSOCK_RST, &r);
	packet(f, VSOCK_RESPONSE);
	packet_for(f, VSOCK_RST, &q);
	(void)close(lfd);
}

static void a_pause_is_not_taken_for_an_answer(void **state)
{
	struct fixture *f = *state;
	uint32_t head;
	int fd;

	attach(f);
	post_events(f, 8);
	vsock_reset_transport(f->vsock);
	until(f, take_event(f, &head));
	fd = client(f);
	say(fd, "CONNECT 1\n");
	for (int i = 0; i < 3; i++) {
		pause_vsock(f);
		turns(f, 2);
		virtio_resume(dev(f)); /* looks at every queue */
		no_packet(f);
	}
	pause_vsock(f);
	offer_event_again(f, (uint16_t)head); /* heard by nobody */
	virtio_resume(dev(f));
	packet(f, VSOCK_REQUEST);
	(void)close(fd);
}

static void a_transport_reset_waits_for_a_buffer(void **state)
{
	struct fixture *f = *state;
	uint32_t head;
	int fd;

	attach(f);
	vsock_reset_transport(f->vsock);
	fd = client(f);
	say(fd, "CONNECT 1\n");
	no_packet(f);
	post_event(f, 0);
	until(f, take_event(f, &head));
	no_packet(f);
	offer_event_again(f, 0);
	packet(f, VSOCK_REQUEST);
	(void)close(fd);
}

static void a_driver_that_takes_no_event_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint64_t start;
	uint32_t head;
	int fd;

	attach(f);
	post_events(f, 2);
	vsock_reset_transport(f->vsock);
	until(f, take_event(f, &head));
	start = clock_now_ns();
	turn_for(f, 1500);
	fd = client(f);
	say(fd, "CONNECT 1\n");
	packet(f, VSOCK_REQUEST);
	assert_in_range(clock_now_ns() - start, 1900 * NS_PER_MS,
			2500 * NS_PER_MS);
	(void)close(fd);
	packet(f, VSOCK_RST);
	(void)close(connect_guest(f, &p, 1));
}

static void a_driver_without_an_event_queue_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct peer p;

	attach(f);
	reset_vsock(f);
	reg_write(&f->q[RX], 0x70, 1);
	reg_write(&f->q[RX], 0x70, 3);
	write_features(&f->q[RX], F_ALL);
	reg_write(&f->q[RX], 0x70, 11);
	for (uint32_t i = 0; i < EVENT; i++) {
		clear_rings(&f->q[i]);
		set_up_queue(&f->q[i], i, RINGS_GPA(i));
	}
	reg_write(&f->q[RX], 0x70, 15);
	post_rx(f, 0, 8);
	vsock_reset_transport(f->vsock);
	(void)close(connect_guest(f, &p, 1));
}

static void a_reset_by_the_driver_opens_the_gate(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint32_t head;

	attach(f);
	post_events(f, 8);
	vsock_reset_transport(f->vsock);
	until(f, take_event(f, &head));
	reset_vsock(f);
	vsock_reset_transport(f->vsock); /* nobody to be told */
	start_again(f);
	(void)close(connect_guest(f, &p, 1));
}

static void a_bad_event_buffer_needs_a_reset(void **state)
{
	struct fixture *f = *state;

	attach(f);
	desc(&f->q[EVENT], 0, RX_GPA, 3, DESC_WRITE, 0);
	offer(&f->q[EVENT], 0);
	vsock_reset_transport(f->vsock);
	until(f, needs_reset(f));
	assert_false(used_waits(&f->q[EVENT]));
}

/* ---- snapshots ---- */

/* The local port that a client is given. */
static uint32_t next_port(struct fixture *f)
{
	struct peer p;

	(void)close(connect_guest(f, &p, 1));
	packet_for(f, VSOCK_SHUTDOWN, &p);
	tell(f, &p, VSOCK_RST);
	return p.host_port;
}

static void a_snapshot_keeps_the_port_counter(void **state)
{
	struct fixture *f = *state;
	uint8_t saved[16];
	struct archive a = archive_saver(saved, sizeof(saved));

	attach(f);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(next_port(f), (1u << 30) + i);
	dev(f)->ops->describe(dev(f), &a);
	assert_true(archive_ok(&a));
	assert_int_equal(next_port(f), (1u << 30) + 3);
	assert_int_equal(next_port(f), (1u << 30) + 4);
	a = archive_loader(saved, a.at);
	dev(f)->ops->describe(dev(f), &a);
	assert_true(archive_ok(&a));
	assert_int_equal(next_port(f), (1u << 30) + 3);
	/* At the end of the numbers it begins anew. */
	memset(saved, 0xff, sizeof(saved));
	a = archive_loader(saved, a.at);
	dev(f)->ops->describe(dev(f), &a);
	assert_int_equal(next_port(f), UINT32_MAX / 2);
	assert_int_equal(next_port(f), 1u << 30);
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
		BOTH(a_transport_reset_comes_before_all_else),
		BOTH(a_request_is_answered_after_a_transport_reset),
		BOTH(a_pause_is_not_taken_for_an_answer),
		BOTH(a_transport_reset_waits_for_a_buffer),
		BOTH(a_driver_that_takes_no_event_is_not_waited_for),
		BOTH(a_driver_without_an_event_queue_is_not_waited_for),
		BOTH(a_reset_by_the_driver_opens_the_gate),
		BOTH(a_bad_event_buffer_needs_a_reset),
		BOTH(a_snapshot_keeps_the_port_counter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
