/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live Diffs, of every kind of memory and by both ways. The log of writes is a
 * stand-in for KVM's; userfaultfd is the kernel's.
 */
#include "snapshot/live_ways.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "snapshot/file.h"
#include "snapshot/image.h"
#include "snapshot/memory.h"
#include "snapshot/target.h"
#include "vmm/vm.h"

#define PAGE	  DIRTY_PAGE_BYTES
#define RAM_BYTES (24 * MIB + 3 * PAGE) /* the last chunk is a short one */
#define N_PAGES	  (RAM_BYTES / PAGE)
#define WORDS	  ((N_PAGES + 63) / 64)
#define BUSY	  2048 /* pages, the first ones, that a guest writes to later */

struct kind {
	bool tracked, base, protects;
};

static struct guest {
	struct vm vm;
	struct live_memory live;
	const struct kind *kind;
	uint8_t *ram, *old, *copy; /* as last told of, as frozen */
	int fd;
	bool logging;
	bool wanders; /* it writes to what it is to hold still */
	uint32_t x;
	uint64_t log[WORDS];
	uint64_t since[WORDS]; /* written since `old` */
} g;

/* Some of it to zeros. */
static void write_page(size_t page)
{
	g.x = g.x * 1664525 + 1013904223;
	memset(g.ram + page * PAGE, page % 5 ? (int)(g.x >> 24) : 0, PAGE);
	dirty_add(g.log, page);
	dirty_add(g.since, page);
}

static void write_pages(unsigned int n, size_t below)
{
	static size_t at;

	while (n-- > 0) {
		at += 7919;
		write_page(at % below);
	}
}

static void get_log(struct kvm_dirty_log *log)
{
	if (g.wanders && g.live.diff.sample.n > 0)
		write_page(g.live.diff.sample.of[0].page);
	memcpy(log->dirty_bitmap, g.log, sizeof(g.log));
	memset(g.log, 0, sizeof(g.log));
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *p;

	va_start(args, request);
	p = va_arg(args, void *);
	va_end(args);
	if (request == KVM_SET_USER_MEMORY_REGION) {
		g.logging = ((struct kvm_userspace_memory_region *)p)->flags &
			    KVM_MEM_LOG_DIRTY_PAGES;
		return 0;
	}
	if (request != KVM_GET_DIRTY_LOG)
		return (int)syscall(SYS_ioctl, fd, request, p);
	assert_true(g.logging);
	get_log(p);
	return 0;
}

/* ---- a guest ---- */

static void back_by_file(void)
{
	char path[] = "/tmp/mayfly-base-XXXXXX";
	int fd = g.kind->protects ? memfd_create("base", MFD_CLOEXEC)
				  : mkstemp(path);
	uint8_t bytes[PAGE];
	struct err e = {0};

	assert_true(fd >= 0);
	if (!g.kind->protects)
		(void)unlink(path);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	for (size_t i = 0; i < N_PAGES; i++) {
		memset(bytes, (int)(i % 255 + 1), PAGE);
		if (i % 64 > 3) /* some holes */
			assert_int_equal(
				pwrite(fd, bytes, PAGE, (off_t)(i * PAGE)),
				PAGE);
	}
	assert_int_equal(dup3(fd, FD_BASE, O_CLOEXEC), FD_BASE);
	(void)close(fd);
	assert_int_equal(gmem_back_file(&g.vm.mem, FD_BASE, &e), 0);
	g.vm.has_base = true;
}

/* What the pages are told against: a snapshot that is there. */
static void take_old(void)
{
	uint32_t *crc = calloc(memory_chunks(&g.vm.mem), sizeof(*crc));
	uint64_t *map = dirty_map(&g.vm.mem);
	struct err e = {0};

	assert_true(crc && map);
	if (g.kind->tracked || g.kind->base) {
		memcpy(g.old, g.ram, RAM_BYTES);
		for (uint32_t i = 0; i < memory_chunks(&g.vm.mem); i++) {
			size_t at = (size_t)i * MEMORY_CHUNK_BYTES;

			crc[i] = crc32c(0, g.old + at,
					MIN((size_t)MEMORY_CHUNK_BYTES,
					    RAM_BYTES - at));
		}
		assert_int_equal(dirty_note(&g.vm, map), 0);
	}
	if (g.kind->tracked)
		assert_int_equal(dirty_fetch(&g.vm, map, &e), 0);
	if (g.kind->tracked || g.kind->base)
		image_keep_digests(&g.vm, &crc);
	free(crc);
	free(map);
	memset(g.since, 0, sizeof(g.since));
}

