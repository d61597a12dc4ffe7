/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a drive while requests are in flight: change of its file,
 * reset, pause, end, and drivers that break the rules.
 */
#include <stdio.h>

#include "tests/virtio/blk_fixture.h"

/*
 * A drive whose first read does not end until unblock(): it reads a pipe, or
 * stands behind a job of the helper thread that does.
 */
static void wait_for_pipe(struct job *j)
{
	struct fixture *f = container_of(j, struct fixture, job);
	uint8_t byte;

	(void)!read(f->pipe[0], &byte, 1);
}

static void job_done(struct job *j)
{
	container_of(j, struct fixture, job)->job_ended = true;
}

/* The drive took all that was offered, and waits for a doorbell. */
static bool asleep(const struct fixture *f)
{
	return get16(&f->drv, USED_GPA + 4 + 8 * QUEUE_SIZE) ==
	       f->drv.avail_idx;
}

static bool needs_reset(struct fixture *f)
{
	return reg_read(&f->drv, 0x70) == (15 | 64);
}

static void attach_blocked(struct fixture *f)
{
	bool uring = f->backend == LOOP_URING;

	attach(f, uring ? dup_fd(f->pipe[0]) : new_file(DISK_BYTES), DISK_BYTES,
	       &(struct blk_config){0}, F_ALL);
	if (!uring) {
		f->job = (struct job){.work = wait_for_pipe, .done = job_done};
		worker_submit(f->worker, &f->job);
	}
	build(f, 0, T_IN, 0, BUFFER_GPA, 512, true);
	offer(&f->drv, 0);
	kick(&f->drv);
	until(f, asleep(f));
	turns(f, 3);
	assert_false(used_waits(&f->drv));
}

/* Let n reads of 512 bytes end. */
static void unblock(struct fixture *f, int n)
{
	uint8_t data[512];

	if (f->backend == LOOP_EPOLL && f->job_ended)
		return;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	for (int i = 0; i < n; i++)
		assert_int_equal(write(f->pipe[1], data, 512), 512);
}

static void read_ends_well(struct fixture *f, uint16_t head, uint64_t gpa,
			   uint64_t at)
{
	assert_int_equal(wait_used(f), head);
	assert_int_equal(get8(&f->drv, STATUS_GPA(head)), S_OK);
	assert_true(has_pattern(f, gpa, at, 512));
}

/* ---- change of the file ---- */

static void swapped(struct blk_swap *w, int ret)
{
	struct fixture *f = container_of(w, struct fixture, swap);

	f->swap_ret = ret;
	f->swap_ns = clock_now_ns();
}

/* A file that has zeros at first and pattern(0) from sector 4 on. */
static struct blk_file other_file(uint64_t bytes)
{
	struct blk_file file = {.bytes = bytes, .id = "another"};
	uint8_t data[4096];

	file.fd = memfd_create("other", MFD_CLOEXEC);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	assert_int_equal(ftruncate(file.fd, (off_t)bytes), 0);
	assert_int_equal(pwrite(file.fd, data, 4096, 2048), 4096);
	return file;
}

static void start_swap(struct fixture *f, const struct blk_file *file)
{
	f->swap_ret = 1;
	f->swap.done = swapped;
	blk_swap(f->blk, file, &f->swap);
}

static void wait_swap(struct fixture *f)
{
	until(f, f->swap_ret != 1);
}

static void a_swap_changes_capacity_and_tells(void **state)
{
	struct fixture *f = *state;
	struct blk_file file = other_file(64 * KIB);
	uint32_t gen;

	attach_usual(f);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
	(void)irqs(f);
	reg_write(&f->drv, 0x64, 3);
	gen = reg_read(&f->drv, 0xfc);
	start_swap(f, &file);
	assert_int_equal(f->swap_ret, 1); /* never inside the call */
	wait_swap(f);
	assert_int_equal(f->swap_ret, 0);
	assert_int_equal(irqs(f), 1);
	assert_int_equal(reg_read(&f->drv, 0x60), 2);
	assert_int_equal(reg_read(&f->drv, 0x100), 128);
	assert_int_not_equal(reg_read(&f->drv, 0xfc), gen);
	assert_int_equal(request(f, T_IN, 4, BUFFER_GPA, 512), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 512));
	assert_int_equal(request(f, T_IN, 128, BUFFER_GPA, 512), S_IOERR);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 20), S_OK);
	assert_memory_equal(ram(&f->drv, BUFFER_GPA, 8), "another", 8);
	assert_int_equal(blk_counts(f->blk)->updates, 1);
}

