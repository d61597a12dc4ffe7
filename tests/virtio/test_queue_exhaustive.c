/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every chain that a driver can build in small queues, against a model that
 * shares nothing with the code: each descriptor is a choice of an address, a
 * length, flags and a link, and all combinations are tried for sizes 1 and 2
 * and for indirect tables of 1 and 2 entries. For size 4, all combinations of
 * fewer choices and a random sample of all; MAYFLY_SOAK=1 takes a larger one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/virtio/driver.h"
#include "virtio/queue.h"

#define RAM_BYTES 0x10000
#define BUFFERS	  0x5000
#define TABLE	  0x8000
#define MAX_DESCS 4
#define SEGS	  8

enum address { A_RAM, A_END, A_OVER_END, A_WINDOW, A_WRAPS };
enum length { L_ZERO, L_ONE, L_TABLE, L_RAM_AND_ONE, L_MAX };

static const uint32_t lengths[] = {0, 1, 32, RAM_BYTES + 1, UINT32_MAX};
static const uint32_t table_lengths[] = {0, 40, 32, RAM_BYTES, UINT32_MAX};

struct shape {
	uint8_t address;
	uint8_t length;
	uint8_t flags;
	uint16_t next;
};

struct chain {
	int ret;
	bool unknown; /* not modelled: must only not harm */
	unsigned int n;
	struct {
		uint64_t gpa;
		uint32_t len;
		bool in;
	} seg[SEGS];
};

struct bench {
	struct gmem mem;
	struct driver drv;
	struct virtq fresh; /* as started */
	bool indirect;
	uint32_t n_table; /* entries that an indirect descriptor names */
	struct shape direct[MAX_DESCS];
	struct shape table[MAX_DESCS];
	uint64_t tried;
	uint64_t taken;
};

/* ---- what a shape means ---- */

static uint32_t length_of(const struct bench *b, const struct shape *s)
{
	if (!(s->flags & DESC_INDIRECT))
		return lengths[s->length];
	return s->length == L_TABLE ? b->n_table * 16
				    : table_lengths[s->length];
}

static uint64_t address_of(const struct bench *b, const struct shape *s,
			   uint32_t i)
{
	uint32_t len = length_of(b, s);

	switch ((enum address)s->address) {
	case A_RAM:
		return s->flags & DESC_INDIRECT ? TABLE : BUFFERS + i * 0x100;
	case A_END:
		return (uint64_t)RAM_BYTES - len;
	case A_OVER_END:
		return (uint64_t)RAM_BYTES - len + 1;
	case A_WINDOW:
		return 0xc0001000;
	default:
		return UINT64_MAX - 3;
	}
}

static void build(struct bench *b, uint64_t at, const struct shape *s,
		  uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		put_desc(&b->drv, at, i, address_of(b, &s[i], i),
			 length_of(b, &s[i]), s[i].flags, s[i].next);
}

/* ---- the model ---- */

/* Only the first two kinds of addresses can be RAM, if the length allows. */
static bool model_in_ram(const struct bench *b, const struct shape *s)
{
	uint32_t len = length_of(b, s);

	if (s->address == A_RAM)
		return len <= RAM_BYTES - TABLE;
	return s->address == A_END && len <= RAM_BYTES;
}

static bool model_add(const struct bench *b, struct chain *c,
		      const struct shape *s, uint32_t i)
{
	bool in = s->flags & DESC_WRITE;

	if (length_of(b, s) == 0 || !model_in_ram(b, s))
		return false;
	if (!in && c->n > 0 && c->seg[c->n - 1].in)
		return false;
	c->seg[c->n].gpa = address_of(b, s, i);
	c->seg[c->n].len = length_of(b, s);
	c->seg[c->n].in = in;
	c->n++;
	return true;
}

/* Follow links through set; visiting one twice is a loop. */
static bool model_follow(const struct bench *b, struct chain *c,
			 const struct shape *set, uint32_t n, uint32_t at,
			 bool in_table)
{
	unsigned int visited = 0;

	for (;;) {
		const struct shape *s = &set[at];

		if (at >= n || (visited >> at & 1))
			return false;
		visited |= 1u << at;
		if (s->flags & DESC_INDIRECT) {
			uint32_t bytes = length_of(b, s);

			if (in_table || !b->indirect ||
			    (s->flags & DESC_NEXT) || bytes == 0 ||
			    bytes % 16 != 0 || !model_in_ram(b, s))
				return false;
			/* The end of RAM is empty, all of RAM is no table. */
			if (s->address == A_END) {
				c->unknown = bytes == RAM_BYTES;
				return false;
			}
			return model_follow(b, c, b->table, bytes / 16, 0,
					    true);
		}
		if (!model_add(b, c, s, at))
			return false;
		if (!(s->flags & DESC_NEXT))
			return true;
		if (s->next >= n)
			return false;
		at = s->next;
	}
}

