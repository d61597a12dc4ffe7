/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "ctl/memfile.h"
#include "snapshot/memory.h"

#define PAGE	   4096
#define FILE_BYTES (9 * MIB + 3 * PAGE) /* the last chunk is a short one */
#define N_CHUNKS   5

struct files {
	int from, to;
	uint8_t *want;
};

/* On a real disk: what is a hole is the file system's to say. */
static int new_file(uint64_t bytes)
{
	char path[] = "/tmp/mayfly-memfile-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->from = new_file(FILE_BYTES);
	f->to = new_file(0);
	f->want = calloc(1, FILE_BYTES);
	assert_non_null(f->want);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct files *f = *state;

	(void)close(f->from);
	(void)close(f->to);
	free(f->want);
	free(f);
	return 0;
}

/* A page of the file, and of what it should be. */
static void put(struct files *f, int fd, uint64_t page, uint8_t byte)
{
	memset(f->want + page * PAGE, byte, PAGE);
	assert_int_equal(
		pwrite(fd, f->want + page * PAGE, PAGE, (off_t)(page * PAGE)),
		PAGE);
}

static void assert_is_wanted(const struct files *f, int fd)
{
	uint8_t *is = malloc(FILE_BYTES + 1);

	assert_non_null(is);
	assert_int_equal(pread(fd, is, FILE_BYTES + 1, 0), FILE_BYTES);
	assert_memory_equal(is, f->want, FILE_BYTES);
	free(is);
}

static uint64_t blocks(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void digests_are_those_of_all_bytes(void **state)
{
	static const uint64_t pages[] = {0, 511, 513, 1530, 2304, 2306};
	struct files *f = *state;
	struct progress p = {0};
	struct err e;

	for (size_t n = 0; n <= ARRAY_LEN(pages); n++) {
		uint32_t crc[N_CHUNKS];

		assert_int_equal(memfile_chunks(FILE_BYTES), N_CHUNKS);
		assert_int_equal(
			memfile_digests(f->from, FILE_BYTES, crc, &p, &e), 0);
		for (uint64_t i = 0; i < N_CHUNKS; i++) {
			uint64_t at = i * MEMORY_CHUNK_BYTES;

			assert_int_equal(
				crc[i],
				crc32c(0, f->want + at,
				       MIN(FILE_BYTES - at,
					   (uint64_t)MEMORY_CHUNK_BYTES)));
		}
		if (n < ARRAY_LEN(pages))
			put(f, f->from, pages[n], (uint8_t)(n + 1));
	}
}

static void digests_of_a_shorter_file_are_an_error(void **state)
{
	struct files *f = *state;
	uint32_t crc[N_CHUNKS + 1];
	struct progress p = {0};
	struct err e;

	put(f, f->from, 2306, 1);
	assert_int_equal(memfile_digests(f->from, FILE_BYTES + 1, crc, &p, &e),
			 -EIO);
	assert_non_null(strstr(e.text, "shorter"));
}

static void copy_is_the_same_and_as_sparse(void **state)
{
	struct files *f = *state;
	struct progress p = {0};
	struct err e;

	put(f, f->from, 3, 1);
	put(f, f->from, 1000, 2);
	assert_int_equal(ftruncate(f->to, FILE_BYTES), 0);
	assert_int_equal(memfile_lay_over(f->from, f->to, FILE_BYTES, &p, &e),
			 0);
	assert_is_wanted(f, f->to);
	assert_true(blocks(f->to) <= blocks(f->from));
	assert_is_wanted(f, f->from);
}

/* A page that is zero now is data in a diff; one that is a hole is as before.
 */
static void holes_are_what_did_not_change(void **state)
{
	struct files *f = *state;
	struct progress p = {0};
	struct err e;

	assert_int_equal(ftruncate(f->to, FILE_BYTES), 0);
	put(f, f->to, 1, 7);
	put(f, f->to, 2, 7);
	put(f, f->to, 3, 7);
	put(f, f->to, 2000, 7);
	put(f, f->from, 2, 0);
	put(f, f->from, 3, 9);
	put(f, f->from, 2306, 9);
	assert_int_equal(memfile_lay_over(f->from, f->to, FILE_BYTES, &p, &e),
			 0);
	assert_is_wanted(f, f->to);
}

static void what_cannot_be_written_is_an_error(void **state)
{
	struct files *f = *state;
	struct progress p = {0};
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct err e;

	put(f, f->from, 2, 1);
	assert_true(full >= 0);
	assert_true(memfile_lay_over(f->from, full, FILE_BYTES, &p, &e) < 0);
	assert_true(e.text[0]);
	(void)close(full);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(digests_are_those_of_all_bytes),
		TEST(digests_of_a_shorter_file_are_an_error),
		TEST(copy_is_the_same_and_as_sparse),
		TEST(holes_are_what_did_not_change),
		TEST(what_cannot_be_written_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
