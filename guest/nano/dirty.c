/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty=MIB[:RATE[:all]]	write RAM for ever, RATE pages a second (0: as
 *				fast as it goes, with `all` also the first time
 *				round), so that any copy of it tells whether it
 *				is of one instant
 *
 * Write number c, from 1 on, puts c into the first word of a page and ~c into
 * its last one: behind write k the n pages hold k, k-1, ... k-n+1, and nothing
 * else. They come in the order 0, s, 2s... modulo n with a prime s, so that one
 * who copies them in any order does not go along with it. The guest looks
 * whether a page holds what it wrote before it writes there again. Other
 * processors, if started, do the same in n pages of their own each, behind the
 * first ones, and keep up with the first processor: none is ever ahead of it.
 */
#include "guest/nano/nano.h"

#define SAY_NS	    (100 * NS_PER_MS)
#define LAST_WORD   (PAGE_BYTES / 8 - 1)
#define CHECK_EVERY 64
#define STRIDE	    7919

static volatile uint64_t *base;
static volatile uint64_t written; /* by the first processor */
static uint64_t n_pages;
static volatile bool wrong;

static void write_page(uint64_t lane, uint64_t c)
{
	uint64_t page = lane * n_pages + (c - 1) * STRIDE % n_pages;
	volatile uint64_t *p = base + page * PAGE_BYTES / 8;
	uint64_t old = c > n_pages ? c - n_pages : 0;
	if (p[0] != old || p[LAST_WORD] != (old ? ~old : 0))
		wrong = true;
	p[0] = c;
	p[LAST_WORD] = ~c;
}

void dirty_follow(uint32_t index)
{
	static volatile uint64_t mine[MAX_CPUS];
	if (base && mine[index] < written)
		write_page(index, ++mine[index]);
	else
		pause();
}

/* At most as many as are due; halts until some are. */
static uint64_t due(uint64_t rate, uint64_t start, uint64_t first)
{
	if (rate == 0)
		return written + CHECK_EVERY;
	cpu_idle();
	return first + (clock_ns() - start) / NS_PER_MS * rate / 1000;
}

const char *order_dirty(struct piece args)
{
	n_pages = (piece_next(&args, 1) << 20) / PAGE_BYTES;
	uint64_t rate = piece_next(&args, 0);
	volatile uint64_t *p = mem_alloc(n_pages * PAGE_BYTES * cpus_started);
	print("nano: dirty gpa=0x%lx pages=%lu lanes=%u\n", (uint64_t)p,
	      n_pages, cpus_started);
	base = p;
	for (uint64_t c = 1; piece_is(args, "all") && c <= n_pages; c++) {
		write_page(0, c);
		written = c;
	}
	uint64_t start = clock_ns(), said = 0, first = written;
	while (!wrong) {
		uint64_t until = due(rate, start, first);
		while (written < until) {
			write_page(0, written + 1);
			written++;
		}
		if (clock_ns() - said < SAY_NS)
			continue;
		said = clock_ns();
		print("nano: dirty written=%lu\n", written);
	}
	return "RAM does not hold its value";
}
