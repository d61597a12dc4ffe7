/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/virtio/blk_fixture.h"

#define LARGE_BYTES (8 * MIB)

static uint64_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

/* ---- what is offered ---- */

static void configuration_space_is_as_specified(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->drv;

	attach_usual(f);
	assert_int_equal(reg_read(d, 0x08), 2);
	assert_int_equal(reg_read(d, 0x100), DISK_BYTES / 512);
	assert_int_equal(reg_read(d, 0x104), 0);
	assert_int_equal(reg_read(d, 0x108), 131072);  /* size_max */
	assert_int_equal(reg_read(d, 0x10c), 128);     /* seg_max */
	assert_int_equal(reg_read(d, 0x114), 512);     /* blk_size */
	assert_int_equal(reg_read(d, 0x124), 1 << 22); /* discard */
	assert_int_equal(reg_read(d, 0x128), 1);
	assert_int_equal(reg_read(d, 0x12c), 8);
	assert_int_equal(reg_read(d, 0x130), 1 << 22); /* zeroes */
	assert_int_equal(reg_read(d, 0x134), 1);
	assert_int_equal(reg_read(d, 0x138), 1);
	assert_true(dev(f)->features == (F_ALL | 1 << 1 | 1 << 2 | 1 << 6 |
					 1 << 9 | 1 << 13 | 1 << 14));
}

static void features_follow_the_configuration(void **state)
{
	struct fixture *f = *state;

	attach(f, new_file(1000), 512, &(struct blk_config){.read_only = true},
	       F_ALL);
	assert_true(dev(f)->features ==
		    (F_ALL | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6));
	assert_int_equal(reg_read(&f->drv, 0x100), 1);
	assert_int_equal(reg_read(&f->drv, 0x124), 0);
}

/* ---- moving data ---- */

static void data_is_read_and_written(void **state)
{
	struct fixture *f = *state;
	uint8_t back[1024];

	attach_usual(f);
	assert_int_equal(request(f, T_IN, 3, BUFFER_GPA, 4096), S_OK);
	assert_int_equal(f->used_len, 4097);
	assert_true(has_pattern(f, BUFFER_GPA, 1536, 4096));
	assert_int_equal(
		request(f, T_OUT, DISK_BYTES / 512 - 1, BUFFER_GPA, 512), S_OK);
	assert_int_equal(f->used_len, 1);
	assert_int_equal(pread(f->fd, back, 512, DISK_BYTES - 512), 512);
	assert_memory_equal(back, ram(&f->drv, BUFFER_GPA, 512), 512);
	assert_int_equal(blk_counts(f->blk)->reads, 1);
	assert_int_equal(blk_counts(f->blk)->read_bytes, 4096);
	assert_int_equal(blk_counts(f->blk)->writes, 1);
	assert_int_equal(blk_counts(f->blk)->write_bytes, 512);
	assert_true(blk_counts(f->blk)->read_sum_us >=
		    blk_counts(f->blk)->read_min_us);
}

static void requests_have_many_segments(void **state)
{
	struct fixture *f = *state;
	uint16_t n = 1;

	attach_usual(f);
	put_header(f, HEADER_GPA(0), T_IN, 0);
	desc(&f->drv, 0, HEADER_GPA(0), 16, DESC_NEXT, 1);
	/* 128 segments, of 4 to 508 and as many to 512 bytes. */
	for (uint32_t i = 1; i <= 64; i++) {
		uint32_t len = i * 4 + 4;
		uint64_t at = BUFFER_GPA + (uint64_t)(i - 1) * 512;

		desc(&f->drv, n, at, len, DESC_NEXT | DESC_WRITE,
		     (uint16_t)(n + 1));
		desc(&f->drv, n + 1u, at + len, 512 - len,
		     DESC_NEXT | DESC_WRITE, (uint16_t)(n + 2));
		n = (uint16_t)(n + 2);
	}
	desc(&f->drv, n, STATUS_GPA(0), 1, DESC_WRITE, 0);
	assert_int_equal(run_at(f, 0, STATUS_GPA(0)), S_OK);
	assert_int_equal(f->used_len, 64 * 512 + 1);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 64 * 512));
}

