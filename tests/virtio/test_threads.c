/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that act as vCPUs write registers and rings while the loop works:
 * run under ThreadSanitizer, these find what is shared and should not be.
 */
#include "tests/virtio/device_fixture.h"

#include <pthread.h>
#include <limits.h>
#include <sched.h>

#define N_VCPUS 3

struct hammer {
	struct fixture *f;
	struct driver drv;
	struct vcpu vcpu;
	pthread_t thread;
	uint64_t seed;
	unsigned int rounds;
	unsigned int torn;
	bool *stop;	     /* atomic */
	unsigned int *ended; /* atomic */
};

static uint32_t random32(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

static void run(struct fixture *f, struct hammer *h, unsigned int n,
		void *(*main)(void *), unsigned int rounds, bool *stop,
		unsigned int *ended)
{
	for (unsigned int i = 0; i < n; i++) {
		h[i] = (struct hammer){
			.f = f,
			.drv = f->drv,
			.vcpu = {.vm = f->vm, .index = i},
			.seed = i + 1,
			.rounds = rounds,
			.stop = stop,
			.ended = ended,
		};
		h[i].drv.vcpu = &h[i].vcpu;
		assert_int_equal(
			pthread_create(&h[i].thread, NULL, main, &h[i]), 0);
	}
}

/* ---- registers ---- */

static void *hammer_registers(void *arg)
{
	static const uint32_t written[] = {0x14, 0x20, 0x24, 0x30, 0x38, 0x44,
					   0x50, 0x64, 0x80, 0x90, 0xa0, 0x70};
	static const uint32_t status[] = {0, 1, 3, 11, 15, 128};
	struct hammer *h = arg;

	for (unsigned int i = 0; i < h->rounds; i++) {
		uint32_t reg = written[random32(&h->seed) % 12];
		uint32_t r = random32(&h->seed);
		uint32_t v = reg == 0x70 ? status[r % 6] : r % 4;
		uint8_t config[8];

		reg_write(&h->drv, reg, v);
		(void)reg_read(&h->drv, r % 64 * 4);
		h->drv.dev->bus.ops->read(&h->drv.dev->bus, &h->vcpu, 0x104,
					  config, sizeof(config));
		/* The loop fills configuration space with one byte. */
		for (size_t k = 1; k < sizeof(config); k++)
			h->torn += config[k] != config[0];
		if (r % 16 == 0)
			bring_up(&h->drv, ALL_FEATURES);
	}
	(void)__atomic_fetch_add(h->ended, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void registers_are_written_while_the_loop_works(void **state)
{
	struct fixture *f = *state;
	struct hammer h[N_VCPUS];
	unsigned int ended = 0, changes = 0;
	uint8_t config[FAKE_CONFIG];
	bool stop = false;

	memset(config, 0, sizeof(config));
	virtio_config_changed(&f->fake.dev, config, sizeof(config));
	run(f, h, N_VCPUS, hammer_registers, 5000, &stop, &ended);
	while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < N_VCPUS) {
		assert_int_equal(loop_turn(f->loop, NS_PER_MS), 0);
		memset(config, (int)++changes, sizeof(config));
		virtio_config_changed(&f->fake.dev, config, sizeof(config));
		if (changes % 64 == 0 && f->fake.dev.status != 0)
			virtio_needs_reset(&f->fake.dev, "a test wants it");
	}
	for (unsigned int i = 0; i < N_VCPUS; i++) {
		assert_int_equal(pthread_join(h[i].thread, NULL), 0);
		assert_int_equal(h[i].torn, 0);
	}
	assert_true(f->fake.activated > 0 && f->fake.dev.resets > 0);
}

/* The loop pauses and resumes; every write is answered all the same. */
static void devices_pause_while_registers_are_written(void **state)
{
	struct fixture *f = *state;
	struct hammer h[N_VCPUS];
	unsigned int ended = 0;
	bool stop = false;

	memset(f->fake.dev.config, 0, FAKE_CONFIG);
	f->fake.hold = true;
	run(f, h, N_VCPUS, hammer_registers, 2000, &stop, &ended);
	while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < N_VCPUS) {
		assert_int_equal(loop_turn(f->loop, NS_PER_MS), 0);
		if (f->fake.dev.draining)
			virtio_drained(&f->fake.dev);
		if (!f->fake.dev.paused)
			virtio_pause(&f->fake.dev, fake_paused);
		else if (!f->fake.dev.draining)
			virtio_resume(&f->fake.dev);
	}
	for (unsigned int i = 0; i < N_VCPUS; i++)
		assert_int_equal(pthread_join(h[i].thread, NULL), 0);
	if (f->fake.dev.draining)
		virtio_drained(&f->fake.dev);
}

/* ---- rings ---- */

#define TABLE 0x8000

/* Any descriptor, any index, at any time. */
static void *scribble(void *arg)
{
	struct hammer *h = arg;

	while (!__atomic_load_n(h->stop, __ATOMIC_ACQUIRE)) {
		uint32_t r = random32(&h->seed);
		uint32_t i = r % h->drv.size;
		uint32_t v = random32(&h->seed);

		switch (r >> 8 & 7) {
		case 0:
			put16(&h->drv, AVAIL_GPA + 2,
			      v % 64 ? (uint16_t)(v % 6) : (uint16_t)v);
			break;
		case 1:
			put16(&h->drv, AVAIL_GPA, (uint16_t)v);
			break;
		case 2:
			put16(&h->drv, AVAIL_GPA + 4 + 2 * (uint64_t)i,
			      (uint16_t)(v % (h->drv.size + 1)));
			break;
		case 3:
			put64(&h->drv, USED_GPA + 8 * (uint64_t)i, v);
			break;
		default:
			desc(&h->drv, i, v % 8 ? TABLE : UINT64_MAX - v % 4096,
			     v % 64 == 0 ? UINT32_MAX : v % 5 * 16,
			     (uint16_t)(v % 8), (uint16_t)(v >> 8 & 3));
			break;
		}
	}
	return NULL;
}

static bool all_in_ram(const struct gmem *m, const struct virtq_chain *c)
{
	const uint8_t *start = m->region[0].hva;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < c->n_out + c->n_in; i++) {
		const uint8_t *p = c->iov[i].iov_base;

		if (p < start || c->iov[i].iov_len == 0 ||
		    !num_inside((uint64_t)(p - start), c->iov[i].iov_len,
				RAM_BYTES))
			return false;
		bytes += c->iov[i].iov_len;
	}
	return bytes == c->out_bytes + c->in_bytes;
}

