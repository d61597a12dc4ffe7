/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver on a thread of its own sends frames to a host that echoes them, with
 * doorbells only where they are asked for: one that is lost ends the test.
 * Every frame comes back once, in order and whole.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/virtio/net_fixture.h"
#include "vmm/vcpu.h"

#define FRAMES	 6000
#define DEPTH	 24 /* outstanding, so that no queue overflows */
#define RX_BYTES 700
#define DEADLINE (60 * NS_PER_S)

struct guest {
	struct fixture *f;
	struct driver rx, tx;
	struct vcpu vcpu;
	pthread_t thread;
	bool event_idx;
	unsigned int wrong, kicks;
	bool late;
	bool ended; /* atomic */
};

static size_t size_of(uint32_t seq)
{
	return 14 + seq * 37 % 1900;
}

/* Publish and ring if the device asked for it. */
static void publish_and_kick(struct guest *g, struct driver *d, uint16_t old,
			     uint32_t queue)
{
	uint16_t event;
	bool needed;

	/* A full barrier between our index and the device's mark. */
	(void)__atomic_exchange_n((uint16_t *)ram(d, AVAIL_GPA + 2, 2),
				  d->avail_idx, __ATOMIC_SEQ_CST);
	event = get16(d, USED_GPA + 4 + 8 * QUEUE_SIZE);
	if (g->event_idx)
		needed = (uint16_t)(d->avail_idx - event - 1) <
			 (uint16_t)(d->avail_idx - old);
	else
		needed = !(get16(d, USED_GPA) & 1);
	if (needed) {
		g->kicks++;
		reg_write(d, 0x50, queue);
	}
}

static uint64_t rx_buf(uint32_t i)
{
	return 0x100000 + i * 1024u;
}

/* Look at one frame and give its buffers back; false if there is none. */
static bool take_one(struct guest *g, uint32_t seq)
{
	struct driver *d = &g->rx;
	uint16_t old = d->avail_idx, num = 1;
	uint8_t frame[2048];
	size_t at = 0;

	if (!used_waits(d))
		return false;
	for (uint16_t i = 0; i < num; i++) {
		size_t skip = i == 0 ? NET_HDR_BYTES : 0;
		uint32_t head, len;

		if (!take_used(d, &head, &len) || len < skip ||
		    at + len - skip > sizeof(frame)) {
			g->wrong++;
			break;
		}
		if (i == 0)
			num = get16(d, rx_buf(head) + 10);
		memcpy(frame + at, ram(d, rx_buf(head) + skip, len - skip),
		       len - skip);
		at += len - skip;
		stage(d, (uint16_t)head);
	}
	g->wrong += at != size_of(seq) || !is_frame(frame, seq, at);
	publish_and_kick(g, d, old, NET_RX);
	return true;
}

static void send_one(struct guest *g, uint32_t seq)
{
	struct driver *d = &g->tx;
	uint16_t i = (uint16_t)(seq % QUEUE_SIZE), old = d->avail_idx;
	uint64_t gpa = TX_BUF + i * 2048u;
	size_t len = size_of(seq);

	memset(ram(&g->rx, gpa, NET_HDR_BYTES), 0, NET_HDR_BYTES);
	fill_frame(ram(&g->rx, gpa + NET_HDR_BYTES, len), seq, len);
	desc(d, i, gpa, (uint32_t)(NET_HDR_BYTES + len), 0, 0);
	stage(d, i);
	publish_and_kick(g, d, old, NET_TX);
}

static void *drive(void *arg)
{
	struct guest *g = arg;
	uint64_t end = clock_now_ns() + DEADLINE;
	uint32_t sent = 0, got = 0, head, len;
	uint16_t old = g->rx.avail_idx;

	for (uint16_t i = 0; i < QUEUE_SIZE; i++) {
		desc(&g->rx, i, rx_buf(i), RX_BYTES, DESC_WRITE, 0);
		stage(&g->rx, i);
	}
	publish_and_kick(g, &g->rx, old, NET_RX);
	while (got < FRAMES && !g->late) {
		while (sent < FRAMES && sent - got < DEPTH)
			send_one(g, sent++);
		while (take_used(&g->tx, &head, &len))
			;
		if (take_one(g, got)) {
			got++;
			continue;
		}
		g->late = clock_now_ns() > end;
		reg_write(&g->rx, 0x64, reg_read(&g->rx, 0x60));
		(void)sched_yield();
	}
	__atomic_store_n(&g->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool ended(struct guest *g)
{
	return __atomic_load_n(&g->ended, __ATOMIC_ACQUIRE);
}

static void *echo(void *arg)
{
	struct guest *g = arg;
	uint8_t buf[4096];

	while (!ended(g)) {
		ssize_t n = recv(g->f->peer, buf, sizeof(buf), 0);

		while (n > 0 && send(g->f->peer, buf, (size_t)n, 0) < 0 &&
		       !ended(g))
			(void)sched_yield();
		if (n < 0)
			(void)sched_yield();
	}
	return NULL;
}

static void echo_all(struct fixture *f, uint64_t features)
{
	struct guest g = {.f = f, .vcpu.vm = f->vm};
	pthread_t host;

	attach(f, nothing, features);
	g.event_idx = features & VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX);
	g.rx = f->rx;
	g.tx = f->tx;
	g.rx.vcpu = g.tx.vcpu = &g.vcpu;
	assert_int_equal(pthread_create(&host, NULL, echo, &g), 0);
	assert_int_equal(pthread_create(&g.thread, NULL, drive, &g), 0);
	while (!ended(&g))
		turn(f);
	assert_int_equal(pthread_join(g.thread, NULL), 0);
	assert_int_equal(pthread_join(host, NULL), 0);
	assert_false(g.late);
	assert_int_equal(g.wrong, 0);
	assert_int_equal(counts(f)->tx_packets, FRAMES);
	assert_int_equal(counts(f)->rx_packets, FRAMES);
	assert_true(g.kicks < 2 * FRAMES);
}

static void no_frame_is_lost_with_event_idx(void **state)
{
	echo_all(*state, F_ALL);
}

static void no_frame_is_lost_without_event_idx(void **state)
{
	echo_all(*state, F_ALL & ~VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(no_frame_is_lost_with_event_idx),
		BOTH(no_frame_is_lost_without_event_idx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