static void a_swap_works_before_the_driver_is_there(void **state)
{
	struct fixture *f = *state;
	struct blk_file file = other_file(64 * KIB);

	attach_usual(f);
	reset(f);
	(void)irqs(f);
	start_swap(f, &file);
	wait_swap(f);
	assert_int_equal(f->swap_ret, 0);
	assert_int_equal(irqs(f), 0);
	bring_up(&f->drv, F_VERSION);
	assert_int_equal(request(f, T_IN, 4, BUFFER_GPA, 512), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 512));
}

static void a_swap_lets_requests_end_on_the_old_file(void **state)
{
	struct fixture *f = *state;
	struct blk_file file = other_file(64 * KIB);

	attach_blocked(f);
	start_swap(f, &file);
	/* Offered after the swap: not before it is done. */
	build(f, 8, T_IN, 4, BUFFER_GPA + 512, 512, true);
	offer(&f->drv, 8);
	kick(&f->drv);
	turns(f, 5);
	assert_int_equal(f->swap_ret, 1);
	assert_false(used_waits(&f->drv));
	unblock(f, 1);
	read_ends_well(f, 0, BUFFER_GPA, 0);
	read_ends_well(f, 8, BUFFER_GPA + 512, 0);
	assert_int_equal(f->swap_ret, 0);
}

static void a_swap_that_takes_too_long_keeps_the_old_file(void **state)
{
	struct fixture *f = *state;
	struct blk_file file = other_file(64 * KIB);
	uint64_t start = clock_now_ns();

	attach_blocked(f);
	start_swap(f, &file);
	wait_swap(f);
	assert_int_equal(f->swap_ret, -ETIMEDOUT);
	assert_true(f->swap_ns - start >= 200 * NS_PER_MS);
	assert_int_equal(fcntl(file.fd, F_GETFD), -1);
	assert_int_equal(reg_read(&f->drv, 0x100), DISK_BYTES / 512);
	/* Requests go on meanwhile, on the old file. */
	build(f, 8, T_IN, 0, BUFFER_GPA + 512, 512, true);
	offer(&f->drv, 8);
	kick(&f->drv);
	until(f, asleep(f));
	unblock(f, 2);
	assert_int_equal(wait_used(f) + wait_used(f), 8); /* in any order */
	assert_int_equal(get8(&f->drv, STATUS_GPA(0)), S_OK);
	assert_int_equal(get8(&f->drv, STATUS_GPA(8)), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA + 512, 0, 512));
	assert_int_equal(blk_counts(f->blk)->update_fails, 1);
	file = other_file(64 * KIB);
	start_swap(f, &file);
	wait_swap(f);
	assert_int_equal(f->swap_ret, 0);
}

static void a_second_swap_is_refused(void **state)
{
	struct fixture *f = *state;
	struct blk_file file = other_file(64 * KIB);
	struct blk_file second = other_file(64 * KIB);
	struct fixture other = {.swap_ret = 1, .swap.done = swapped};

	attach_blocked(f);
	start_swap(f, &file);
	blk_swap(f->blk, &second, &other.swap);
	assert_int_equal(other.swap_ret, -EBUSY);
	assert_int_equal(fcntl(second.fd, F_GETFD), -1);
	unblock(f, 1);
	wait_swap(f);
	assert_int_equal(f->swap_ret, 0);
}

/* ---- reset, pause, end ---- */

