/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#define MEM_RAM	    1
#define REGIONS_MAX 16
#define GIB	    (1ULL << 30)
#define HUGE_BYTES  (1ULL << 21)
#define MAPPED_MAX  (512 * GIB) /* one PDPT */

/* In entry.S and nano.ld. */
extern uint64_t pdpt[];
extern uint8_t _end[];

static struct {
	uint64_t gpa, end;
	uint32_t type;
} map[REGIONS_MAX];
static unsigned int n_map;
static uint64_t first_free, free_start, free_end;

void mem_add(uint64_t gpa, uint64_t bytes, uint32_t type)
{
	free_start = ((uint64_t)_end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	if (n_map == REGIONS_MAX)
		return;
	map[n_map].gpa = gpa;
	map[n_map].end = gpa + bytes;
	map[n_map++].type = type;
	if (type == MEM_RAM && gpa <= free_start && free_start < gpa + bytes)
		free_end = gpa + bytes;
}

/* Not-present entries are in no TLB, so new ones need no flush. */
static void map_gib(uint64_t gpa)
{
	if (gpa >= MAPPED_MAX || pdpt[gpa / GIB])
		return;
	uint64_t *pd = mem_alloc(PAGE_BYTES);
	for (uint64_t i = 0; i < 512; i++)
		pd[i] = gpa + i * HUGE_BYTES + 0xe7;
	pdpt[gpa / GIB] = (uint64_t)pd | 7;
}

void mem_map(void)
{
	for (unsigned int i = 0; i < n_map; i++) {
		uint64_t gpa = map[i].gpa & ~(GIB - 1);
		for (; map[i].type == MEM_RAM && gpa < map[i].end; gpa += GIB)
			map_gib(gpa);
	}
	first_free = free_start;
}

void *mem_alloc(uint64_t bytes)
{
	bytes = (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	if (bytes > free_end - free_start) {
		print("nano: FAIL no %lu bytes of memory left\n", bytes);
		nano_end();
	}
	void *p = (void *)free_start;
	free_start += bytes;
	return p;
}

void mem_release_all(void)
{
	free_start = first_free;
}

/* Write a word each `step` bytes of free RAM, then read them back. */
static const char *walk(uint64_t step, uint64_t count)
{
	bool same = true;
	uint64_t left = 0;
	for (int check = 0; check < 2; check++) {
		left = count;
		for (unsigned int i = 0; i < n_map; i++) {
			uint64_t gpa = map[i].gpa;
			if (map[i].type != MEM_RAM || map[i].end > MAPPED_MAX)
				continue;
			if (gpa < free_start)
				gpa = (free_start + step - 1) & ~(step - 1);
			for (; gpa < map[i].end && left; gpa += step, left--) {
				volatile uint64_t *p = (uint64_t *)gpa;
				if (check)
					same &= *p == ~gpa;
				else
					*p = ~gpa;
			}
		}
	}
	if (left && count != ~0ULL)
		return "not that much RAM";
	return same ? "" : "RAM does not hold its value";
}

const char *order_mem(struct piece args)
{
	for (unsigned int i = 0; i < n_map; i++)
		print("nano: mem gpa=0x%lx end=0x%lx type=%u\n", map[i].gpa,
		      map[i].end, map[i].type);
	return walk(HUGE_BYTES, ~0ULL);
}

const char *order_touch(struct piece args)
{
	return walk(PAGE_BYTES, (piece_number(args, 1) << 20) / PAGE_BYTES);
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;
	__asm__ volatile("rep movsb"
			 : "+D"(to), "+S"(from), "+c"(n)
			 :
			 : "memory");
	return start;
}

void *memset(void *to, int c, size_t n)
{
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a;
	const uint8_t *y = b;
	for (; n >= 8 && get64(x) == get64(y); n -= 8, x += 8)
		y += 8;
	for (; n && *x == *y; n--, x++)
		y++;
	return n ? *x - *y : 0;
}
