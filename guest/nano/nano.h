/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nano.h: a freestanding test guest that takes orders from its command line.
 *
 * All work is done at CPL 3, with ports and MMIO open to it: native on hosts
 * that interpret CPL 0, and no different on the others. Orders run one after
 * another on the boot processor; nothing here is for two processors at once,
 * unless it says so. Functions that return text return "" for success or what
 * went wrong.
 */
#ifndef NANO_H
#define NANO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/nano/asm.h"

/* -- instructions and memory ---------------------------------------------- */

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static inline volatile uint32_t *mmio32(uint64_t gpa)
{
	return (volatile uint32_t *)gpa;
}

/* Unaligned, little-endian; the 16 bits are big-endian. */
static inline uint32_t get16be(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline void put16be(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	__builtin_memcpy(p, &v, sizeof(v));
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* -- mem.c: the memory map, RAM above 4 GiB, and memory to use ------------- */

#define PAGE_BYTES 4096UL

/* First call for each region that boot data list; then mem_map(). */
void mem_add(uint64_t gpa, uint64_t bytes, uint32_t type);
void mem_map(void);

/*
 * Whole pages from above the image, for as long as an order runs; too little of
 * it ends the guest.
 */
void *mem_alloc(uint64_t bytes);
void mem_release_all(void);

/* -- pattern.c: bytes that both ends know ---------------------------------- */

/*
 * A stream that repeats itself after PATTERN_PERIOD bytes, a prime so that no
 * exchange of buffers goes unnoticed: x = 0x9e3779b97f4a7c15, then for each
 * little-endian word x ^= x << 13, x ^= x >> 7, x ^= x << 17, word = x.
 * Returns PATTERN_MAX bytes of it from a position on.
 */
#define PATTERN_PERIOD 65521UL
#define PATTERN_MAX    131072UL
const uint8_t *pattern_at(uint64_t position);

/* -- clock.c: time, by the TSC -------------------------------------------- */

#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

/*
 * Nanoseconds since the first call; any processor. The TSC's rate is what
 * KVM's clock page says.
 */
uint64_t clock_ns(void);

/* The middle one of n times, which are sorted. */
uint64_t clock_median(uint64_t *ns, uint64_t n);

/* -- console.c: COM1 ------------------------------------------------------- */

/* %s, %c, %u, %x, and %lu and %lx. */
__attribute__((format(printf, 1, 2))) void print(const char *fmt, ...);

/* -- cmdline.c: pieces of the command line, not NUL-terminated ------------- */

struct piece {
	const char *s;
	size_t len;
};

void cmdline_setup(const char *text);

/* What follows the key in the n-th word that starts with it; s NULL: none. */
struct piece cmdline_value(const char *key, unsigned int n);

/* Cut and return what stands before the next `separator` (or all). */
struct piece piece_cut(struct piece *rest, char separator);

bool piece_is(struct piece p, const char *s);

/* Decimal or 0x number; `otherwise` if it is none. */
uint64_t piece_number(struct piece p, uint64_t otherwise);

/* The same for the next ':'-separated piece of an order. */
uint64_t piece_next(struct piece *rest, uint64_t otherwise);

/* Cut a limit: a number, or 5s for 5 seconds, which are put in *ns. */
uint64_t piece_limit(struct piece *rest, uint64_t *ns);

/* A word that stands for itself, or a letter before a number. */
struct option {
	const char *name;
	bool *word;
	uint32_t *number;
};

/* Read ':'-separated options; words that begin like a letter come first. */
void piece_options(struct piece args, const struct option *o, size_t n);

/* -- acpi.c: what ACPI tables and the MP table say, as far as needed ------- */

/* Call found() for each virtio-mmio window that the DSDT names. */
void acpi_list_virtio(void (*found)(uint64_t gpa, uint32_t gsi));

/* The DSDT and where it ends, or NULL. */
const uint8_t *acpi_dsdt(const uint8_t **end);

/* Usable processors. */
uint32_t acpi_count_by_madt(void);
uint32_t acpi_count_by_mptable(void);

/* -- cpu.c: interrupts and exceptions -------------------------------------- */

/* In entry.S: run fn(arg) at CPL 0, interrupts off; any processor. */
void call0(void (*fn)(void *), void *arg);

/* First call. */
void cpu_setup(void);

/* How many processors have come to long mode, this one included. */
extern volatile uint32_t cpus_started;

/* Halt with interrupts off. */
void cpu_halt(void);

/* Halt until the timer of about 10 ms, or another interrupt. */
void cpu_idle(void);

/* Route an edge-triggered line to the first processor; how often it came. */
void irq_enable(uint32_t gsi);
uint32_t irq_seen(uint32_t gsi);

/* cpu_idle(), but not if irq_seen(gsi) is no longer `seen`. */
void irq_wait(uint32_t gsi, uint32_t seen);

/* An interrupt to all other processors. */
void ipi_others(uint32_t icr_low);

/* Undefined instruction without an interrupt table. */
void cpu_triple_fault(void);

/* -- smp.c: the other processors ------------------------------------------- */

/* Where the other processors go. */
_Noreturn void smp_main(uint32_t index);

/* -- dirty.c: what they do meanwhile, with nano.spin ------------------------
 */

void dirty_follow(uint32_t index);

/* -- orders, each with the module that it belongs to; see main.c ----------- */

struct order {
	const char *name;
	const char *(*run)(struct piece args);
};

const char *order_blk(struct piece args);
const char *order_clock(struct piece args);
const char *order_config(struct piece args);
const char *order_cpus(struct piece args);
const char *order_devices(struct piece args);
const char *order_dirty(struct piece args);
const char *order_echo(struct piece args);
const char *order_fault(struct piece args);
const char *order_flood(struct piece args);
const char *order_generation(struct piece args);
const char *order_mem(struct piece args);
const char *order_mmio(struct piece args);
const char *order_net(struct piece args);
const char *order_touch(struct piece args);
const char *order_uptime(struct piece args);
const char *order_vsock(struct piece args);

_Noreturn void nano_main(void);

/* Print "nano: done" and end as the command line says. */
_Noreturn void nano_end(void);

#endif
