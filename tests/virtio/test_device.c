/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/virtio/device_fixture.h"
#include "tests/virtio/vcpu_thread.h"

static void join(struct fixture *f, struct vcpu_thread *t)
{
	while (!ended(t))
		turns(f);
	assert_int_equal(pthread_join(t->thread, NULL), 0);
}

static void wait_for_drain(struct fixture *f, unsigned int drains)
{
	while (f->fake.drains < drains)
		turns(f);
	turns(f);
}

/* ---- doorbells ---- */

static void doorbells_reach_a_running_device_only(void **state)
{
	struct fixture *f = *state;

	kick(&f->drv);
	turns(f);
	bring_up(&f->drv, ALL_FEATURES);
	turns(f);
	assert_int_equal(f->fake.notified[0], 0);
	kick(&f->drv);
	reg_write(&f->drv, 0x50, 1);
	turns(f);
	assert_int_equal(f->fake.notified[0], 1);
	assert_int_equal(f->fake.notified[1], 1);
	for (uint32_t v = 2; v; v *= 2)
		reg_write(&f->drv, 0x50, v);
	turns(f);
	assert_int_equal(f->fake.notified[0] + f->fake.notified[1], 2);
	/* A broken device hears nothing, and neither does one after reset. */
	virtio_needs_reset(&f->fake.dev, "a test wants it");
	kick(&f->drv);
	turns(f);
	reg_write(&f->drv, 0x70, 0);
	kick(&f->drv);
	turns(f);
	assert_int_equal(f->fake.notified[0], 1);
}

static void doorbells_fall_silent_when_the_driver_gave_up(void **state)
{
	struct fixture *f = *state;

	bring_up(&f->drv, ALL_FEATURES);
	reg_write(&f->drv, 0x70, 128 | 15);
	kick(&f->drv);
	turns(f);
	assert_int_equal(f->fake.notified[0], 0);
}

/* ---- activation ---- */

static void bad_queues_need_a_reset(void **state)
{
	static const struct {
		uint32_t reg, value;
	} bad[] = {
		{0x38, 0},	    {0x38, 3},	  {0x38, 257}, {0x38, 65535},
		{0x38, 0xffffffff}, {0x80, 8},	  {0x90, 1},   {0xa0, 2},
		{0x84, 1},	    {0x94, 0x80}, {0xa4, 1},   {0x80, 0xfff0},
		{0xa0, 0xc0001000},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		reg_write(&f->drv, 0x70, 0);
		reg_write(&f->drv, 0x70, 1);
		reg_write(&f->drv, 0x70, 3);
		write_features(&f->drv, ALL_FEATURES);
		reg_write(&f->drv, 0x70, 11);
		set_up_queue(&f->drv, 0, 0);
		reg_write(&f->drv, bad[i].reg, bad[i].value);
		(void)irqs(f);
		reg_write(&f->drv, 0x70, 15);
		assert_int_equal(reg_read(&f->drv, 0x70), 15 | 64);
		assert_int_equal(reg_read(&f->drv, 0x60), 2);
		assert_int_equal(irqs(f), 1);
		assert_int_equal(f->fake.activated, 0);
	}
	bring_up(&f->drv, ALL_FEATURES);
	assert_int_equal(reg_read(&f->drv, 0x70), 15);
	assert_int_equal(f->fake.activated, 1);
}

static void a_device_that_fails_needs_a_reset(void **state)
{
	struct fixture *f = *state;

	f->fake.activate_ret = -EIO;
	bring_up(&f->drv, ALL_FEATURES);
	assert_int_equal(reg_read(&f->drv, 0x70), 15 | 64);
}

/* ---- interrupts and configuration ---- */