static void start(const struct kind *kind)
{
	char path[] = "/tmp/mayfly-diff-XXXXXX";
	struct err e = {0};

	memset(&g, 0, sizeof(g));
	g.kind = kind;
	g.old = calloc(1, RAM_BYTES);
	g.copy = malloc(RAM_BYTES);
	g.fd = mkstemp(path);
	assert_true(g.old && g.copy && g.fd >= 0);
	(void)unlink(path);
	assert_int_equal(gmem_reserve(&g.vm.mem, RAM_BYTES, &e), 0);
	if (kind->base)
		back_by_file();
	else
		assert_int_equal(gmem_back(&g.vm.mem, GMEM_ANON, &e), 0);
	g.ram = gmem_ptr(&g.vm.mem, 0, RAM_BYTES);
	g.vm.cfg.track_dirty = kind->tracked;
	assert_int_equal(dirty_arm(&g.vm, &e), 0);
	if (kind->tracked)
		assert_int_equal(dirty_start(&g.vm, &e), 0);
	if (kind->tracked || !kind->base)
		write_pages(3000, N_PAGES - 3); /* not the last chunk */
	take_old();
	write_pages(300, BUSY);
	assert_int_equal(live_memory_init(&g.live, &g.vm, g.fd, &e), 0);
	assert_int_equal(live_diff_init(&g.live, &e), 0);
}

static void stop(void)
{
	live_memory_exit(&g.live);
	dirty_exit(&g.vm);
	gmem_exit(&g.vm.mem);
	if (g.kind->base)
		(void)close(FD_BASE);
	(void)close(g.fd);
	free(g.old);
	free(g.copy);
}

/* ---- what is in the file ---- */

static bool holds(size_t page)
{
	return lseek(g.fd, (off_t)(page * PAGE), SEEK_DATA) ==
	       (off_t)(page * PAGE);
}

/* Every page that is written to is told, and by the log no other. */
static void check_file(const uint64_t *since)
{
	uint8_t bytes[PAGE];

	for (size_t i = 0; i < N_PAGES; i++) {
		bool data = holds(i);

		assert_int_equal(pread(g.fd, bytes, PAGE, (off_t)(i * PAGE)),
				 PAGE);
		assert_memory_equal(data ? bytes : g.old + i * PAGE,
				    g.copy + i * PAGE, PAGE);
		if (g.kind->tracked)
			assert_int_equal(data, dirty_has(since, i));
		else if (g.kind->base && g.kind->protects)
			assert_int_equal(data,
					 memcmp(g.old + i * PAGE,
						g.copy + i * PAGE, PAGE) != 0);
	}
}

static void check_digests(void)
{
	for (uint32_t i = 0; i < memory_chunks(&g.vm.mem); i++) {
		size_t at = (size_t)i * MEMORY_CHUNK_BYTES;
		size_t n = MIN((size_t)MEMORY_CHUNK_BYTES, RAM_BYTES - at);

		assert_int_equal(g.live.crc[i], crc32c(0, g.copy + at, n));
	}
}

/* Refused alone, if it is a part; not when it is laid over what was before. */
static void check_sample(void)
{
	bool part = g.kind->tracked || g.kind->base;
	struct state_file f;
	struct err e = {0};

	assert_int_equal(state_new(&f, &e), 0);
	f.mem_bytes = RAM_BYTES;
	live_diff_add(&g.live, &f);
	assert_int_equal(partial_check(&f, g.fd, &e), part ? -ENODATA : 0);
	assert_int_equal(pwrite(g.fd, g.copy, RAM_BYTES, 0), RAM_BYTES);
	assert_int_equal(partial_check(&f, g.fd, &e), 0);
	state_exit(&f);
}

static void *write_more(void *arg)
{
	(void)arg;
	write_pages(1500, N_PAGES);
	return NULL;
}

