/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generation.c: what tells the guest that it is a copy. As acpi.c does, this
 * looks in the DSDT for the bytes that name the places and lines.
 */
#include "guest/nano/nano.h"

#define VMCLOCK_SEQ	   12
#define VMCLOCK_MARKER	   16
#define VMCLOCK_GENERATION 104

/* Behind the name ADDR: a package of two integers, the first a DWORD. */
#define ADDR_VALUE 8
/* In resource descriptors. */
#define MEMORY32_BASE	 4
#define INTERRUPT_NUMBER 5
#define INTERRUPT_BYTES	 9

static const volatile uint64_t *id_page;
static const volatile uint8_t *vmclock;
static uint32_t lines[2];

struct generation {
	uint64_t id[2];
	uint64_t marker, counter;
	uint32_t seq;
	uint32_t seen[2]; /* of its lines */
};

static const uint8_t *find(const uint8_t *p, const uint8_t *end,
			   const char *what, size_t n)
{
	for (; p && p + n + 16 <= end; p++) {
		if (memcmp(p, what, n) == 0)
			return p;
	}
	return NULL;
}

static bool set_up(void)
{
	const uint8_t *end;
	const uint8_t *dsdt = acpi_dsdt(&end);
	const uint8_t *addr = find(dsdt, end, "ADDR\x12", 5);
	const uint8_t *memory =
		find(find(dsdt, end, "AMZNC10C", 8), end, "\x86\x09", 2);
	const uint8_t *first =
		find(find(dsdt, end, "ACPI0013", 8), end, "\x89\x06", 2);
	if (!addr || !memory || !first)
		return false;
	id_page = (const uint64_t *)(uint64_t)get32(addr + ADDR_VALUE);
	vmclock = (const uint8_t *)(uint64_t)get32(memory + MEMORY32_BASE);
	lines[0] = get32(first + INTERRUPT_NUMBER);
	lines[1] = get32(first + INTERRUPT_BYTES + INTERRUPT_NUMBER);
	irq_enable(lines[0]);
	irq_enable(lines[1]);
	return true;
}

/* The id first: where it is new, what follows must be new as well. */
static struct generation look(void)
{
	struct generation g;
	g.id[0] = id_page[0];
	g.id[1] = id_page[1];
	g.seq = *(const volatile uint32_t *)(vmclock + VMCLOCK_SEQ);
	g.marker = *(const volatile uint64_t *)(vmclock + VMCLOCK_MARKER);
	g.counter = *(const volatile uint64_t *)(vmclock + VMCLOCK_GENERATION);
	g.seen[0] = irq_seen(lines[0]);
	g.seen[1] = irq_seen(lines[1]);
	return g;
}

static void show(const struct generation *g, const char *told)
{
	print("nano: generation id=0x%lx,0x%lx counter=%lu marker=%lu seq=%u "
	      "told=%s\n",
	      g->id[0], g->id[1], g->counter, g->marker, g->seq, told);
}

/* Whether both lines told of it no later than the new id was there. */
const char *order_generation(struct piece args)
{
	uint64_t changes = piece_number(args, 0);
	if (!id_page && !set_up())
		return "ACPI does not tell where it is";
	struct generation was = look();
	show(&was, "no");
	while (changes) {
		struct generation now = look();
		if (now.id[0] == was.id[0] && now.id[1] == was.id[1])
			continue;
		bool told = now.seen[0] != was.seen[0] &&
			    now.seen[1] != was.seen[1];
		show(&now, told ? "yes" : "no");
		was = now;
		changes--;
	}
	return "";
}