static void used_buffers_interrupt_once(void **state)
{
	struct fixture *f = *state;
	struct virtq *q = &f->fake.dev.queue[0];

	bring_up(&f->drv, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	(void)irqs(f);
	virtq_push(q, 0, 0);
	virtq_push(q, 1, 0);
	virtio_signal_used(&f->fake.dev, q);
	virtio_signal_used(&f->fake.dev, q);
	assert_int_equal(irqs(f), 1);
	assert_int_equal(reg_read(&f->drv, 0x60), 1);
	reg_write(&f->drv, 0x64, 1);
	assert_int_equal(reg_read(&f->drv, 0x60), 0);
}

static void configuration_changes_are_told(void **state)
{
	struct fixture *f = *state;
	const uint8_t config[FAKE_CONFIG] = {1, 2, 3, 4};
	uint32_t gen = reg_read(&f->drv, 0xfc);

	virtio_config_changed(&f->fake.dev, config, FAKE_CONFIG);
	assert_int_equal(irqs(f), 0); /* nobody listens yet */
	assert_int_equal(reg_read(&f->drv, 0x100), 0x04030201);
	assert_int_not_equal(reg_read(&f->drv, 0xfc), gen);
	assert_int_equal(reg_read(&f->drv, 0xfc) % 2, 0);
	bring_up(&f->drv, ALL_FEATURES);
	virtio_config_changed(&f->fake.dev, config, FAKE_CONFIG);
	assert_int_equal(irqs(f), 1);
	assert_int_equal(reg_read(&f->drv, 0x60), 2);
}

static void needs_reset_is_told_once(void **state)
{
	struct fixture *f = *state;

	bring_up(&f->drv, ALL_FEATURES);
	(void)irqs(f);
	virtio_needs_reset(&f->fake.dev, "a test wants it");
	virtio_needs_reset(&f->fake.dev, "a test wants it");
	assert_int_equal(irqs(f), 1);
	assert_int_equal(reg_read(&f->drv, 0x60), 2);
	assert_int_equal(reg_read(&f->drv, 0x70), 15 | 64);
	/* What still ends is not given back. */
	virtq_push(&f->fake.dev.queue[0], 0, 0);
	assert_false(used_waits(&f->drv));
	bring_up(&f->drv, ALL_FEATURES);
	assert_int_equal(reg_read(&f->drv, 0x70), 15);
	assert_int_equal(reg_read(&f->drv, 0x60), 0);
}

/* ---- reset, pause, stop ---- */

static void reset_is_answered_when_drained(void **state)
{
	struct fixture *f = *state;
	struct vcpu_thread reset, again, other;

	bring_up(&f->drv, ALL_FEATURES);
	f->fake.hold = true;
	start_write(&f->drv, f->vm, &reset, 0x70, 0);
	wait_for_drain(f, 1);
	start_write(&f->drv, f->vm, &again, 0x70, 0);
	start_write(&f->drv, f->vm, &other, 0x38, 8);
	turns(f);
	assert_false(ended(&reset) || ended(&again) || ended(&other));
	assert_int_equal(reg_read(&f->drv, 0x70), 15);
	kick(&f->drv);
	turns(f);
	assert_int_equal(f->fake.notified[0], 0);
	virtio_drained(&f->fake.dev);
	join(f, &reset);
	join(f, &again);
	join(f, &other);
	assert_int_equal(reg_read(&f->drv, 0x70), 0);
	assert_int_equal(f->fake.dev.queue[0].cfg.size, 0);
	f->fake.hold = false;
	bring_up(&f->drv, ALL_FEATURES);
	assert_int_equal(reg_read(&f->drv, 0x70), 15);
}

static void pause_drains_and_resume_kicks(void **state)
{
	struct fixture *f = *state;

	bring_up(&f->drv, ALL_FEATURES);
	f->fake.hold = true;
	virtio_pause(&f->fake.dev, fake_paused);
	assert_int_equal(f->fake.paused, 0);
	virtio_drained(&f->fake.dev);
	assert_int_equal(f->fake.paused, 1);
	kick(&f->drv);
	turns(f);
	assert_int_equal(f->fake.notified[0], 0);
	virtio_resume(&f->fake.dev);
	assert_int_equal(f->fake.notified[0], 1);
	assert_int_equal(f->fake.notified[1], 1);
	kick(&f->drv);
	turns(f);
	assert_int_equal(f->fake.notified[0], 2);
}

static void resume_leaves_an_idle_device_alone(void **state)
{
	struct fixture *f = *state;

	virtio_pause(&f->fake.dev, fake_paused);
	assert_int_equal(f->fake.paused, 1);
	virtio_resume(&f->fake.dev);
	assert_int_equal(f->fake.notified[0], 0);
}

static void stop_waits_for_the_drain_and_answers(void **state)
{
	struct fixture *f = *state;
	struct vcpu_thread reset, ok;

	bring_up(&f->drv, ALL_FEATURES);
	f->fake.hold = true;
	start_write(&f->drv, f->vm, &reset, 0x70, 0);
	wait_for_drain(f, 1);
	virtio_stop(&f->fake.dev, fake_stopped);
	turns(f);
	assert_int_equal(f->fake.stopped, 0);
	virtio_drained(&f->fake.dev);
	f->fake.hold = false;
	join(f, &reset);
	turns(f);
	assert_int_equal(f->fake.stopped, 1);
	/* Still answered, but nothing starts any more. */
	start_write(&f->drv, f->vm, &ok, 0x70, 1);
	join(f, &ok);
	assert_int_equal(reg_read(&f->drv, 0x70), 1);
	bring_up(&f->drv, ALL_FEATURES);
	assert_int_equal(reg_read(&f->drv, 0x70), 11);
	assert_int_equal(f->fake.activated, 1);
}

static void devices_run_out(void **state)
{
	struct fixture *f = *state;
	struct virtio_dev more[MAX_VIRTIO_DEVS];
	struct err e = {0};
	int n = 0;

	while (n < MAX_VIRTIO_DEVS &&
	       virtio_init(&more[n], &fake_ops, f->vm, &e) == 0)
		n++;
	assert_int_equal(n, MAX_VIRTIO_DEVS - 1);
	assert_int_equal(e.code, -ENOSPC);
	for (int i = 0; i < MAX_VIRTIO_DEVS; i++)
		virtio_exit(&more[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(doorbells_reach_a_running_device_only),
		TEST(doorbells_fall_silent_when_the_driver_gave_up),
		TEST(bad_queues_need_a_reset),
		TEST(a_device_that_fails_needs_a_reset),
		TEST(used_buffers_interrupt_once),
		TEST(configuration_changes_are_told),
		TEST(needs_reset_is_told_once),
		TEST(reset_is_answered_when_drained),
		TEST(pause_drains_and_resume_kicks),
		TEST(resume_leaves_an_idle_device_alone),
		TEST(stop_waits_for_the_drain_and_answers),
		TEST(devices_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