static struct chain model(const struct bench *b, uint16_t head, uint16_t idx)
{
	struct chain c = {0};

	if (idx == 0)
		return c;
	if (idx <= b->drv.size && head < b->drv.size &&
	    model_follow(b, &c, b->direct, b->drv.size, head, false))
		c.ret = 1;
	else
		c.ret = -EPROTO;
	return c;
}

/* ---- one case ---- */

static bool same(const struct bench *b, const struct chain *want,
		 const struct virtq_chain *got)
{
	uint64_t out = 0, in = 0;
	uint32_t n_in = 0;

	if (got->n_out + got->n_in != want->n)
		return false;
	for (unsigned int i = 0; i < want->n; i++) {
		const struct iovec *v = &got->iov[i];

		if (v->iov_len != want->seg[i].len ||
		    v->iov_base != b->mem.region[0].hva + want->seg[i].gpa)
			return false;
		n_in += want->seg[i].in;
		*(want->seg[i].in ? &in : &out) += want->seg[i].len;
	}
	return n_in == got->n_in && in == got->in_bytes &&
	       out == got->out_bytes;
}

static void explain(const struct bench *b, const struct shape *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		print_error("  %u: gpa %#llx len %u flags %u next %u\n", i,
			    (unsigned long long)address_of(b, &s[i], i),
			    length_of(b, &s[i]), s[i].flags, s[i].next);
}

static void try_one(struct bench *b, uint16_t head, uint16_t idx)
{
	struct iovec iov[SEGS];
	struct virtq_chain c = {.iov = iov, .max_iov = SEGS};
	struct virtq q = b->fresh;
	struct chain want;
	int ret;

	want = model(b, head, idx);
	put16(&b->drv, AVAIL_GPA + 4, head);
	put16(&b->drv, AVAIL_GPA + 2, idx);
	ret = virtq_pop(&q, &b->mem, &c);
	b->tried++;
	b->taken += ret == 1;
	if (want.unknown && ret != 0)
		return;
	if (ret == want.ret && q.broken == (ret < 0) &&
	    q.last_avail == (ret == 1) &&
	    (ret != 1 || (c.head == head && same(b, &want, &c))))
		return;
	print_error("size %u, head %u, idx %u, indirect %d: got %d, not %d\n",
		    b->drv.size, head, idx, b->indirect, ret, want.ret);
	explain(b, b->direct, b->drv.size);
	explain(b, b->table, b->n_table);
	fail();
}

static void start(struct bench *b, uint32_t size, bool indirect)
{
	b->drv.size = size;
	b->indirect = indirect;
	b->n_table = 2;
	b->fresh = (struct virtq){
		.cfg = {.size = size,
			.ready = true,
			.desc_gpa = DESC_GPA,
			.avail_gpa = AVAIL_GPA,
			.used_gpa = USED_GPA},
	};
	assert_int_equal(virtq_start(&b->fresh, &b->mem, false, indirect), 0);
	/* A link to just outside must not find nothing by chance. */
	put_desc(&b->drv, DESC_GPA, size, BUFFERS, 1, DESC_WRITE, 0);
	/* A well-formed table: one readable entry, one writable. */
	b->table[0] = (struct shape){A_RAM, L_ONE, DESC_NEXT, 1};
	b->table[1] = (struct shape){A_RAM, L_ONE, DESC_WRITE, 0};
	build(b, TABLE, b->table, 2);
}

/* ---- enumeration ---- */

/* All shapes in a set of n descriptors: 5 x 5 x 8 x (n + 2). */
static uint32_t n_shapes(uint32_t n)
{
	return 5 * 5 * 8 * (n + 2);
}

static struct shape shape(uint32_t code, uint32_t n)
{
	uint32_t link = code / 200;

	return (struct shape){
		.address = (uint8_t)(code % 5),
		.length = (uint8_t)(code / 5 % 5),
		.flags = (uint8_t)(code / 25 % 8),
		.next = (uint16_t)(link > n ? 0xffff : link),
	};
}

/* Fewer: {RAM, window} x {0, full} x flags; links only where they count. */
#define N_FEWER 72

