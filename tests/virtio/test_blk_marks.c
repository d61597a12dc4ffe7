/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever a drive changes in RAM is marked when the driver is told of it: for
 * the log of dirty pages.
 */
#include <stdio.h>

#include "tests/virtio/blk_fixture.h"

#include "vmm/dirty.h"

/* Offer a request, and compare what changed with what is marked. */
static void check_marks(struct fixture *f, uint32_t type, uint64_t sector,
			uint32_t len, uint8_t status)
{
	struct gmem *m = &f->vm->mem;
	uint64_t *marks = dirty_map(m);
	uint8_t *before = malloc(RAM_BYTES);
	size_t changed = 0;

	assert_true(marks && before);
	memset(ram(&f->drv, BUFFER_GPA, RAM_BYTES / 2), 0xa5, RAM_BYTES / 2);
	build(f, 0, type, sector, BUFFER_GPA, len,
	      type == T_IN || type == T_GET_ID);
	offer(&f->drv, 0);
	memcpy(before, m->region[0].hva, RAM_BYTES);
	m->marks = marks;
	kick(&f->drv);
	assert_int_equal(wait_used(f), 0);
	m->marks = NULL;
	assert_int_equal(get8(&f->drv, STATUS_GPA(0)), status);
	for (size_t i = 0; i < dirty_pages(m); i++) {
		if (memcmp(before + i * DIRTY_PAGE_BYTES,
			   m->region[0].hva + i * DIRTY_PAGE_BYTES,
			   DIRTY_PAGE_BYTES) == 0)
			continue;
		changed++;
		if (!dirty_has(marks, i))
			fail_msg("page %zu is not marked", i);
	}
	assert_true(changed >= 2); /* status, used ring */
	assert_true(dirty_count(marks, m) <= changed + 2);
	free(before);
	free(marks);
}

static void what_it_writes_is_marked(void **state)
{
	struct fixture *f = *state;

	attach_usual(f);
	check_marks(f, T_IN, 3, 3 * 4096 + 512, S_OK);
	check_marks(f, T_IN, 0, DISK_BYTES, S_OK);
	check_marks(f, T_GET_ID, 0, 64, S_OK);
	check_marks(f, T_FLUSH, 0, 0, S_OK);
	check_marks(f, T_OUT, 0, 4096, S_OK);
	check_marks(f, 77, 0, 512, S_UNSUPP);
	check_marks(f, T_IN, DISK_BYTES / 512, 512, S_IOERR);
}

/* A read that fails on its way has written some. */
static void what_a_failed_read_wrote_is_marked(void **state)
{
	struct fixture *f = *state;

	attach_usual(f);
	assert_int_equal(ftruncate(f->fd, 6 * 512), 0);
	check_marks(f, T_IN, 0, 4096, S_IOERR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(what_it_writes_is_marked),
		BOTH(what_a_failed_read_wrote_is_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
