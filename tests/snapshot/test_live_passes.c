/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of writes is a stand-in for KVM's: each time it is read the guest has
 * written to as many pages as a test says.
 */
#include "snapshot/live_ways.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/memory.h"
#include "vmm/vm.h"

#define PAGE	  DIRTY_PAGE_BYTES
#define RAM_BYTES (32 * MIB)
#define N_PAGES	  (RAM_BYTES / PAGE)
#define ALWAYS	  16 /* fetches that a schedule tells of */

static struct guest {
	struct vm vm;
	struct live_memory live;
	uint8_t *ram, *copy;
	int fd;
	const unsigned int *schedule;
	unsigned int fetches;
	bool logging;
	int share; /* what FICLONE says */
	uint32_t x;
	uint64_t log[N_PAGES / 64];
} g;

static void write_pages(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		size_t page = g.x % N_PAGES;

		/* A prime step: none twice before all once. Some to zero. */
		g.x += 7919;
		memset(g.ram + page * PAGE, i % 5 ? (int)(g.x % 256) : 0, PAGE);
		g.log[page / 64] |= (uint64_t)1 << (page % 64);
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	struct kvm_dirty_log *log;
	va_list args;
	void *p;

	(void)fd;
	va_start(args, request);
	p = va_arg(args, void *);
	va_end(args);
	if (request == KVM_SET_USER_MEMORY_REGION) {
		g.logging = ((struct kvm_userspace_memory_region *)p)->flags &
			    KVM_MEM_LOG_DIRTY_PAGES;
		return 0;
	}
	if (request == FICLONE) {
		errno = g.share;
		return -1;
	}
	if (request != KVM_GET_DIRTY_LOG || !g.logging) {
		errno = ENOTTY;
		return -1;
	}
	write_pages(g.schedule[MIN(g.fetches, (unsigned int)ALWAYS - 1)]);
	g.fetches++;
	log = p;
	memcpy(log->dirty_bitmap, g.log, sizeof(g.log));
	memset(g.log, 0, sizeof(g.log));
	return 0;
}

static int setup(void **state)
{
	char path[] = "/tmp/mayfly-passes-XXXXXX";
	struct err e = {0};

	(void)state;
	memset(&g, 0, sizeof(g));
	g.x = 1;
	assert_int_equal(gmem_reserve(&g.vm.mem, RAM_BYTES, &e), 0);
	assert_int_equal(gmem_back(&g.vm.mem, GMEM_ANON, &e), 0);
	g.ram = gmem_ptr(&g.vm.mem, 0, RAM_BYTES);
	g.copy = malloc(RAM_BYTES);
	g.fd = mkstemp(path);
	(void)unlink(path);
	assert_true(g.copy && g.fd >= 0);
	assert_int_equal(live_memory_init(&g.live, &g.vm, g.fd, &e), 0);
	assert_int_equal(dirty_arm(&g.vm, &e), 0);
	write_pages(3000);
	memset(g.log, 0, sizeof(g.log));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (g.live.vm)
		live_memory_exit(&g.live);
	dirty_exit(&g.vm);
	gmem_exit(&g.vm.mem);
	(void)close(g.fd);
	free(g.copy);
	return 0;
}

static void check_file(void)
{
	uint8_t *got = malloc(RAM_BYTES);

	assert_non_null(got);
	assert_int_equal(pread(g.fd, got, RAM_BYTES, 0), RAM_BYTES);
	for (size_t at = 0; at < RAM_BYTES; at += PAGE)
		assert_memory_equal(got + at, g.copy + at, PAGE);
	for (uint32_t i = 0; i < memory_chunks(&g.vm.mem); i++)
		assert_int_equal(g.live.crc[i],
				 crc32c(0, got + i * MEMORY_CHUNK_BYTES,
					MEMORY_CHUNK_BYTES));
	free(got);
}

static int open_by(const unsigned int *schedule, struct err *e)
{
	*e = (struct err){0};
	g.schedule = schedule;
	return live_passes_open(&g.live, e);
}

/* Freeze, go on, write: the file is the freeze. */
static void save(void)
{
	struct err e = {0};

	assert_int_equal(live_passes_freeze(&g.live, &e), 0);
	memcpy(g.copy, g.ram, RAM_BYTES);
	write_pages(500);
	assert_int_equal(live_passes_write(&g.live, &e), 0);
	assert_int_equal(live_digest(&g.live, &e), 0);
	check_file();
}

