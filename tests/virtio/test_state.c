/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/virtio/device_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/archive.h"
#include "virtio/limiter.h"
#include "virtio/state.h"

#define STATE_BYTES 256

struct saved_state {
	uint8_t bytes[STATE_BYTES];
	size_t len;
};

static struct saved_state save(struct virtio_dev *d)
{
	struct saved_state s;
	struct archive a = archive_saver(s.bytes, sizeof(s.bytes));

	virtio_describe(d, &a);
	assert_true(archive_ok(&a));
	s.len = a.at;
	return s;
}

/* Instead of the first machine a second of the same kind. */
static struct fixture *another(void **state)
{
	assert_int_equal(teardown(state), 0);
	assert_int_equal(setup(state), 0);
	return *state;
}

static bool load(struct fixture *f, const struct saved_state *s)
{
	struct archive a = archive_loader(s->bytes, s->len);

	virtio_describe(&f->fake.dev, &a);
	return archive_ok(&a);
}

static void pause_and_turn(struct fixture *f)
{
	virtio_pause(&f->fake.dev, fake_paused);
	turns(f);
	assert_int_equal(f->fake.paused, 1);
}

static void running_device_goes_on_in_another_machine(void **state)
{
	struct fixture *f = *state;
	struct saved_state s, again;
	struct virtio_dev *d;
	struct err e = {0};

	bring_up(&f->drv, ALL_FEATURES);
	turns(f);
	f->fake.dev.queue[0].last_avail = 3;
	f->fake.dev.queue[0].next_used = 3;
	pause_and_turn(f);
	s = save(&f->fake.dev);
	f = another(state);
	d = &f->fake.dev;
	assert_true(load(f, &s));
	assert_int_equal(virtio_restore(d, &e), 0);
	/* It does nothing before it is resumed, but can be saved again. */
	assert_false(virtio_active(d));
	assert_int_equal(f->fake.activated, 0);
	again = save(d);
	assert_int_equal(again.len, s.len);
	assert_memory_equal(again.bytes, s.bytes, s.len);
	virtio_resume(d);
	assert_true(virtio_active(d));
	assert_int_equal(f->fake.activated, 1);
	assert_int_equal(f->fake.notified[0], 1);
	assert_int_equal(f->fake.notified[1], 1);
	assert_int_equal(d->acked, ALL_FEATURES);
	assert_int_equal(d->queue[0].last_avail, 3);
	/* A second pause is as any other. */
	virtio_pause(d, fake_paused);
	virtio_resume(d);
	assert_int_equal(f->fake.activated, 1);
}

static void device_without_a_driver_stays_without(void **state)
{
	struct fixture *f = *state;
	struct saved_state s = save(&f->fake.dev);
	struct err e = {0};

	f = another(state);
	assert_true(load(f, &s));
	assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
	virtio_resume(&f->fake.dev);
	assert_int_equal(f->fake.activated, 0);
	bring_up(&f->drv, ALL_FEATURES);
	turns(f);
	assert_int_equal(f->fake.activated, 1);
}

static void broken_device_stays_broken_until_it_is_reset(void **state)
{
	struct fixture *f = *state;
	struct saved_state s;
	struct err e = {0};

	bring_up(&f->drv, ALL_FEATURES);
	/* What it had taken by then it never gives back. */
	f->fake.dev.queue[0].last_avail = 2;
	virtio_needs_reset(&f->fake.dev, "a test wants it");
	s = save(&f->fake.dev);
	f = another(state);
	assert_true(load(f, &s));
	assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
	virtio_resume(&f->fake.dev);
	assert_int_equal(f->fake.activated, 0);
	assert_true(f->fake.dev.queue[0].broken);
	reg_write(&f->drv, 0x70, 0);
	assert_int_equal(f->fake.dev.queue[0].last_avail, 0);
	bring_up(&f->drv, ALL_FEATURES);
	turns(f);
	assert_int_equal(f->fake.activated, 1);
	assert_true(virtio_active(&f->fake.dev));
}

/* What the driver has not acknowledged may be lost in KVM: said again. */
static void pending_interrupt_is_raised_again(void **state)
{
	struct fixture *f = *state;
	struct saved_state quiet, pending;
	struct err e = {0};

	bring_up(&f->drv, ALL_FEATURES);
	quiet = save(&f->fake.dev);
	f->fake.dev.int_status = VIRTIO_INT_VRING;
	pending = save(&f->fake.dev);
	f = another(state);
	assert_true(load(f, &quiet));
	assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
	assert_int_equal(irqs(f), 0);
	assert_true(load(f, &pending));
	assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
	assert_int_equal(irqs(f), 1);
}