/* More than the kernel is given at once, with a cut inside a segment. */
static void large_requests_go_in_steps(void **state)
{
	struct fixture *f = *state;
	uint8_t *zero = calloc(1, LARGE_BYTES);

	attach(f, new_file(LARGE_BYTES), LARGE_BYTES, &(struct blk_config){0},
	       F_ALL);
	assert_non_null(zero);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, LARGE_BYTES), S_OK);
	assert_int_equal(f->used_len, LARGE_BYTES + 1);
	assert_true(has_pattern(f, BUFFER_GPA, 0, LARGE_BYTES));
	assert_int_equal(pwrite(f->fd, zero, LARGE_BYTES, 0), LARGE_BYTES);
	build(f, 0, T_OUT, 0, BUFFER_GPA, 0x300200, false);
	desc(&f->drv, 1, BUFFER_GPA, 0x300200, DESC_NEXT, 5);
	desc(&f->drv, 5, BUFFER_GPA + 0x300200, 0x400e00, DESC_NEXT, 2);
	assert_int_equal(run_at(f, 0, STATUS_GPA(0)), S_OK);
	assert_int_equal(pread(f->fd, zero, LARGE_BYTES, 0), LARGE_BYTES);
	assert_memory_equal(zero, ram(&f->drv, BUFFER_GPA, 0x701000), 0x701000);
	assert_int_equal(zero[0x701000], 0);
	free(zero);
}

/*
 * The kernel copies what it is handed while the loop waits, so a request of
 * 16 MiB takes several turns: 4 MiB at first, then a share of that.
 */
static void a_large_request_leaves_turns_to_others(void **state)
{
	struct fixture *f = *state;
	unsigned int n = 0;
	uint32_t head;

	attach(f, sparse_file(16 * MIB), 16 * MIB,
	       &(struct blk_config){.read_only = true}, F_ALL);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
	put_header(f, HEADER_GPA(0), T_IN, 0);
	desc(&f->drv, 0, HEADER_GPA(0), 16, DESC_NEXT, 1);
	for (uint16_t i = 1; i <= 8; i++)
		desc(&f->drv, i, BUFFER_GPA, 2 * (uint32_t)MIB,
		     DESC_NEXT | DESC_WRITE, (uint16_t)(i + 1));
	desc(&f->drv, 9, STATUS_GPA(0), 1, DESC_WRITE, 0);
	offer(&f->drv, 0);
	kick(&f->drv);
	for (; !take_used(&f->drv, &head, &f->used_len); n++) {
		assert_true(n < 100000);
		turn(f);
	}
	assert_int_equal(get8(&f->drv, STATUS_GPA(0)), S_OK);
	assert_true(n >= 7);
}

/* 16 MiB are what 128 segments of the announced size make. */
static void a_request_beyond_the_limit_is_refused(void **state)
{
	const uint64_t limit = 128 * 128 * KIB;
	struct fixture *f = *state;

	attach(f, sparse_file(2 * limit), 2 * limit,
	       &(struct blk_config){.read_only = true}, F_ALL);
	for (uint32_t extra = 0; extra <= 512; extra += 512) {
		put_header(f, HEADER_GPA(0), T_IN, 0);
		desc(&f->drv, 0, HEADER_GPA(0), 16, DESC_NEXT, 1);
		/* Eight segments on the same 2 MiB. */
		for (uint16_t i = 1; i <= 8; i++)
			desc(&f->drv, i, BUFFER_GPA,
			     2 * (uint32_t)MIB + (i == 8 ? extra : 0),
			     DESC_NEXT | DESC_WRITE, (uint16_t)(i + 1));
		desc(&f->drv, 9, STATUS_GPA(0), 1, DESC_WRITE, 0);
		assert_int_equal(run_at(f, 0, STATUS_GPA(0)),
				 extra ? S_IOERR : S_OK);
	}
}

static void any_layout_is_understood(void **state)
{
	struct fixture *f = *state;
	const uint64_t gpa = BUFFER_GPA;

	attach_usual(f);
	/* The header in pieces, data and status in one segment. */
	put_header(f, gpa, T_IN, 1);
	desc(&f->drv, 0, gpa, 1, DESC_NEXT, 1);
	desc(&f->drv, 1, gpa + 1, 8, DESC_NEXT, 2);
	desc(&f->drv, 2, gpa + 9, 7, DESC_NEXT, 3);
	desc(&f->drv, 3, gpa + 0x1000, 513, DESC_WRITE, 0);
	assert_int_equal(run_at(f, 0, gpa + 0x1000 + 512), S_OK);
	assert_int_equal(f->used_len, 513);
	assert_true(has_pattern(f, gpa + 0x1000, 512, 512));
	/* Header and data in one segment, the rest of it in a second. */
	put_header(f, gpa, T_OUT, 7);
	memset(ram(&f->drv, gpa + 16, 512), 0x5a, 512);
	desc(&f->drv, 0, gpa, 100, DESC_NEXT, 1);
	desc(&f->drv, 1, gpa + 100, 428, DESC_NEXT, 2);
	desc(&f->drv, 2, gpa + 0x1000, 1, DESC_WRITE, 0);
	assert_int_equal(run_at(f, 0, gpa + 0x1000), S_OK);
	assert_int_equal(request(f, T_IN, 7, gpa + 0x2000, 512), S_OK);
	assert_memory_equal(ram(&f->drv, gpa + 16, 512),
			    ram(&f->drv, gpa + 0x2000, 512), 512);
}