static void passes_end_when_little_is_left(void **state)
{
	static const unsigned int schedule[ALWAYS] = {2000, 600, 150, 90};
	struct err e;

	(void)state;
	assert_int_equal(open_by(schedule, &e), 0);
	assert_true(g.logging);
	assert_int_equal(g.live.n_passes, 3);
	assert_int_equal(g.live.n_rest, 150);
	save();
	assert_int_equal(g.live.n_rest, 240);
	assert_false(g.logging);
	assert_int_equal(g.fetches, 4);
}

static void eight_passes_may_be_enough(void **state)
{
	static const unsigned int schedule[ALWAYS] = {
		1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 900};
	struct err e;

	(void)state;
	assert_int_equal(open_by(schedule, &e), 0);
	assert_int_equal(g.live.n_passes, LIVE_PASSES);
	save();
	assert_int_equal(g.live.n_rest, 1900);
}

static void check_refused(const struct err *e)
{
	assert_int_equal(e->code, -EBUSY);
	assert_non_null(strstr(e->text, "faster than it can be saved"));
	live_memory_exit(&g.live);
	assert_false(g.logging);
}

static void more_than_that_is_refused(void **state)
{
	static const unsigned int schedule[ALWAYS] = {
		3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000};
	struct err e;

	(void)state;
	assert_int_equal(open_by(schedule, &e), -EBUSY);
	assert_int_equal(g.fetches, LIVE_PASSES);
	check_refused(&e);
}

static void so_it_is_in_the_pause(void **state)
{
	static const unsigned int schedule[ALWAYS] = {100, 3000};
	struct err e;

	(void)state;
	assert_int_equal(open_by(schedule, &e), 0);
	assert_int_equal(g.live.n_passes, 1);
	assert_int_equal(live_passes_freeze(&g.live, &e), -EBUSY);
	check_refused(&e);
}

/* The user's: on before, and on behind it. */
static void log_that_was_on(bool made)
{
	static const unsigned int schedule[ALWAYS] = {2000, 300, 100, 50, 77};
	uint64_t *map = dirty_map(&g.vm.mem);
	struct err e = {0};

	assert_non_null(map);
	assert_int_equal(dirty_start(&g.vm, &e), 0);
	assert_int_equal(open_by(schedule, &e), 0);
	save();
	assert_true(g.logging);
	g.live.made = made;
	live_memory_exit(&g.live);
	assert_true(g.logging);
	assert_int_equal(dirty_fetch(&g.vm, map, &e), 0);
	/* 500 by save(), 77 just now, and what was told in vain. */
	assert_int_equal(dirty_count(map, &g.vm.mem), 577 + (made ? 0 : 2450));
	free(map);
}

static void log_goes_on_from_the_pause(void **state)
{
	(void)state;
	log_that_was_on(true);
}

static void failure_gives_back_what_the_log_told(void **state)
{
	(void)state;
	log_that_was_on(false);
}

/* The file may have something then where zeros would be left out. */
static void failed_share_fails_it(void **state)
{
	static const unsigned int little[ALWAYS];
	struct err e;

	(void)state;
	g.vm.has_base = true;
	g.share = EIO;
	assert_int_equal(open_by(little, &e), -EIO);
	assert_string_equal(e.text, "Cannot copy the memory backing file: "
				    "I/O error (os error 5)");
}

/* Everything is in a snapshot now that may be otherwise in the base. */
static void without_sharing_all_is_written(void **state)
{
	static const unsigned int little[ALWAYS];
	struct err e;

	(void)state;
	g.vm.has_base = true;
	g.share = EOPNOTSUPP;
	assert_int_equal(open_by(little, &e), 0);
	save();
	assert_int_equal(dirty_count(g.vm.dirty.told, &g.vm.mem), N_PAGES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(passes_end_when_little_is_left),
		TEST(eight_passes_may_be_enough),
		TEST(more_than_that_is_refused),
		TEST(so_it_is_in_the_pause),
		TEST(log_goes_on_from_the_pause),
		TEST(failure_gives_back_what_the_log_told),
		TEST(failed_share_fails_it),
		TEST(without_sharing_all_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