/* Of a device that is what it was, or is it not; the interrupts that says. */
static uint64_t told_of_space(void **state, const uint8_t *was, size_t len)
{
	struct fixture *f = *state;
	struct saved_state s = save(&f->fake.dev);
	struct archive a = archive_loader(was, len);
	struct err e = {0};

	f = another(state);
	assert_true(load(f, &s));
	assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
	virtio_tell_changes(&f->fake.dev, &a);
	return irqs(f);
}

static void driver_is_told_of_a_space_that_is_another(void **state)
{
	struct fixture *f = *state;
	uint8_t space[FAKE_CONFIG + 1] = {0};
	struct archive a = archive_saver(space, sizeof(space));
	uint32_t before;

	bring_up(&f->drv, ALL_FEATURES);
	turns(f);
	virtio_describe_space(&f->fake.dev, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(a.at, FAKE_CONFIG);
	before = f->fake.dev.config_gen;
	assert_int_equal(told_of_space(state, space, FAKE_CONFIG), 0);
	f = *state;
	assert_int_equal(f->fake.dev.config_gen, before);
	assert_int_equal(f->fake.dev.int_status, 0);
	/* Its last byte. */
	space[FAKE_CONFIG - 1]++;
	assert_int_equal(told_of_space(state, space, FAKE_CONFIG), 1);
	f = *state;
	assert_int_equal(f->fake.dev.config_gen, before + 2);
	assert_int_equal(f->fake.dev.int_status, VIRTIO_INT_CONFIG);
	assert_int_equal(f->fake.dev.config[0], 0xc0);
	/* Of another program's device: longer or shorter. */
	space[FAKE_CONFIG - 1]--;
	assert_int_equal(told_of_space(state, space, FAKE_CONFIG - 1), 2);
	assert_int_equal(told_of_space(state, space, FAKE_CONFIG + 1), 2);
}

static void who_has_no_driver_is_not_told(void **state)
{
	uint8_t space[FAKE_CONFIG] = {0};

	assert_int_equal(told_of_space(state, space, FAKE_CONFIG), 0);
}

static struct limiter limiters[2];

static struct limiter *limiter_of(struct virtio_dev *d, unsigned int i)
{
	(void)d;
	return i < ARRAY_LEN(limiters) ? &limiters[i] : NULL;
}

/* Its time, too, goes on when the guest is resumed. */
static void limiters_stand_still_until_it_is_resumed(void **state)
{
	struct virtio_dev_ops with = fake_ops;
	struct fixture *f = *state;
	struct saved_state none = save(&f->fake.dev), running;
	struct err e = {0};

	with.limiter = limiter_of;
	bring_up(&f->drv, ALL_FEATURES);
	running = save(&f->fake.dev);
	for (int i = 0; i < 2; i++) {
		f = another(state);
		f->fake.dev.ops = &with;
		for (size_t j = 0; j < ARRAY_LEN(limiters); j++)
			limiter_init(&limiters[j], f->loop, NULL);
		assert_true(load(f, i ? &running : &none));
		assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
		/* Nobody would wake those of a device without a driver. */
		assert_int_equal(limiters[0].paused, i);
		assert_int_equal(limiters[1].paused, i);
		f->fake.dev.ops = &fake_ops;
	}
}

static void cut_off_state_is_refused(void **state)
{
	struct fixture *f = *state;
	struct saved_state s = save(&f->fake.dev);
	size_t len = s.len;

	for (s.len = 0; s.len < len; s.len++)
		assert_false(load(f, &s));
	s.len = len + 1;
	assert_false(load(f, &s));
	s.len = len;
	assert_true(load(f, &s));
	s.bytes[0]++; /* another kind of device */
	assert_false(load(f, &s));
}

/* ---- each field, wrong ---- */

static void wrong_status(struct virtio_dev *d)
{
	d->status = 4;
}

static void wrong_status_bit(struct virtio_dev *d)
{
	d->status = 15 | 16;
}

static void wrong_interrupt(struct virtio_dev *d)
{
	d->int_status = 4;
}

static void wrong_generation(struct virtio_dev *d)
{
	d->config_gen = 7;
}

static void feature_not_offered(struct virtio_dev *d)
{
	d->acked |= VIRTIO_FEATURE(63);
}

static void no_version_1(struct virtio_dev *d)
{
	d->acked &= ~VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
}

static void index_apart(struct virtio_dev *d)
{
	d->queue[1].last_avail = 5;
}

static void size_of_no_power(struct virtio_dev *d)
{
	d->queue[0].cfg.size = 3;
}

static void size_too_large(struct virtio_dev *d)
{
	d->queue[0].cfg.size = UINT32_MAX;
}

static void size_none(struct virtio_dev *d)
{
	d->queue[0].cfg.size = 0;
}

static void ring_outside(struct virtio_dev *d)
{
	d->queue[0].cfg.used_gpa = RAM_BYTES - 4;
}

static void ring_overflows(struct virtio_dev *d)
{
	d->queue[0].cfg.desc_gpa = UINT64_MAX & ~15ULL;
}

static void ring_unaligned(struct virtio_dev *d)
{
	d->queue[0].cfg.avail_gpa++;
}

static const struct {
	void (*change)(struct virtio_dev *d);
	const char *what;
} wrong[] = {
	{wrong_status, "status"},
	{wrong_status_bit, "status"},
	{wrong_interrupt, "interrupt status"},
	{wrong_generation, "configuration generation"},
	{feature_not_offered, "accepted features"},
	{no_version_1, "accepted features"},
	{index_apart, "index of a queue"},
	{size_of_no_power, "queue"},
	{size_too_large, "queue"},
	{size_none, "queue"},
	{ring_outside, "queue"},
	{ring_overflows, "queue"},
	{ring_unaligned, "queue"},
};

static void each_wrong_field_is_named(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct fixture *f = another(state);
		struct saved_state s;
		struct err e = {0};
		char text[80];

		bring_up(&f->drv, ALL_FEATURES);
		turns(f);
		wrong[i].change(&f->fake.dev);
		s = save(&f->fake.dev);
		f->fake.dev.status = 0;
		f = another(state);
		assert_true(load(f, &s));
		assert_int_equal(virtio_restore(&f->fake.dev, &e), -EINVAL);
		(void)snprintf(text, sizeof(text),
			       "The snapshot's virtio device at 0xc0001000 has "
			       "a wrong %s",
			       wrong[i].what);
		assert_string_equal(e.text, text);
		assert_int_equal(f->fake.activated, 0);
		f->fake.dev.status = 0;
	}
}