static struct shape fewer(uint32_t code)
{
	static const uint8_t unlinked[] = {0, DESC_WRITE, DESC_INDIRECT};
	uint32_t kind = code / 4;
	struct shape s = {
		.address = code & 1 ? A_WINDOW : A_RAM,
		.length = code & 2 ? L_ZERO : L_TABLE,
	};

	if (kind < 3) {
		s.flags = unlinked[kind];
	} else {
		s.flags = unlinked[(kind - 3) / 5] | DESC_NEXT;
		s.next = (uint16_t)((kind - 3) % 5);
	}
	return s;
}

static uint32_t random32(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

static void all_chains_of_size_1(void **state)
{
	static const uint16_t head[] = {0, 1, 0xffff};
	static const uint16_t idx[] = {0, 1, 2, 0x8000, 0xffff};
	struct bench *b = *state;

	for (int indirect = 0; indirect < 2; indirect++) {
		start(b, 1, indirect);
		for (uint32_t i = 0; i < n_shapes(1); i++) {
			b->direct[0] = shape(i, 1);
			build(b, DESC_GPA, b->direct, 1);
			for (size_t k = 0; k < ARRAY_LEN(head); k++)
				for (size_t l = 0; l < ARRAY_LEN(idx); l++)
					try_one(b, head[k], idx[l]);
		}
	}
}

static void all_chains_of_size_2(void **state)
{
	struct bench *b = *state;
	uint32_t n = n_shapes(2);

	for (int indirect = 0; indirect < 2; indirect++) {
		start(b, 2, indirect);
		for (uint32_t i = 0; i < n * n; i++) {
			b->direct[0] = shape(i % n, 2);
			b->direct[1] = shape(i / n, 2);
			build(b, DESC_GPA, b->direct, 2);
			for (uint16_t head = 0; head < 2; head++)
				try_one(b, head, 1);
		}
	}
	assert_true(b->tried == 2560000 && b->taken > 100000);
}

/* Behind nothing, a readable or a writable descriptor. */
static void all_tables(void **state)
{
	static const struct shape before[] = {
		{A_RAM, L_ONE, DESC_NEXT, 0},
		{A_RAM, L_ONE, DESC_NEXT | DESC_WRITE, 0},
	};
	struct bench *b = *state;

	start(b, 2, true);
	b->direct[0] = (struct shape){A_RAM, L_TABLE, DESC_INDIRECT, 0};
	for (uint32_t entries = 1; entries <= 2; entries++) {
		uint32_t n = n_shapes(entries);
		uint32_t all = entries == 1 ? n : n * n;

		b->n_table = entries;
		put_desc(&b->drv, TABLE, entries, BUFFERS, 1, DESC_WRITE, 0);
		for (uint32_t i = 0; i < all; i++) {
			b->table[0] = shape(i % n, entries);
			b->table[1] = shape(i / n, entries);
			build(b, TABLE, b->table, entries);
			for (size_t k = 0; k < ARRAY_LEN(before); k++) {
				b->direct[1] = before[k];
				build(b, DESC_GPA, b->direct, 2);
				try_one(b, 1, 1);
			}
			try_one(b, 0, 1);
		}
	}
	assert_true(b->tried == 1921800 && b->taken > 10000);
}

static void chains_of_size_4(void **state)
{
	struct bench *b = *state;
	const uint32_t n = N_FEWER;
	const uint32_t sample = getenv("MAYFLY_SOAK") ? 500000000 : 10000000;
	uint64_t seed = 1;

	start(b, 4, true);
	for (uint32_t i = 0; i < n * n * n * n; i++) {
		for (uint32_t k = 0, rest = i; k < 4; k++, rest /= n)
			b->direct[k] = fewer(rest % n);
		build(b, DESC_GPA, b->direct, 4);
		try_one(b, 0, 1);
	}
	for (uint32_t i = 0; i < sample; i++) {
		for (uint32_t k = 0; k < 4; k++)
			b->direct[k] = shape(random32(&seed) % n_shapes(4), 4);
		build(b, DESC_GPA, b->direct, 4);
		try_one(b, (uint16_t)(random32(&seed) % 4), 1);
	}
	assert_true(b->tried == 26873856 + sample && b->taken > 1000000);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	ram_init(&b->mem, RAM_BYTES);
	b->drv.mem = &b->mem;
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	ram_exit(&b->mem);
	free(b);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_chains_of_size_1),
		TEST(all_chains_of_size_2),
		TEST(all_tables),
		TEST(chains_of_size_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
