/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>

#include "tests/virtio/queue_fixture.h"

/* ---- start ---- */

static void start_rejects_sizes(void **state)
{
	static const uint32_t bad[] = {
		0, 3, 255, 257, 512, 384, 65535, 65536, 0x80000000, UINT32_MAX};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		f->q.cfg.size = bad[i];
		assert_int_equal(virtq_start(&f->q, &f->mem, false, false),
				 -EINVAL);
		assert_int_equal(pop(f), 0);
	}
	for (uint32_t size = 1; size <= 256; size *= 2) {
		configure(f, size);
		start(f, false, false);
	}
}

static void start_rejects_addresses(void **state)
{
	struct fixture *f = *state;
	uint64_t *const field[] = {&f->q.cfg.desc_gpa, &f->q.cfg.avail_gpa,
				   &f->q.cfg.used_gpa};
	const uint64_t bytes[] = {16 * 4, 6 + 2 * 4, 6 + 8 * 4};
	const uint64_t align[] = {16, 2, 4};

	for (unsigned int i = 0; i < 3; i++) {
		uint64_t last = (RAM_BYTES - bytes[i]) & ~(align[i] - 1);

		configure(f, 4);
		*field[i] = last;
		start(f, false, false);
		for (uint64_t off = 1; off < align[i]; off++) {
			*field[i] = off;
			assert_int_equal(
				virtq_start(&f->q, &f->mem, false, false),
				-EINVAL);
		}
		*field[i] = last + align[i];
		assert_int_equal(virtq_start(&f->q, &f->mem, false, false),
				 -EINVAL);
		*field[i] = UINT64_MAX - 15;
		assert_int_equal(virtq_start(&f->q, &f->mem, false, false),
				 -EINVAL);
		*field[i] = 0xc0001000; /* a device window */
		assert_int_equal(virtq_start(&f->q, &f->mem, false, false),
				 -EINVAL);
	}
}

static void start_leaves_a_queue_alone_that_is_not_ready(void **state)
{
	struct fixture *f = *state;

	f->q.cfg = (struct virtq_config){0};
	start(f, true, true);
	assert_int_equal(pop(f), 0);
	virtq_push(&f->q, 0, 0);
	virtq_disable_kick(&f->q);
	assert_false(virtq_enable_kick(&f->q));
	assert_false(virtq_needs_irq(&f->q));
}

/* ---- pop ---- */

static void pop_takes_readable_then_writable(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	assert_int_equal(pop(f), 0);
	desc(&f->drv, 2, 0x5000, 16, DESC_NEXT, 0);
	desc(&f->drv, 0, 0x6000, 0x200, DESC_NEXT | DESC_WRITE, 3);
	desc(&f->drv, 3, RAM_BYTES - 1, 1, DESC_WRITE, 77);
	offer(&f->drv, 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->c.head, 2);
	assert_int_equal(f->c.n_out, 1);
	assert_int_equal(f->c.n_in, 2);
	assert_int_equal(f->c.out_bytes, 16);
	assert_int_equal(f->c.in_bytes, 0x201);
	assert_ptr_equal(f->iov[0].iov_base, ram(&f->drv, 0x5000, 16));
	assert_int_equal(f->iov[1].iov_len, 0x200);
	assert_ptr_equal(f->iov[2].iov_base, ram(&f->drv, RAM_BYTES - 1, 1));
	assert_int_equal(pop(f), 0);
}

static void pop_rejects_loop(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	desc(&f->drv, 0, 0x5000, 16, DESC_NEXT, 1);
	desc(&f->drv, 1, 0x5000, 16, DESC_NEXT, 0);
	refused(f, 0);
	desc(&f->drv, 1, 0x5000, 16, DESC_NEXT, 1);
	refused(f, 1);
}

static void pop_rejects_links_and_heads_outside(void **state)
{
	static const uint16_t bad[] = {4, 5, 0x7fff, 0x8000, 0xffff};
	struct fixture *f = *state;

	start(f, false, false);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		desc(&f->drv, 0, 0x5000, 16, DESC_NEXT, bad[i]);
		refused(f, 0);
		refused(f, bad[i]);
	}
}

static void pop_rejects_index_jumps(void **state)
{
	static const uint16_t jump[] = {5, 6, 0x7fff, 0x8000, 0xffff};
	struct fixture *f = *state;

	start(f, false, false);
	for (size_t i = 0; i < ARRAY_LEN(jump); i++) {
		desc(&f->drv, 0, 0x5000, 16, 0, 0);
		f->drv.avail_idx = (uint16_t)(jump[i] - 1);
		refused(f, 0);
	}
}