/* Indices of a queue that is not used say nothing, and nothing is done. */
static void stopped_queue_may_have_any_index(void **state)
{
	const uint64_t plain = VIRTIO_FEATURE(VIRTIO_F_VERSION_1);

	for (int i = 0; i < 2; i++) {
		struct fixture *f = another(state);
		struct virtio_dev *d = &f->fake.dev;
		struct saved_state s;
		struct err e = {0};

		bring_up(&f->drv, i ? plain : ALL_FEATURES);
		turns(f);
		d->queue[1].cfg.ready = false;
		d->queue[1].last_avail = 5;
		d->queue[1].next_used = 5;
		s = save(d);
		f = another(state);
		d = &f->fake.dev;
		assert_true(load(f, &s));
		assert_int_equal(virtio_restore(d, &e), 0);
		virtio_resume(d);
		virtio_signal_used(d, &d->queue[1]);
		assert_int_equal(irqs(f), 0);
	}
}

/* A driver that has not come to DRIVER_OK may have set anything. */
static void half_set_up_queue_is_kept(void **state)
{
	struct fixture *f = *state;
	struct saved_state s;
	struct err e = {0};

	reg_write(&f->drv, 0x70, 1);
	reg_write(&f->drv, 0x70, 3);
	f->fake.dev.queue[0].cfg.size = 3;
	f->fake.dev.queue[0].cfg.desc_gpa = 1;
	s = save(&f->fake.dev);
	f = another(state);
	assert_true(load(f, &s));
	assert_int_equal(virtio_restore(&f->fake.dev, &e), 0);
	assert_int_equal(f->fake.dev.queue[0].cfg.size, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(running_device_goes_on_in_another_machine),
		TEST(device_without_a_driver_stays_without),
		TEST(broken_device_stays_broken_until_it_is_reset),
		TEST(pending_interrupt_is_raised_again),
		TEST(driver_is_told_of_a_space_that_is_another),
		TEST(who_has_no_driver_is_not_told),
		TEST(limiters_stand_still_until_it_is_resumed),
		TEST(cut_off_state_is_refused),
		TEST(each_wrong_field_is_named),
		TEST(stopped_queue_may_have_any_index),
		TEST(half_set_up_queue_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