static void rings_are_scribbled_on_while_the_loop_walks(void **state)
{
	struct fixture *f = *state;
	const struct virtq_config cfg = {
		.size = 4,
		.ready = true,
		.desc_gpa = DESC_GPA,
		.avail_gpa = AVAIL_GPA,
		.used_gpa = USED_GPA,
	};
	struct virtq *q = &f->fake.dev.queue[0];
	struct iovec iov[8];
	struct hammer h[2];
	unsigned int ended = 0, taken = 0, broken = 0;
	bool stop = false;

	put_desc(&f->drv, TABLE, 0, TABLE, 16, DESC_NEXT, 1);
	put_desc(&f->drv, TABLE, 1, TABLE, 16, DESC_WRITE, 0);
	run(f, h, 2, scribble, 0, &stop, &ended);
	/* Longer where the other threads have not had a processor yet. */
	for (int i = 0; i < 300000 || ((!taken || !broken) && i < INT_MAX / 2);
	     i++) {
		struct virtq_chain c = {.iov = iov, .max_iov = 8};
		int ret;

		if (i % 4096 == 0)
			(void)sched_yield();
		if (q->broken || !q->desc) {
			virtq_reset(q);
			q->cfg = cfg;
			assert_int_equal(
				virtq_start(q, &f->vm->mem, i & 1, true), 0);
		}
		ret = virtq_pop(q, &f->vm->mem, &c);
		broken += ret < 0;
		if (ret <= 0) {
			(void)virtq_enable_kick(q);
			continue;
		}
		taken++;
		assert_true(all_in_ram(&f->vm->mem, &c));
		virtq_push(q, c.head, 1);
		(void)virtq_needs_irq(q);
		virtq_disable_kick(q);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(h[i].thread, NULL), 0);
	assert_true(taken > 0 && broken > 0);
	virtq_reset(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_are_written_while_the_loop_works),
		TEST(devices_pause_while_registers_are_written),
		TEST(rings_are_scribbled_on_while_the_loop_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