static void pop_rejects_addresses_and_lengths(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
		{0x5000, 0},
		{0, 0},
		{RAM_BYTES, 0},
		{RAM_BYTES - 1, 2},
		{RAM_BYTES, 1},
		{0, RAM_BYTES + 1},
		{0, UINT32_MAX},
		{0x5000, 0x80000000},
		{0xc0001000, 4},
		{0xfee00000, 4},
		{UINT64_MAX, 1},
		{UINT64_MAX - 0xff, 512},
		{0x8000000000000000, 16},
	};
	struct fixture *f = *state;

	start(f, false, false);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		desc(&f->drv, 0, bad[i].gpa, bad[i].len, 0, 0);
		refused(f, 0);
		desc(&f->drv, 1, 0x5000, 1, DESC_NEXT, 2);
		desc(&f->drv, 2, bad[i].gpa, bad[i].len, DESC_WRITE, 0);
		refused(f, 1);
	}
}

static void pop_rejects_readable_after_writable(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	desc(&f->drv, 0, 0x5000, 16, DESC_NEXT | DESC_WRITE, 1);
	desc(&f->drv, 1, 0x5000, 16, 0, 0);
	refused(f, 0);
}

static void pop_rejects_a_segment_over_two_regions(void **state)
{
	struct fixture *f = *state;
	uint8_t *high = calloc(1, 0x1000);

	assert_non_null(high);
	f->mem.region[1] = (struct gmem_region){
		.gpa = 0x100000000, .bytes = 0x1000, .hva = high};
	f->mem.n_regions = 2;
	start(f, false, false);
	desc(&f->drv, 0, RAM_BYTES - 16, 32, 0, 0);
	refused(f, 0);
	desc(&f->drv, 0, 0xfffffff8, 16, 0, 0);
	refused(f, 0);
	desc(&f->drv, 0, 0x100000ff8, 8, 0, 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), 1);
	assert_ptr_equal(f->iov[0].iov_base, high + 0xff8);
}

static void pop_rejects_more_than_4_gib(void **state)
{
	struct fixture *f = *state;
	void *p = mmap(NULL, 5 * GIB, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(p != MAP_FAILED);
	f->mem.region[1] = (struct gmem_region){
		.gpa = 0x100000000, .bytes = 5 * GIB, .hva = p};
	f->mem.n_regions = 2;
	start(f, false, false);
	desc(&f->drv, 0, 0x100000000, UINT32_MAX, DESC_NEXT, 1);
	desc(&f->drv, 1, 0x5000, 1, DESC_WRITE, 0);
	refused(f, 0);
	desc(&f->drv, 0, 0x100000000, UINT32_MAX - 1, DESC_NEXT, 1);
	desc(&f->drv, 1, 0x5000, 1, DESC_WRITE, 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), 1);
	f->mem.n_regions = 1;
	assert_int_equal(munmap(p, 5 * GIB), 0);
}

static void pop_rejects_a_head_in_flight(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	desc(&f->drv, 1, 0x5000, 16, 0, 0);
	stage(&f->drv, 1);
	offer(&f->drv, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), -EPROTO);
}

static void pop_takes_a_head_again_after_push(void **state)
{
	struct fixture *f = *state;
	uint32_t head, len;

	start(f, false, false);
	desc(&f->drv, 3, 0x5000, 16, DESC_WRITE, 0);
	/* More than 65536 times: the indices wrap. */
	for (uint32_t i = 0; i < 70000; i++) {
		offer(&f->drv, 3);
		assert_int_equal(pop(f), 1);
		virtq_push(&f->q, f->c.head, i);
		assert_true(take_used(&f->drv, &head, &len));
		assert_int_equal(head, 3);
		assert_int_equal(len, i);
	}
	assert_false(used_waits(&f->drv));
}

static void pop_limits_segments(void **state)
{
	struct fixture *f = *state;

	configure(f, 16);
	start(f, false, false);
	for (uint16_t i = 0; i < 16; i++)
		desc(&f->drv, i, 0x5000, 16, i < 8 ? DESC_NEXT : 0,
		     (uint16_t)(i + 1));
	offer(&f->drv, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->c.n_out, SEGS);
	f->c.max_iov = SEGS;
	offer(&f->drv, 0);
	assert_int_equal(pop(f), -EPROTO);
}

/* ---- indirect tables ---- */

#define TABLE 0x8000

