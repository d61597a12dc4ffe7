/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory files of snapshots of a machine without KVM: of RAM that is mapped
 * from a file, or anonymous, without a log of writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "snapshot/image.h"
#include "snapshot/memory.h"
#include "snapshot/partial.h"
#include "snapshot/sections.h"
#include "snapshot/target.h"
#include "vmm/vm.h"

#define PAGE	  4096
#define RAM_BYTES (5 * MIB + 3 * PAGE) /* the last chunk is a short one */
#define PAGES	  (RAM_BYTES / PAGE)
#define CHUNKS	  3
#define FILL(n)	  ((int)(n) % 255 + 1) /* of page n at the start */

struct fixture {
	char dir[32];
	struct vm *vm;
	/* What the last snapshot made. */
	char path[64];
	struct state_file state;
	uint32_t crc[CHUNKS];
};

static uint8_t *page(struct fixture *f, size_t n)
{
	return f->vm->mem.region[0].hva + n * PAGE;
}

static void set(struct fixture *f, size_t n, int value)
{
	memset(page(f, n), value, PAGE);
}

/* RAM of a file of such pages, but 5, 6 and 600, which are holes. */
static void restore(struct fixture *f)
{
	struct gmem *m = &f->vm->mem;
	struct err e = {0};
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/base", f->dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	for (int i = 0; i < (int)PAGES; i++) {
		uint8_t bytes[PAGE];

		memset(bytes, FILL(i), sizeof(bytes));
		if (i != 5 && i != 6 && i != 600)
			assert_int_equal(pwrite(fd, bytes, PAGE, i * PAGE),
					 PAGE);
	}
	assert_int_equal(dup3(fd, FD_BASE, O_CLOEXEC), FD_BASE);
	(void)close(fd);
	assert_int_equal(gmem_reserve(m, RAM_BYTES, &e), 0);
	assert_int_equal(gmem_back_file(m, FD_BASE, &e), 0);
	f->vm->has_base = true;
}

