/* SPDX-License-Identifier: Apache-2.0 */
/* Many streams, and peers that stall. */
#include "tests/virtio/vsock_fixture.h"

static uint64_t cpu_permille(struct fixture *f, uint64_t ms)
{
	uint64_t before = clock_process_cpu_us();
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < end)
		assert_int_equal(loop_turn(f->loop, end - clock_now_ns()), 0);
	return (clock_process_cpu_us() - before) / ms;
}

/* How long nothing happens. */
static uint64_t idle_ms(void)
{
	return getenv("MAYFLY_SOAK") ? 30000 : 1000;
}

static void nothing_spins_without_buffers(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct peer p;
	size_t got = 0;
	ssize_t sent;
	int fd;

	fd = attach_and_connect(f, &p);
	p.buf_alloc = 1 << 20;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	f->rx_bytes = 0;
	fill_pattern(data, 0, sizeof(data));
	sent = send(fd, data, sizeof(data), 0);
	assert_true(sent > 200 * 1024);
	turns(f, 20);
	assert_true(cpu_permille(f, idle_ms()) < 20);
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

	fd = attach_and_connect(f, &p);
	p.buf_alloc = 1000;
	tell(f, &p, VSOCK_CREDIT_UPDATE);
	assert_true(send(fd, data, sizeof(data), 0) > 0);
	packet_for(f, VSOCK_RW, &p);
	packet_for(f, VSOCK_CREDIT_REQUEST, &p);
	(void)stuff(f, &p); /* and the other way too */
	assert_true(cpu_permille(f, idle_ms()) < 20);
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
		BOTH(nothing_spins_without_buffers),
		BOTH(doorbells_are_asked_for_when_needed),
		BOTH(nothing_spins_without_credit),
		BOTH(a_flood_leaves_turns_to_others),
		BOTH(streams_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
