/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.c: accesses to a device's registers, each of which has to take place
 * once, whatever stops the processor in the middle of it.
 */
#include "guest/nano/nano.h"
#include "guest/nano/virtio.h"

#define QUEUE_SEL     0x030
#define QUEUE_NUM_MAX 0x034
#define WINDOW	      0x1000
#define N_WORDS	      4 /* magic, version, device, vendor: never change */
#define NO_QUEUE      16
#define ROUNDS	      50 /* a line */

/* One instruction that reads a register and adds it. */
static uint32_t add_word(uint32_t sum, const struct vdev *d, uint32_t reg)
{
	__asm__ volatile("addl %1, %0"
			 : "+r"(sum)
			 : "m"(*mmio32(d->gpa + reg))
			 : "cc");
	return sum;
}

/* One instruction that reads some, one after another. */
static void copy_words(uint32_t to[N_WORDS], const struct vdev *d)
{
	const volatile uint32_t *from = mmio32(d->gpa);
	uint64_t n = N_WORDS;
	__asm__ volatile("rep movsl"
			 : "+S"(from), "+D"(to), "+c"(n)
			 :
			 : "memory");
}

/*
 * One instruction that is two accesses: zeros, and behind the window of the
 * last device ones, for nothing is there.
 */
static uint32_t read_across(const struct vdev *d)
{
	uint32_t v;
	__asm__ volatile("movl -2(%1), %0"
			 : "=r"(v)
			 : "r"(mmio32(d->gpa + WINDOW))
			 : "memory");
	return v;
}

static const char *round(const struct vdev *d, const uint32_t word[N_WORDS],
			 uint32_t across)
{
	uint32_t copy[N_WORDS + 1] = {0}, sum = 0, most[2];
	for (uint32_t i = 0; i < N_WORDS; i++)
		sum = add_word(sum, d, 4 * i) - word[i];
	if (sum != 0)
		return "a register was not added once";
	copy_words(copy, d);
	if (memcmp(copy, word, N_WORDS * sizeof(word[0])) != 0 || copy[N_WORDS])
		return "registers were not copied once";
	if (read_across(d) != across)
		return "of a read that is two accesses, one was lost";
	/* What is read depends on what was written before. */
	for (uint32_t i = 0; i < 2; i++) {
		*mmio32(d->gpa + QUEUE_SEL) = i ? NO_QUEUE : 0;
		most[i] = *mmio32(d->gpa + QUEUE_NUM_MAX);
	}
	return most[0] && !most[1] ? "" : "a queue was not selected";
}

const char *order_mmio(struct piece args)
{
	uint64_t lines = piece_number(args, 0);
	struct vdev *d = virtio_find(0, 0);
	uint32_t word[N_WORDS], across;
	if (!d)
		return "no device";
	for (uint32_t i = 0; i < N_WORDS; i++)
		word[i] = *mmio32(d->gpa + 4 * i);
	across = read_across(d);
	print("nano: mmio across=0x%x\n", across);
	for (uint64_t n = 1; lines == 0 || n <= lines; n++) {
		for (int i = 0; i < ROUNDS; i++) {
			const char *wrong = round(d, word, across);
			if (*wrong)
				return wrong;
		}
		print("nano: mmio %lu\n", n);
	}
	return "";
}