/* Frozen, and written to as it is saved. */
static void freeze_and_write(uint64_t *since)
{
	bool protects = g.kind->protects;
	struct err e = {0};
	pthread_t writer;

	if (protects) /* without a look at pages that are not there */
		for (size_t i = 0; i < N_PAGES; i++)
			if (dirty_has(g.since, i) || g.kind->base ||
			    g.kind->tracked)
				memcpy(g.copy + i * PAGE, g.ram + i * PAGE,
				       PAGE);
	assert_int_equal(protects ? live_protect_freeze(&g.live, &e)
				  : live_passes_freeze(&g.live, &e),
			 0);
	if (!protects || (!g.kind->base && !g.kind->tracked))
		memcpy(g.copy, g.ram, RAM_BYTES);
	memcpy(since, g.since, sizeof(g.since));
	memset(g.log, 0, sizeof(g.log));
	memset(g.since, 0, sizeof(g.since));
	assert_int_equal(pthread_create(&writer, NULL, write_more, NULL), 0);
	(void)usleep(1000);
	if (!protects)
		(void)pthread_join(writer, NULL);
	assert_int_equal(protects ? live_protect_write(&g.live, &e)
				  : live_passes_write(&g.live, &e),
			 0);
	if (protects)
		(void)pthread_join(writer, NULL);
}

/* What the log tells behind it: since the pause, or all. */
static void check_log(const uint64_t *since, bool made)
{
	uint64_t *map = dirty_map(&g.vm.mem);
	struct err e = {0};

	assert_non_null(map);
	g.wanders = false;
	g.live.made = made;
	live_memory_exit(&g.live);
	assert_int_equal(g.logging, g.kind->tracked);
	if (g.kind->tracked)
		assert_int_equal(dirty_fetch(&g.vm, map, &e), 0);
	for (size_t i = 0; g.kind->tracked && i < N_PAGES; i++)
		assert_int_equal(dirty_has(map, i),
				 dirty_has(g.since, i) ||
					 (!made && dirty_has(since, i)));
	free(map);
}

static void save(const struct kind *kind, bool made)
{
	uint64_t since[WORDS];
	struct err e = {0};
	int ret;

	start(kind);
	g.wanders = !kind->protects;
	ret = kind->protects ? live_protect_open(&g.live, &e)
			     : live_passes_open(&g.live, &e);
	if (ret == -ENOTSUP) {
		print_message("%s\n", e.text);
		stop();
		return;
	}
	assert_int_equal(ret, 0);
	write_pages(100, BUSY);
	freeze_and_write(since);
	assert_int_equal(live_diff_end(&g.live, &e), 0);
	check_file(since);
	check_digests();
	check_sample();
	check_log(since, made);
	stop();
}

static void by_the_log_protected(void **state)
{
	(void)state;
	save(&(struct kind){.tracked = true, .protects = true}, true);
	save(&(struct kind){.tracked = true, .base = true, .protects = true},
	     true);
}

static void by_the_log_by_passes(void **state)
{
	(void)state;
	save(&(struct kind){.tracked = true}, true);
	save(&(struct kind){.tracked = true, .base = true}, true);
}

static void by_comparing(void **state)
{
	(void)state;
	save(&(struct kind){.base = true, .protects = true}, true);
	save(&(struct kind){.base = true}, true);
}

static void by_residence(void **state)
{
	(void)state;
	save(&(struct kind){.protects = true}, true);
	save(&(struct kind){0}, true);
}

static void failure_gives_back_what_the_log_told(void **state)
{
	(void)state;
	save(&(struct kind){.tracked = true, .protects = true}, false);
	save(&(struct kind){.tracked = true, .base = true}, false);
}

/* As at the start again, but otherwise in the Diff before. */
static void page_that_was_told_is_told(void **state)
{
	static const struct kind kinds[] = {{.base = true, .protects = true},
					    {.base = true}};
	struct err e = {0};
	uint64_t *map;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		start(&kinds[i]);
		map = dirty_map(&g.vm.mem);
		dirty_add(map, BUSY + 5);
		assert_int_equal(dirty_note(&g.vm, map), 0);
		free(map);
		if (kinds[i].protects) {
			if (live_protect_open(&g.live, &e) == 0) {
				assert_int_equal(
					live_protect_freeze(&g.live, &e), 0);
				assert_int_equal(
					live_protect_write(&g.live, &e), 0);
				assert_true(holds(BUSY + 5));
			}
		} else {
			assert_int_equal(live_passes_open(&g.live, &e), 0);
			assert_true(holds(BUSY + 5));
		}
		assert_false(holds(BUSY + 6));
		stop();
	}
}