static void a_reset_waits_for_requests(void **state)
{
	struct fixture *f = *state;
	struct vcpu_thread t;

	attach_blocked(f);
	start_write(&f->drv, f->vm, &t, 0x70, 0);
	until(f, dev(f)->draining);
	turns(f, 10);
	assert_false(ended(&t));
	unblock(f, 1);
	until(f, ended(&t));
	assert_int_equal(pthread_join(t.thread, NULL), 0);
	assert_int_equal(reg_read(&f->drv, 0x70), 0);
	/* The driver's memory is its own again. */
	memset(ram(&f->drv, 0, RAM_BYTES), 0xa5, RAM_BYTES);
	turns(f, 3);
	for (uint64_t at = 0; at < BUFFER_GPA + 4096; at++)
		assert_int_equal(get8(&f->drv, at), 0xa5);
	bring_up(&f->drv, F_ALL);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 20), S_OK);
}

static void paused(struct virtio_dev *d)
{
	*(uint64_t *)ram(&(struct driver){.mem = &d->vm->mem}, 0xf000, 8) += 1;
}

static void a_pause_waits_and_holds_requests(void **state)
{
	struct fixture *f = *state;

	attach_blocked(f);
	virtio_pause(dev(f), paused);
	turns(f, 3);
	assert_int_equal(get32(&f->drv, 0xf000), 0);
	build(f, 8, T_GET_ID, 0, BUFFER_GPA + 512, 20, true);
	offer(&f->drv, 8);
	kick(&f->drv);
	unblock(f, 1);
	read_ends_well(f, 0, BUFFER_GPA, 0);
	until(f, get32(&f->drv, 0xf000) == 1);
	turns(f, 3);
	assert_false(used_waits(&f->drv));
	virtio_resume(dev(f));
	assert_int_equal(wait_used(f), 8);
}

/* The drive goes on, with what was offered meanwhile, as if never paused. */
static void a_pause_that_takes_too_long_is_given_up(void **state)
{
	struct fixture *f = *state;

	attach_blocked(f);
	virtio_pause(dev(f), paused);
	build(f, 8, T_GET_ID, 0, BUFFER_GPA + 512, 20, true);
	offer(&f->drv, 8);
	kick(&f->drv);
	turns(f, 3);
	virtio_resume(dev(f));
	unblock(f, 1);
	read_ends_well(f, 0, BUFFER_GPA, 0);
	assert_int_equal(wait_used(f), 8);
	turns(f, 3);
	assert_int_equal(get32(&f->drv, 0xf000), 0);
	virtio_pause(dev(f), paused);
	until(f, get32(&f->drv, 0xf000) == 1);
}

static void a_paused_drive_is_swapped(void **state)
{
	struct fixture *f = *state;
	struct blk_file file = other_file(64 * KIB);

	attach_usual(f);
	virtio_pause(dev(f), paused);
	until(f, get32(&f->drv, 0xf000) == 1);
	start_swap(f, &file);
	wait_swap(f);
	assert_int_equal(f->swap_ret, 0);
	virtio_resume(dev(f));
	assert_int_equal(request(f, T_IN, 4, BUFFER_GPA, 512), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 512));
}

static void the_end_waits_for_requests(void **state)
{
	struct fixture *f = *state;

	attach_blocked(f);
	virtio_stop(dev(f), blk_stopped);
	turns(f, 5);
	assert_false(dev(f)->stop_queued);
	unblock(f, 1);
	until(f, dev(f)->stop_queued);
	turn(f);
	blk_free(f->blk);
	f->blk = NULL;
}

/* ---- drivers that break the rules ---- */

static void a_broken_driver_harms_its_own_drive_alone(void **state)
{
	struct fixture *f = *state;
	struct driver second;
	uint32_t head, len;

	attach_usual(f);
	f->other = new_blk(f, new_file(DISK_BYTES), DISK_BYTES,
			   &(struct blk_config){.slot = 5});
	desc(&f->drv, 0, BUFFER_GPA, 16, DESC_NEXT, 0); /* a loop */
	offer(&f->drv, 0);
	(void)irqs(f);
	kick(&f->drv);
	until(f, needs_reset(f));
	assert_int_equal(reg_read(&f->drv, 0x60) & 2, 2);
	assert_true(irqs(f) > 0);
	second = f->drv;
	second.dev = blk_dev(f->other);
	f->drv.used_idx = 0;
	bring_up(&second, F_VERSION);
	second.mem = f->drv.mem;
	put_header(f, HEADER_GPA(0), T_GET_ID, 0);
	desc(&second, 0, HEADER_GPA(0), 16, DESC_NEXT, 1);
	desc(&second, 1, BUFFER_GPA, 21, DESC_WRITE, 0);
	offer(&second, 0);
	kick(&second);
	until(f, take_used(&second, &head, &len));
	assert_int_equal(len, 21);
	stop_blk(f, f->other);
	f->other = NULL;
	/* And the first works again after a reset. */
	bring_up_again(f);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
}