static void indirect_requests_work(void **state)
{
	struct fixture *f = *state;
	const uint64_t table = BUFFER_GPA;

	attach_usual(f);
	put_header(f, HEADER_GPA(0), T_IN, 2);
	put_desc(&f->drv, table, 0, HEADER_GPA(0), 16, DESC_NEXT, 1);
	put_desc(&f->drv, table, 1, table + 0x1000, 1024,
		 DESC_NEXT | DESC_WRITE, 2);
	put_desc(&f->drv, table, 2, STATUS_GPA(0), 1, DESC_WRITE, 0);
	desc(&f->drv, 9, table, 48, DESC_INDIRECT, 0);
	assert_int_equal(run_at(f, 9, STATUS_GPA(0)), S_OK);
	assert_true(has_pattern(f, table + 0x1000, 1024, 1024));
}

/* ---- the other types ---- */

static void flush_needs_writeback(void **state)
{
	struct fixture *f = *state;

	attach_usual(f);
	assert_int_equal(request(f, T_FLUSH, 0, 0, 0), S_OK);
	assert_int_equal(f->used_len, 1);
	assert_int_equal(blk_counts(f->blk)->flushes, 1);
	stop_blk(f, f->blk);
	attach(f, f->fd, DISK_BYTES, &(struct blk_config){.slot = 1}, F_ALL);
	assert_int_equal(request(f, T_FLUSH, 0, 0, 0), S_UNSUPP);
}

static void get_id_fills_20_bytes(void **state)
{
	static const char id[21] = "an identity";
	struct fixture *f = *state;

	attach_usual(f);
	memset(ram(&f->drv, BUFFER_GPA, 64), 0xff, 64);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 64), S_OK);
	assert_int_equal(f->used_len, 21);
	assert_memory_equal(ram(&f->drv, BUFFER_GPA, 21),
			    "an identity\0\0\0\0\0\0\0\0\0\xff", 21);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 20), S_OK);
	assert_memory_equal(ram(&f->drv, BUFFER_GPA, 20), id, 20);
	assert_int_equal(request(f, T_GET_ID, 0, BUFFER_GPA, 19), S_IOERR);
}

static void unknown_types_are_unsupported(void **state)
{
	static const uint32_t types[] = {
		2, 3, 5, 6, 7, 9, 10, 12, 14, 0x1000, 0x80000000, UINT32_MAX};
	struct fixture *f = *state;

	attach_usual(f);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		assert_int_equal(request(f, types[i], 0, BUFFER_GPA, 512),
				 S_UNSUPP);
		assert_int_equal(f->used_len, 1);
	}
}

static uint8_t range(struct fixture *f, uint32_t type, uint64_t sector,
		     uint32_t n, uint32_t flags)
{
	const struct {
		uint64_t sector;
		uint32_t n, flags;
	} r = {sector, n, flags};

	assert_int_equal(gmem_write(f->drv.mem, BUFFER_GPA, &r, sizeof(r)), 0);
	return request(f, type, 0, BUFFER_GPA, sizeof(r));
}

static void ranges_are_discarded_and_zeroed(void **state)
{
	struct fixture *f = *state;
	uint8_t zero[4096] = {0}, back[4096];
	struct stat st;

	attach_usual(f);
	assert_int_equal(fstat(f->fd, &st), 0);
	const int64_t blocks = st.st_blocks;

	assert_int_equal(range(f, T_DISCARD, 8, 8, 0), S_OK);
	assert_int_equal(f->used_len, 1);
	assert_int_equal(range(f, T_ZERO, 16, 8, 1), S_OK);
	for (off_t at = 4096; at <= 8192; at += 4096) {
		assert_int_equal(pread(f->fd, back, 4096, at), 4096);
		assert_memory_equal(back, zero, 4096);
	}
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_true(st.st_blocks < blocks);
	/* No zeroing in place on this file system. */
	assert_int_equal(range(f, T_ZERO, 24, 8, 0), S_UNSUPP);
	assert_int_equal(range(f, T_DISCARD, 0, 0, 0), S_OK);
	assert_int_equal(size_of(f->fd), DISK_BYTES);
}

