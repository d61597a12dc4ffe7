/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a restored guest is told, before it gets anything else; and the counter
 * that a snapshot keeps.
 */
#include "tests/virtio/vsock_fixture.h"

#include "base/archive.h"

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
	closed(f, fd);
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

static void send_unseen(struct fixture *f, uint16_t i, const struct peer *p,
			enum vsock_op op)
{
	const struct vsock_hdr h = header(p, op, 0);
	uint16_t slot = f->q[TX].avail_idx % QUEUE_SIZE;
	uint64_t gpa = TX_GPA + i * sizeof(h);

	assert_int_equal(gmem_write(&f->vm->mem, gpa, &h, sizeof(h)), 0);
	desc(&f->q[TX], slot, gpa, sizeof(h), 0, 0);
	offer(&f->q[TX], slot);
}

/* Packets that the guest had sent, and that nobody had looked at. */
static void what_was_in_flight_is_taken_after_a_transport_reset(void **state)
{
	struct fixture *f = *state;
	struct peer old, p = {.guest_port = 7, .host_port = 5000};
	uint32_t head;
	int lfd, fd;

	attach(f);
	lfd = listen_port(f, 5000, 5);
	post_events(f, 8);
	fd = connect_guest(f, &old, 1);
	pause_vsock(f);
	send_unseen(f, 0, &old, VSOCK_CREDIT_REQUEST);
	send_unseen(f, 1, &p, VSOCK_REQUEST);
	kick_queue(f, TX);
	turns(f, 3);
	vsock_reset_transport(f->vsock);
	closed(f, fd);
	virtio_resume(dev(f));
	until(f, get16(&f->q[TX], USED_GPA + 2) == f->q[TX].avail_idx);
	until(f, take_event(f, &head));
	no_packet(f);
	offer_event_again(f, (uint16_t)head);
	packet_for(f, VSOCK_RESPONSE, &p);
	no_packet(f);
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

/* The gate opens without the driver's doing anything, and stays open. */
static void opens_in_two_seconds(struct fixture *f)
{
	uint64_t start = clock_now_ns();
	struct peer p;
	int fd;

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

static void a_driver_that_takes_no_event_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	uint32_t head;

	attach(f);
	post_events(f, 2);
	vsock_reset_transport(f->vsock);
	until(f, take_event(f, &head));
	opens_in_two_seconds(f);
}

/* Nor a driver that is paused and resumed meanwhile, as often as it likes. */
static void a_pause_does_not_keep_the_gate_closed(void **state)
{
	struct fixture *f = *state;
	struct peer p;
	uint32_t head;

	attach(f);
	post_events(f, 2);
	vsock_reset_transport(f->vsock);
	until(f, take_event(f, &head));
	turn_for(f, 300);
	pause_vsock(f);
	turns(f, 2);
	virtio_resume(dev(f));
	opens_in_two_seconds(f);
	/* Once open, a pause does not close it. */
	pause_vsock(f);
	virtio_resume(dev(f));
	packet(f, VSOCK_SHUTDOWN);
	(void)close(connect_guest(f, &p, 1));
}

static void a_driver_without_event_buffers_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct peer old;
	int fd;

	attach(f);
	fd = connect_guest(f, &old, 1);
	vsock_reset_transport(f->vsock);
	closed(f, fd);
	opens_in_two_seconds(f);
	assert_int_equal(counts(f)->ev_queue_event_fails, 1);
	/* It has not been told: what it says of the old socket is. */
	while (poll_packet(f))
		;
	tell(f, &old, VSOCK_CREDIT_REQUEST);
	packet_for(f, VSOCK_RST, &old);
	/* A buffer that comes now does not end the new ones. */
	post_event(f, 0);
	turns(f, 5);
	assert_false(used_waits(&f->q[EVENT]));
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
		BOTH(a_transport_reset_comes_before_all_else),
		BOTH(a_request_is_answered_after_a_transport_reset),
		BOTH(what_was_in_flight_is_taken_after_a_transport_reset),
		BOTH(a_pause_is_not_taken_for_an_answer),
		BOTH(a_pause_does_not_keep_the_gate_closed),
		BOTH(a_transport_reset_waits_for_a_buffer),
		BOTH(a_driver_that_takes_no_event_is_not_waited_for),
		BOTH(a_driver_without_event_buffers_is_not_waited_for),
		BOTH(a_driver_without_an_event_queue_is_not_waited_for),
		BOTH(a_reset_by_the_driver_opens_the_gate),
		BOTH(a_bad_event_buffer_needs_a_reset),
		BOTH(a_snapshot_keeps_the_port_counter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