static void indirect(struct fixture *f, uint64_t gpa, uint32_t len)
{
	desc(&f->drv, 0, gpa, len, DESC_INDIRECT, 0);
}

static void entry(struct fixture *f, uint32_t i, uint16_t flags, uint16_t next)
{
	put_desc(&f->drv, TABLE, i, 0x5000 + i, 1 + i, flags, next);
}

static void pop_walks_an_indirect_table(void **state)
{
	struct fixture *f = *state;

	start(f, false, true);
	/* A direct descriptor may come first; WRITE on the table is ignored. */
	desc(&f->drv, 1, 0x6000, 16, DESC_NEXT, 0);
	desc(&f->drv, 0, TABLE, 48, DESC_INDIRECT | DESC_WRITE, 0);
	entry(f, 0, DESC_NEXT, 2);
	entry(f, 2, DESC_WRITE, 0);
	offer(&f->drv, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->c.n_out, 2);
	assert_int_equal(f->c.n_in, 1);
	assert_int_equal(f->iov[1].iov_len, 1);
	assert_int_equal(f->iov[2].iov_len, 3);
}

static void pop_takes_a_table_at_any_address(void **state)
{
	struct fixture *f = *state;
	struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags, next;
	} d = {0x5000, 5, 0, 0};

	start(f, false, true);
	indirect(f, TABLE + 3, 16);
	assert_int_equal(gmem_write(&f->mem, TABLE + 3, &d, 16), 0);
	offer(&f->drv, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->iov[0].iov_len, 5);
}

static void pop_rejects_tables(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
		{TABLE, 0},
		{TABLE, 15},
		{TABLE, 17},
		{TABLE, 0xfffffff0},
		{RAM_BYTES - 16, 32},
		{RAM_BYTES, 16},
		{UINT64_MAX - 15, 16},
		{0xc0001000, 16},
	};
	struct fixture *f = *state;

	start(f, false, true);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		entry(f, 0, 0, 0);
		indirect(f, bad[i].gpa, bad[i].len);
		refused(f, 0);
	}
	desc(&f->drv, 0, TABLE, 16, DESC_INDIRECT | DESC_NEXT, 1);
	desc(&f->drv, 1, 0x5000, 16, 0, 0);
	refused(f, 0);
}

static void pop_rejects_links_in_tables(void **state)
{
	struct fixture *f = *state;

	start(f, false, true);
	indirect(f, TABLE, 32);
	entry(f, 0, DESC_INDIRECT, 0);
	refused(f, 0);
	indirect(f, TABLE, 32);
	entry(f, 0, DESC_NEXT, 2);
	entry(f, 2, 0, 0);
	refused(f, 0);
	indirect(f, TABLE, 32);
	entry(f, 0, DESC_NEXT, 0);
	refused(f, 0);
	indirect(f, TABLE, 32);
	entry(f, 0, DESC_NEXT | DESC_WRITE, 1);
	entry(f, 1, 0, 0);
	refused(f, 0);
	/* One segment more than the device takes. */
	indirect(f, TABLE, 16 * (SEGS + 1));
	for (uint16_t i = 0; i <= SEGS; i++)
		entry(f, i, i < SEGS ? DESC_NEXT : 0, (uint16_t)(i + 1));
	refused(f, 0);
}

static void pop_rejects_indirect_if_not_negotiated(void **state)
{
	struct fixture *f = *state;

	start(f, false, false);
	entry(f, 0, 0, 0);
	indirect(f, TABLE, 16);
	refused(f, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(start_rejects_sizes),
		TEST(start_rejects_addresses),
		TEST(start_leaves_a_queue_alone_that_is_not_ready),
		TEST(pop_takes_readable_then_writable),
		TEST(pop_rejects_loop),
		TEST(pop_rejects_links_and_heads_outside),
		TEST(pop_rejects_index_jumps),
		TEST(pop_rejects_addresses_and_lengths),
		TEST(pop_rejects_readable_after_writable),
		TEST(pop_rejects_a_segment_over_two_regions),
		TEST(pop_rejects_more_than_4_gib),
		TEST(pop_rejects_a_head_in_flight),
		TEST(pop_takes_a_head_again_after_push),
		TEST(pop_limits_segments),
		TEST(pop_walks_an_indirect_table),
		TEST(pop_takes_a_table_at_any_address),
		TEST(pop_rejects_tables),
		TEST(pop_rejects_links_in_tables),
		TEST(pop_rejects_indirect_if_not_negotiated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