static void bad_ranges_are_refused(void **state)
{
	const uint32_t n = DISK_BYTES / 512;
	struct fixture *f = *state;

	attach_usual(f);
	assert_int_equal(range(f, T_DISCARD, 0, 8, 1), S_UNSUPP);
	assert_int_equal(range(f, T_DISCARD, 0, 8, 2), S_UNSUPP);
	assert_int_equal(range(f, T_ZERO, 0, 8, 2), S_UNSUPP);
	assert_int_equal(range(f, T_ZERO, 0, 8, 0x80000000), S_UNSUPP);
	assert_int_equal(range(f, T_DISCARD, n, 1, 0), S_IOERR);
	assert_int_equal(range(f, T_DISCARD, 1, n, 0), S_IOERR);
	assert_int_equal(range(f, T_ZERO, 0, n + 1, 1), S_IOERR);
	assert_int_equal(range(f, T_ZERO, UINT64_MAX, 1, 1), S_IOERR);
	assert_int_equal(range(f, T_ZERO, UINT64_MAX / 512, 1, 1), S_IOERR);
	assert_int_equal(range(f, T_ZERO, 0, UINT32_MAX, 1), S_IOERR);
	assert_int_equal(request(f, T_ZERO, 0, BUFFER_GPA, 15), S_IOERR);
	assert_int_equal(request(f, T_ZERO, 0, BUFFER_GPA, 32), S_IOERR);
	assert_int_equal(request(f, T_DISCARD, 0, 0, 0), S_IOERR);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 4096), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 4096));
	assert_int_equal(size_of(f->fd), DISK_BYTES);
}

/* ---- refusals ---- */

static void sectors_outside_are_refused(void **state)
{
	const uint64_t n = DISK_BYTES / 512;
	const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{n, 512},
		{n - 1, 1024},
		{0, DISK_BYTES + 512},
		{UINT64_MAX, 512},
		{UINT64_MAX, 1024},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX / 512 + 1, 512},
		{(uint64_t)1 << 55, 512},
		{0, 511},
		{0, 513},
		{n - 1, 1},
		{0, 0},
	};
	struct fixture *f = *state;

	attach_usual(f);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		for (uint32_t type = T_IN; type <= T_OUT; type++) {
			assert_int_equal(request(f, type, bad[i].sector,
						 BUFFER_GPA, bad[i].len),
					 S_IOERR);
			assert_int_equal(f->used_len, 1);
		}
	}
	assert_int_equal(size_of(f->fd), DISK_BYTES);
	assert_int_equal(blk_counts(f->blk)->invalid_reqs, 2 * ARRAY_LEN(bad));
}

static void wrong_directions_are_refused(void **state)
{
	struct fixture *f = *state;

	attach_usual(f);
	memset(ram(&f->drv, BUFFER_GPA, 512), 0x77, 512);
	build(f, 0, T_IN, 0, BUFFER_GPA, 512, false);
	assert_int_equal(run_at(f, 0, STATUS_GPA(0)), S_IOERR);
	build(f, 0, T_OUT, 0, BUFFER_GPA, 512, true);
	assert_int_equal(run_at(f, 0, STATUS_GPA(0)), S_IOERR);
	build(f, 0, T_GET_ID, 0, BUFFER_GPA, 512, false);
	assert_int_equal(run_at(f, 0, STATUS_GPA(0)), S_IOERR);
	/* Data both ways: only one of them could be meant. */
	for (uint32_t type = T_IN; type <= T_OUT; type++) {
		build(f, 0, type, 0, BUFFER_GPA, 512, false);
		desc(&f->drv, 1, BUFFER_GPA, 512, DESC_NEXT, 5);
		desc(&f->drv, 5, BUFFER_GPA, 512, DESC_NEXT | DESC_WRITE, 2);
		assert_int_equal(run_at(f, 0, STATUS_GPA(0)), S_IOERR);
	}
	for (int i = 0; i < 512; i++)
		assert_int_equal(get8(&f->drv, BUFFER_GPA + (uint64_t)i), 0x77);
}