static void boot(struct fixture *f)
{
	struct err e = {0};

	assert_int_equal(gmem_reserve(&f->vm->mem, RAM_BYTES, &e), 0);
	assert_int_equal(gmem_back(&f->vm->mem, GMEM_ANON, &e), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)strcpy(f->dir, "/tmp/mayfly-image-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->vm = calloc(1, sizeof(*f->vm));
	assert_non_null(f->vm);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
	state_exit(&f->state);
	dirty_exit(f->vm);
	gmem_exit(&f->vm->mem);
	if (f->vm->has_base)
		(void)close(FD_BASE);
	free(f->vm);
	free(f);
	return 0;
}

/* A snapshot to a file of that name. */
static void make(struct fixture *f, const char *name, bool diff)
{
	struct target t, other;
	struct archive a;
	struct image im;
	struct err e = {0};
	char path[64];

	(void)snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
	(void)snprintf(path, sizeof(path), "%s/state", f->dir);
	state_exit(&f->state);
	assert_int_equal(state_new(&f->state, &e), 0);
	f->state.mem_bytes = RAM_BYTES;
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(target_open(&other, path, 7, "state", &e), 0);
	if (image_write(&im, f->vm, diff, &t, &f->state, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(target_commit(&other, "state", &t, "memory", &e), 0);
	image_end(&im, true);
	target_abort(&t);
	target_abort(&other);
	a = state_find(&f->state, TAG_DIGEST, 0);
	for (unsigned int i = 0; i < CHUNKS; i++)
		archive_u32(&a, &f->crc[i]);
	assert_true(archive_ok(&a));
}

static int open_file(const struct fixture *f)
{
	int fd = open(f->path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), RAM_BYTES);
	return fd;
}

/* Whether page n is no hole in the file. */
static bool holds(const struct fixture *f, size_t n)
{
	int fd = open_file(f);
	bool data =
		lseek(fd, (off_t)(n * PAGE), SEEK_DATA) == (off_t)(n * PAGE);

	(void)close(fd);
	return data;
}

static size_t count(const struct fixture *f)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += holds(f, i);
	return n;
}

static void assert_is_ram(struct fixture *f)
{
	uint8_t *file = malloc(RAM_BYTES);
	int fd = open_file(f);

	assert_non_null(file);
	assert_int_equal(pread(fd, file, RAM_BYTES, 0), RAM_BYTES);
	assert_memory_equal(file, page(f, 0), RAM_BYTES);
	free(file);
	(void)close(fd);
}

static void assert_digests_are_of_ram(struct fixture *f)
{
	for (size_t i = 0; i < CHUNKS; i++) {
		size_t at = i * MEMORY_CHUNK_BYTES;

		assert_int_equal(f->crc[i],
				 crc32c(0, page(f, 0) + at,
					MIN(RAM_BYTES - at,
					    (size_t)MEMORY_CHUNK_BYTES)));
	}
}

static bool is_partial(const struct fixture *f)
{
	return !state_find(&f->state, TAG_DIFF, 0).failed;
}

static void diff_is_what_differs(void **state)
{
	struct fixture *f = *state;

	restore(f);
	set(f, 3, 99);
	set(f, 4, FILL(4)); /* as it was */
	set(f, 5, 1);
	set(f, 700, 0); /* zeros are written too */
	make(f, "diff", true);
	assert_true(holds(f, 3) && holds(f, 5) && holds(f, 700));
	assert_int_equal(count(f), 3);
	assert_digests_are_of_ram(f);
	assert_true(is_partial(f));
}

/* The Diff before it has it otherwise, and both may be merged. */
static void page_that_is_as_at_the_start_stays_in_diffs(void **state)
{
	struct fixture *f = *state;

	restore(f);
	set(f, 3, 99);
	make(f, "diff", true);
	set(f, 3, FILL(3));
	make(f, "second", true);
	assert_true(holds(f, 3));
	assert_int_equal(count(f), 1);
	/* A Full has it, too. */
	set(f, 7, 99);
	make(f, "full", false);
	set(f, 7, FILL(7));
	make(f, "third", true);
	assert_true(holds(f, 3) && holds(f, 7));
	assert_int_equal(count(f), 2);
}

static void diff_merges_with_a_file_of_its_size(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	int fd;

	restore(f);
	set(f, 3, 99);
	make(f, "base", true); /* over what it was restored from */
	assert_is_ram(f);
	assert_digests_are_of_ram(f);
	assert_false(is_partial(f));
	assert_false(holds(f, 5));
	/* And over a part, which it does not make whole. */
	make(f, "part", true);
	set(f, 4, 99);
	make(f, "part", true);
	assert_true(is_partial(f));
	assert_int_equal(count(f), 2);
	fd = open_file(f);
	assert_int_equal(partial_check(&f->state, fd, &e), -ENODATA);
	(void)close(fd);
	fd = dup(FD_BASE); /* it has all that the part has not */
	assert_int_equal(partial_check(&f->state, fd, &e), 0);
	(void)close(fd);
}

static void full_of_a_restored_guest_is_ram(void **state)
{
	struct fixture *f = *state;

	restore(f);
	set(f, 3, 0);
	set(f, 5, 1);
	make(f, "full", false);
	assert_is_ram(f);
	assert_digests_are_of_ram(f);
	assert_false(is_partial(f));
	assert_false(holds(f, 3));
	assert_false(holds(f, 6));
	assert_int_equal(count(f), PAGES - 3);
}

/* Only chunks that have changed are read. */
static void known_digests_are_kept(void **state)
{
	uint32_t known[CHUNKS] = {11, 22, 33};
	struct fixture *f = *state;
	struct state_file file;
	struct err e = {0};

	restore(f);
	assert_int_equal(state_new(&file, &e), 0);
	image_add_digests(&file, known, CHUNKS);
	image_restored(f->vm, &file);
	state_exit(&file);
	set(f, 600, 1);
	make(f, "diff", true);
	assert_int_equal(f->crc[0], 11);
	assert_int_equal(f->crc[2], 33);
	assert_int_equal(f->crc[1], crc32c(0, page(f, 512), 2 * MIB));
	set(f, PAGES - 1, 1);
	make(f, "full", false);
	assert_int_equal(f->crc[0], 11);
	assert_int_equal(f->crc[1], crc32c(0, page(f, 512), 2 * MIB));
	assert_int_equal(f->crc[2], crc32c(0, page(f, 1024), MIB + 3 * PAGE));
}

/* All that was ever touched: what was not is zero everywhere. */
static void diff_of_a_booted_guest_is_what_is_resident(void **state)
{
	struct fixture *f = *state;

	boot(f);
	set(f, 1, 1);
	set(f, 700, 0);
	make(f, "diff", true);
	assert_true(holds(f, 1));
	assert_true(count(f) >= 2 && count(f) < PAGES);
	assert_is_ram(f);
	assert_digests_are_of_ram(f);
	assert_false(is_partial(f));
}

static void zeros_become_holes_if_asked(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	uint64_t *map;
	int fd;

	restore(f);
	(void)snprintf(f->path, sizeof(f->path), "%s/base", f->dir);
	map = dirty_map(&f->vm->mem);
	set(f, 8, 0);
	set(f, 9, 1);
	set(f, 10, 0);
	for (size_t i = 8; i < 11; i++)
		dirty_add(map, i);
	fd = open(f->path, O_RDWR);
	assert_int_equal(memory_write_pages(&f->vm->mem, fd, map, true, &e), 0);
	assert_false(holds(f, 8) || holds(f, 10));
	assert_true(holds(f, 7) && holds(f, 9) && holds(f, 11));
	assert_is_ram(f);
	assert_int_equal(memory_write_pages(&f->vm->mem, fd, map, false, &e),
			 0);
	assert_true(holds(f, 8) && holds(f, 10));
	assert_is_ram(f);
	(void)close(fd);
	free(map);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(diff_is_what_differs),
		TEST(page_that_is_as_at_the_start_stays_in_diffs),
		TEST(diff_merges_with_a_file_of_its_size),
		TEST(full_of_a_restored_guest_is_ram),
		TEST(known_digests_are_kept),
		TEST(diff_of_a_booted_guest_is_what_is_resident),
		TEST(zeros_become_holes_if_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
