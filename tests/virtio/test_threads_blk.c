/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver on a thread of its own keeps a drive busy, with doorbells and
 * interrupts only where they are asked for: one that is lost ends the test.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "tests/virtio/blk_fixture.h"
#include "vmm/vcpu.h"

#define DEPTH	 8
#define REQUESTS 4000
#define DEADLINE (30 * NS_PER_S)

struct busy {
	struct fixture *f;
	struct driver drv;
	struct vcpu vcpu;
	pthread_t thread;
	bool event_idx;
	unsigned int wrong, kicks;
	bool late;
	bool ended; /* atomic */
};

/* Publish and ring if the device asked for it. */
static void publish_and_kick(struct busy *b, uint16_t old)
{
	struct driver *d = &b->drv;
	uint16_t event;
	bool needed;

	/* A full barrier between our index and the device's mark. */
	(void)__atomic_exchange_n((uint16_t *)ram(d, AVAIL_GPA + 2, 2),
				  d->avail_idx, __ATOMIC_SEQ_CST);
	event = get16(d, USED_GPA + 4 + 8 * QUEUE_SIZE);
	if (b->event_idx)
		needed = (uint16_t)(d->avail_idx - event - 1) <
			 (uint16_t)(d->avail_idx - old);
	else
		needed = !(get16(d, USED_GPA) & 1);
	if (needed) {
		b->kicks++;
		kick(d);
	}
}

static uint64_t sector_of(uint32_t i, unsigned int round)
{
	return (i * 37 + round * 11) % (DISK_BYTES / 512 - 8);
}

static void *drive(void *arg)
{
	struct busy *b = arg;
	struct fixture *f = b->f;
	struct driver *d = &b->drv;
	uint64_t end = clock_now_ns() + DEADLINE;
	unsigned int round[DEPTH] = {0};
	uint32_t offered = 0, done = 0, head, len;

	while (done < REQUESTS && !b->late) {
		uint16_t old = d->avail_idx;

		while (offered < REQUESTS && offered - done < DEPTH) {
			uint32_t i = offered % DEPTH;

			round[i]++;
			put_header(f, HEADER_GPA(i), T_IN,
				   sector_of(i, round[i]));
			desc(d, i * 3, HEADER_GPA(i), 16, DESC_NEXT,
			     (uint16_t)(i * 3 + 1));
			desc(d, i * 3 + 1, BUFFER_GPA + i * 4096u, 4096,
			     DESC_NEXT | DESC_WRITE, (uint16_t)(i * 3 + 2));
			desc(d, i * 3 + 2, STATUS_GPA(i), 1, DESC_WRITE, 0);
			stage(d, (uint16_t)(i * 3));
			offered++;
		}
		if (old != d->avail_idx)
			publish_and_kick(b, old);
		/* Take all of the batch: a slot is not reused before that. */
		while (done < offered && !b->late) {
			uint32_t i;

			if (!take_used(d, &head, &len)) {
				b->late = clock_now_ns() > end;
				(void)sched_yield();
				continue;
			}
			i = head / 3;
			done++;
			b->wrong += len != 4097 ||
				    get8(d, STATUS_GPA(i)) != S_OK ||
				    !has_pattern(f, BUFFER_GPA + i * 4096u,
						 sector_of(i, round[i]) * 512,
						 4096);
		}
		reg_write(d, 0x64, reg_read(d, 0x60));
	}
	__atomic_store_n(&b->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static void keep_busy(struct fixture *f, uint64_t features)
{
	struct busy b = {.f = f, .vcpu.vm = f->vm};

	attach(f, new_file(DISK_BYTES), DISK_BYTES,
	       &(struct blk_config){.read_only = true}, features);
	b.event_idx = features & VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX);
	b.drv = f->drv;
	b.drv.vcpu = &b.vcpu;
	assert_int_equal(pthread_create(&b.thread, NULL, drive, &b), 0);
	while (!__atomic_load_n(&b.ended, __ATOMIC_ACQUIRE))
		turn(f);
	assert_int_equal(pthread_join(b.thread, NULL), 0);
	assert_false(b.late);
	assert_int_equal(b.wrong, 0);
	assert_int_equal(blk_counts(f->blk)->reads, REQUESTS);
	assert_true(b.kicks <= REQUESTS);
}

static void no_doorbell_is_lost_with_event_idx(void **state)
{
	keep_busy(*state, F_ALL);
}

static void no_doorbell_is_lost_without_event_idx(void **state)
{
	keep_busy(*state, F_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(no_doorbell_is_lost_with_event_idx),
		BOTH(no_doorbell_is_lost_without_event_idx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