/* One that was found by comparing is in the next one, whatever it is then. */
static void page_that_differed_is_remembered(void **state)
{
	static const struct kind kind = {.base = true, .protects = true};
	struct err e = {0};
	size_t n = 0;

	(void)state;
	start(&kind);
	for (size_t at = 0; at < RAM_BYTES; at += PAGE)
		n += memcmp(g.old + at, g.ram + at, PAGE) != 0;
	assert_true(n > 200);
	if (live_protect_open(&g.live, &e) == 0) {
		assert_int_equal(live_protect_freeze(&g.live, &e), 0);
		assert_int_equal(live_protect_write(&g.live, &e), 0);
		assert_int_equal(live_diff_end(&g.live, &e), 0);
		assert_int_equal(dirty_count(g.vm.dirty.told, &g.vm.mem), n);
	}
	stop();
}

/* A page server's pages are not brought for a digest. */
static void none_are_digested_of_a_page_server(void **state)
{
	static const struct kind kind = {.tracked = true};
	struct err e = {0};

	(void)state;
	start(&kind);
	live_memory_exit(&g.live);
	g.vm.cfg.pager = (struct pager *)&g;
	assert_int_equal(live_memory_init(&g.live, &g.vm, g.fd, &e), 0);
	assert_int_equal(live_diff_init(&g.live, &e), 0);
	assert_int_equal(live_passes_open(&g.live, &e), 0);
	assert_int_equal(live_passes_freeze(&g.live, &e), 0);
	assert_int_equal(live_passes_write(&g.live, &e), 0);
	assert_int_equal(live_diff_end(&g.live, &e), 0);
	assert_null(g.live.crc);
	memcpy(g.copy, g.ram, RAM_BYTES);
	check_file(g.since);
	stop();
}

/* A Diff over one that was not merged yet: a hole would tell something else. */
static void zeros_of_an_old_diff_stay(void **state)
{
	static const uint8_t zero[PAGE];
	static const struct kind kind = {.tracked = true};
	char path[] = "/tmp/mayfly-old-XXXXXX";
	struct target t;
	struct err e = {0};
	int old = mkstemp(path);

	(void)state;
	start(&kind);
	assert_int_equal(ftruncate(old, RAM_BYTES), 0);
	assert_int_equal(pwrite(old, zero, PAGE, 7 * PAGE), PAGE);
	assert_int_equal(pwrite(old, "x", 1, RAM_BYTES - 1), 1);
	assert_int_equal(target_open(&t, path, 1, "memory", &e), 0);
	(void)dup2(t.fd, g.fd);
	assert_int_equal(ftruncate(g.fd, RAM_BYTES), 0);
	assert_int_equal(live_diff_lay(&g.live, &t, &e), 0);
	assert_true(holds(7) && holds(N_PAGES - 1));
	assert_false(holds(6) || holds(8));
	/* One of another size is not that of a snapshot before. */
	assert_int_equal(ftruncate(old, RAM_BYTES - PAGE), 0);
	assert_int_equal(ftruncate(g.fd, 0), 0);
	assert_int_equal(ftruncate(g.fd, RAM_BYTES), 0);
	assert_int_equal(live_diff_lay(&g.live, &t, &e), 0);
	assert_int_equal(lseek(g.fd, 0, SEEK_DATA), -1);
	target_abort(&t);
	(void)close(old);
	(void)unlink(path);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_the_log_protected),
		cmocka_unit_test(by_the_log_by_passes),
		cmocka_unit_test(by_comparing),
		cmocka_unit_test(by_residence),
		cmocka_unit_test(failure_gives_back_what_the_log_told),
		cmocka_unit_test(page_that_was_told_is_told),
		cmocka_unit_test(page_that_differed_is_remembered),
		cmocka_unit_test(none_are_digested_of_a_page_server),
		cmocka_unit_test(zeros_of_an_old_diff_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
