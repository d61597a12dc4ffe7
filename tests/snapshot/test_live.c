/* SPDX-License-Identifier: Apache-2.0 */
/* By protection; passes need KVM's log: tests/boot/nano_live.py. */
#include "snapshot/live_ways.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/num.h"
#include "base/worker.h"
#include "snapshot/memory.h"
#include "vmm/vm.h"

#define PAGE	  DIRTY_PAGE_BYTES
#define RAM_BYTES (24 * MIB + 3 * PAGE) /* the last chunk is a short one */
#define TOUCHED	  (13 * MIB)

struct fixture {
	struct vm vm;
	struct live_memory live;
	uint8_t *ram, *copy; /* as it is when it is frozen */
	int fd;
	pthread_t writer;
	bool stop;
	unsigned int rounds;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[] = "/tmp/mayfly-live-XXXXXX";
	struct err e = {0};

	assert_non_null(f);
	assert_int_equal(gmem_reserve(&f->vm.mem, RAM_BYTES, &e), 0);
	f->copy = malloc(RAM_BYTES);
	f->fd = mkstemp(path);
	(void)unlink(path);
	assert_non_null(f->copy);
	assert_true(f->fd >= 0);
	assert_int_equal(live_memory_init(&f->live, &f->vm, f->fd, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->live.vm)
		live_memory_exit(&f->live);
	dirty_exit(&f->vm);
	gmem_exit(&f->vm.mem);
	(void)close(f->fd);
	free(f->copy);
	free(f);
	return 0;
}

/* RAM of that kind, some of it touched, some of that zero. */
static void fill(struct fixture *f)
{
	struct err e = {0};

	f->ram = gmem_ptr(&f->vm.mem, 0, RAM_BYTES);
	for (size_t i = 0; i < TOUCHED; i++)
		f->ram[i] = (uint8_t)(i / PAGE * 31 + i % 251);
	memset(f->ram + 3 * MIB, 0, 5 * MIB / 2);
	if (live_protect_open(&f->live, &e) < 0) {
		print_message("userfaultfd: %s\n", e.text);
		skip();
	}
}

static void anonymous(struct fixture *f)
{
	struct err e = {0};

	assert_int_equal(gmem_back(&f->vm.mem, GMEM_ANON, &e), 0);
	fill(f);
}

static void *write_all(void *arg)
{
	struct fixture *f = arg;
	uint32_t x = 1;

	while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
		/* All pages, in no order, what was not there too. */
		for (size_t i = 0; i < RAM_BYTES / PAGE; i++) {
			x = x * 1664525 + 1013904223;
			f->ram[(x >> 8) % (RAM_BYTES / PAGE) * PAGE +
			       x % PAGE] ^= 0x55;
		}
		__atomic_add_fetch(&f->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void start_writer(struct fixture *f)
{
	assert_int_equal(pthread_create(&f->writer, NULL, write_all, f), 0);
}

static void stop_writer(struct fixture *f)
{
	__atomic_store_n(&f->stop, true, __ATOMIC_RELEASE);
	(void)pthread_join(f->writer, NULL);
}

static void freeze(struct fixture *f)
{
	struct err e = {0};

	memcpy(f->copy, f->ram, RAM_BYTES);
	if (f->vm.mem.anonymous) /* the copy has touched it */
		assert_int_equal(
			madvise(f->ram + 16 * MIB, 8 * MIB, MADV_DONTNEED), 0);
	assert_int_equal(live_protect_freeze(&f->live, &e), 0);
}

static void check_file(struct fixture *f)
{
	uint8_t *got = malloc(RAM_BYTES);
	uint32_t chunks = memory_chunks(&f->vm.mem);

	assert_non_null(got);
	assert_int_equal(pread(f->live.fd, got, RAM_BYTES, 0), RAM_BYTES);
	for (size_t at = 0; at < RAM_BYTES; at += PAGE)
		assert_memory_equal(got + at, f->copy + at, PAGE);
	for (uint32_t i = 0; i < chunks; i++) {
		size_t at = (size_t)i * MEMORY_CHUNK_BYTES;
		size_t n = MIN((size_t)MEMORY_CHUNK_BYTES, RAM_BYTES - at);

		assert_int_equal(f->live.crc[i], crc32c(0, got + at, n));
	}
	free(got);
}

/* Until it has come to a page that is protected. */
static void wait_for_writer(const struct fixture *f)
{
	struct pollfd p = {.fd = f->live.protect.fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 60000), 1);
}

static void save(struct fixture *f)
{
	struct err e = {0};

	freeze(f);
	start_writer(f);
	wait_for_writer(f);
	assert_int_equal(live_protect_write(&f->live, &e), 0);
	stop_writer(f);
	assert_int_equal(live_digest(&f->live, &e), 0);
	check_file(f);
}

static void image_is_the_moment_of_the_freeze(void **state)
{
	struct fixture *f = *state;

	anonymous(f);
	save(f);
	assert_true(f->live.n_waited > 0);
}

static void of_a_file(struct fixture *f)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct err e = {0};

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	assert_int_equal(pwrite(fd, "data", 4, 20 * MIB), 4);
	assert_int_equal(gmem_back_file(&f->vm.mem, fd, &e), 0);
	f->vm.has_base = true;
	(void)close(fd);
	fill(f);
	save(f);
}

static void so_it_is_of_a_file_of_memory(void **state)
{
	of_a_file(*state);
}

/*
 * A page that is soon as in the memory file again would not be in a Diff, which
 * may be merged over this snapshot.
 */
static void later_diffs_hold_what_it_may_hold(void **state)
{
	struct fixture *f = *state;

	of_a_file(f);
	assert_non_null(f->vm.dirty.told);
	assert_int_equal(dirty_count(f->vm.dirty.told, &f->vm.mem),
			 dirty_pages(&f->vm.mem));
}

static void untouched_guest_makes_holes(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_int_equal(gmem_back(&f->vm.mem, GMEM_ANON, &e), 0);
	if (live_protect_open(&f->live, &e) < 0)
		skip();
	memset(f->copy, 0, RAM_BYTES);
	assert_int_equal(live_protect_freeze(&f->live, &e), 0);
	assert_int_equal(live_protect_write(&f->live, &e), 0);
	assert_int_equal(live_digest(&f->live, &e), 0);
	assert_int_equal(lseek(f->live.fd, 0, SEEK_DATA), -1);
	check_file(f);
}

struct other {
	struct job job;
	struct fixture *fixture;
	bool before_the_end;
	bool finished;
};

static void other_work(struct job *j)
{
	struct other *o = container_of(j, struct other, job);

	o->before_the_end = o->fixture->live.protect.fd >= 0;
}

static void other_done(struct job *j)
{
	container_of(j, struct other, job)->finished = true;
}

static void long_work(struct job *j)
{
	struct other *o = container_of(j, struct other, job);
	struct err e = {0};

	/* Until the other one is there, too. */
	while (!__atomic_load_n(&o->fixture->stop, __ATOMIC_ACQUIRE))
		(void)usleep(100);
	(void)live_protect_write(&o->fixture->live, &e);
}

static void others_have_their_turn(void **state)
{
	struct fixture *f = *state;
	struct other one = {{.work = long_work, .done = other_done}, f};
	struct other two = {{.work = other_work, .done = other_done}, f};
	struct err e = {0};
	struct loop *l;

	anonymous(f);
	freeze(f);
	assert_int_equal(worker_new(&f->live.worker, &e), 0);
	assert_int_equal(loop_new(&l, LOOP_EPOLL, NULL, &e), 0);
	worker_attach(f->live.worker, l);
	worker_submit(f->live.worker, &one.job);
	worker_submit(f->live.worker, &two.job);
	__atomic_store_n(&f->stop, true, __ATOMIC_RELEASE);
	while (!one.finished || !two.finished)
		assert_int_equal(loop_turn(l, NS_PER_S), 0);
	assert_true(two.before_the_end);
	worker_free(f->live.worker);
	loop_free(l);
}

static void failure_lets_writers_go(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	anonymous(f);
	(void)close(f->fd);
	f->fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	f->live.fd = f->fd;
	freeze(f);
	start_writer(f);
	assert_int_equal(live_protect_write(&f->live, &e), -ENOSPC);
	live_memory_exit(&f->live);
	while (__atomic_load_n(&f->rounds, __ATOMIC_ACQUIRE) < 2)
		(void)usleep(100);
	stop_writer(f);
}

static void so_does_giving_up(void **state)
{
	struct fixture *f = *state;

	anonymous(f);
	freeze(f);
	start_writer(f);
	(void)usleep(1000);
	live_memory_exit(&f->live);
	while (__atomic_load_n(&f->rounds, __ATOMIC_ACQUIRE) < 2)
		(void)usleep(100);
	stop_writer(f);
}

static void huge_pages_are_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	f->vm.mem.page_bytes = 2 * MIB;
	assert_int_equal(live_protect_open(&f->live, &e), -ENOTSUP);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(image_is_the_moment_of_the_freeze),
		TEST(so_it_is_of_a_file_of_memory),
		TEST(later_diffs_hold_what_it_may_hold),
		TEST(untouched_guest_makes_holes),
		TEST(others_have_their_turn),
		TEST(failure_lets_writers_go),
		TEST(so_does_giving_up),
		TEST(huge_pages_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