static void a_read_only_drive_is_not_written(void **state)
{
	struct fixture *f = *state;
	int fd = new_file(DISK_BYTES);

	/* Even if its descriptor would allow it. */
	attach(f, fd, DISK_BYTES, &(struct blk_config){.read_only = true},
	       F_VERSION);
	assert_int_equal(request(f, T_OUT, 0, BUFFER_GPA, 512), S_IOERR);
	assert_int_equal(range(f, T_DISCARD, 0, 8, 0), S_IOERR);
	assert_int_equal(range(f, T_ZERO, 0, 8, 1), S_IOERR);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 4096), S_OK);
	assert_true(has_pattern(f, BUFFER_GPA, 0, 4096));
}

static void a_descriptor_that_forbids_writing_fails_the_request(void **state)
{
	struct fixture *f = *state;
	int fd = new_file(DISK_BYTES);

	attach(f, reopen(fd, O_RDONLY), DISK_BYTES, &(struct blk_config){0},
	       F_VERSION);
	(void)close(fd);
	assert_int_equal(request(f, T_OUT, 0, BUFFER_GPA, 512), S_IOERR);
	assert_int_equal(blk_counts(f->blk)->execute_fails, 1);
}

/* ---- host errors ---- */

static void a_file_that_was_truncated_fails_reads(void **state)
{
	struct fixture *f = *state;

	attach_usual(f);
	assert_int_equal(ftruncate(f->fd, 1000), 0);
	assert_int_equal(request(f, T_IN, 1, BUFFER_GPA, 1024), S_IOERR);
	assert_int_equal(f->used_len, 488 + 1);
	assert_int_equal(request(f, T_IN, 100, BUFFER_GPA, 512), S_IOERR);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
}

static void no_space_fails_writes(void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	attach(f, fd, DISK_BYTES, &(struct blk_config){0}, F_ALL);
	assert_int_equal(request(f, T_OUT, 0, BUFFER_GPA, 512), S_IOERR);
	assert_int_equal(f->used_len, 1);
	assert_int_equal(request(f, T_IN, 0, BUFFER_GPA, 512), S_OK);
	assert_int_equal(range(f, T_DISCARD, 0, 8, 0), S_IOERR);
}

static void writes_work_again_when_there_is_space(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/mayfly-blk-XXXXXX";
	char path[64];
	int fd;

	assert_non_null(mkdtemp(dir));
	if (mount("tmpfs", dir, "tmpfs", 0, "size=1m") < 0) {
		(void)rmdir(dir);
		skip();
	}
	(void)snprintf(path, sizeof(path), "%s/drive", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	(void)umount2(dir, MNT_DETACH);
	(void)rmdir(dir);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LARGE_BYTES), 0);
	attach(f, fd, LARGE_BYTES, &(struct blk_config){0}, F_ALL);
	assert_int_equal(request(f, T_OUT, 0, BUFFER_GPA, 0x200000), S_IOERR);
	assert_int_equal(request(f, T_OUT, 8192, BUFFER_GPA, 4096), S_IOERR);
	assert_int_equal(range(f, T_DISCARD, 0, 1024, 0), S_OK);
	assert_int_equal(request(f, T_OUT, 8192, BUFFER_GPA, 4096), S_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(configuration_space_is_as_specified),
		BOTH(features_follow_the_configuration),
		BOTH(data_is_read_and_written),
		BOTH(requests_have_many_segments),
		BOTH(large_requests_go_in_steps),
		BOTH(a_large_request_leaves_turns_to_others),
		BOTH(a_request_beyond_the_limit_is_refused),
		BOTH(any_layout_is_understood),
		BOTH(indirect_requests_work),
		BOTH(flush_needs_writeback),
		BOTH(get_id_fills_20_bytes),
		BOTH(unknown_types_are_unsupported),
		BOTH(ranges_are_discarded_and_zeroed),
		BOTH(bad_ranges_are_refused),
		BOTH(sectors_outside_are_refused),
		BOTH(wrong_directions_are_refused),
		BOTH(a_read_only_drive_is_not_written),
		BOTH(a_descriptor_that_forbids_writing_fails_the_request),
		BOTH(a_file_that_was_truncated_fails_reads),
		BOTH(no_space_fails_writes),
		BOTH(writes_work_again_when_there_is_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
