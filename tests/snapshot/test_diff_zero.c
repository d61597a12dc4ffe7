/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page that became zero is data in a Diff: whoever merges takes a hole for a
 * page that did not change (ctl/snapshot_merge.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "snapshot/memory.h"
#include "vmm/dirty.h"
#include "vmm/gmem.h"

#define RAM_BYTES (4 * MIB)
#define ZERO	  700 /* the page that was written and is zero */
#define OTHER	  5

static int new_file(void)
{
	char path[] = "/tmp/mayfly-diff-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	return fd;
}

static void assert_data(int fd, uint64_t page)
{
	off_t at = (off_t)(page * DIRTY_PAGE_BYTES);

	assert_int_equal(lseek(fd, at, SEEK_DATA), at);
	assert_int_equal(lseek(fd, at, SEEK_HOLE), at + DIRTY_PAGE_BYTES);
}

static void page_that_became_zero_is_data(void **state)
{
	struct gmem m = {0};
	int fd = new_file();
	uint64_t *map;
	struct err e;

	(void)state;
	assert_int_equal(gmem_reserve(&m, RAM_BYTES, &e), 0);
	assert_int_equal(gmem_back(&m, GMEM_ANON, &e), 0);
	map = dirty_map(&m);
	assert_non_null(map);
	dirty_add(map, ZERO);
	dirty_add(map, OTHER);
	memset(m.region[0].hva + ZERO * DIRTY_PAGE_BYTES, 0, DIRTY_PAGE_BYTES);
	memset(m.region[0].hva + OTHER * DIRTY_PAGE_BYTES, 1, DIRTY_PAGE_BYTES);
	assert_int_equal(memory_write_pages(&m, fd, map, false, &e), 0);
	assert_data(fd, ZERO);
	assert_data(fd, OTHER);
	assert_int_equal(lseek(fd, 0, SEEK_DATA), OTHER * DIRTY_PAGE_BYTES);
	free(map);
	gmem_exit(&m);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_that_became_zero_is_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