static void requests_without_answer_need_a_reset(void **state)
{
	struct fixture *f = *state;

	attach_usual(f);
	for (int i = 0; i < 4; i++) {
		bring_up_again(f);
		put_header(f, BUFFER_GPA, T_IN, 0);
		desc(&f->drv, 0, BUFFER_GPA, i == 0 ? 16 : 15, DESC_NEXT, 1);
		desc(&f->drv, 1, BUFFER_GPA, i < 2 ? 512 : 1,
		     i == 1 || i == 2 ? DESC_WRITE : 0, 0);
		if (i == 3)
			desc(&f->drv, 0, BUFFER_GPA, 600, DESC_WRITE, 1);
		offer(&f->drv, 0);
		kick(&f->drv);
		until(f, needs_reset(f));
		turns(f, 3);
		assert_false(used_waits(&f->drv));
	}
}

static void a_head_in_flight_is_not_taken_twice(void **state)
{
	struct fixture *f = *state;

	attach_blocked(f);
	offer(&f->drv, 0);
	kick(&f->drv);
	until(f, needs_reset(f));
	unblock(f, 1);
	turns(f, 10);
	assert_false(used_waits(&f->drv));
	reset(f);
	assert_false(used_waits(&f->drv));
	bring_up(&f->drv, F_ALL);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 20), S_OK);
}

/* ---- batches ---- */

static void a_full_queue_is_served_in_batches(void **state)
{
	struct fixture *f = *state;
	uint32_t head, len;
	uint64_t n_irqs = 0;
	int n = 0;

	attach_usual(f);
	(void)irqs(f);
	for (int round = 0; round < 20; round++) {
		for (uint16_t i = 0; i + 3 <= QUEUE_SIZE; i += 3) {
			build(f, i, T_IN, i, BUFFER_GPA + i * 512u, 512, true);
			stage(&f->drv, i);
		}
		publish(&f->drv);
		kick(&f->drv);
		for (n = 0; n < QUEUE_SIZE / 3; n++) {
			head = wait_used(f);
			assert_int_equal(get8(&f->drv, STATUS_GPA(head)), S_OK);
			assert_true(has_pattern(f, BUFFER_GPA + head * 512,
						head * 512, 512));
			put16(&f->drv, AVAIL_GPA + 4 + 2 * QUEUE_SIZE,
			      f->drv.used_idx);
		}
		n_irqs += irqs(f);
	}
	/* The queue is looked at again before the device falls asleep. */
	until(f, asleep(f));
	assert_false(take_used(&f->drv, &head, &len));
	assert_true(n_irqs > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_swap_changes_capacity_and_tells),
		BOTH(a_swap_works_before_the_driver_is_there),
		BOTH(a_swap_lets_requests_end_on_the_old_file),
		BOTH(a_swap_that_takes_too_long_keeps_the_old_file),
		BOTH(a_second_swap_is_refused),
		BOTH(a_reset_waits_for_requests),
		BOTH(a_pause_waits_and_holds_requests),
		BOTH(a_pause_that_takes_too_long_is_given_up),
		BOTH(a_paused_drive_is_swapped),
		BOTH(the_end_waits_for_requests),
		BOTH(a_broken_driver_harms_its_own_drive_alone),
		BOTH(requests_without_answer_need_a_reset),
		BOTH(a_head_in_flight_is_not_taken_twice),
		BOTH(a_full_queue_is_served_in_batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
