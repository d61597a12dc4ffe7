/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt lines are looked at in the chips of a real KVM, without which
 * the program is skipped.
 */
#include "tests/vmm/kvm_env.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/generation.h"

#define RAM_BYTES (2 * MIB)

/* What a guest reads of VMClock's page. */
#define AT_MAGIC      0
#define AT_SEQ	      12
#define AT_DISRUPTION 16
#define AT_WHAT	      24
#define AT_GENERATION 104

#define LAPIC_SPIV	0xf0
#define LAPIC_IRR	0x200
#define LAPIC_ENABLED	0x1ff
#define VECTOR(gsi)	(0x40 + (gsi))
#define BOOT_PROCESSOR	0
#define HAS_COUNTER	(1U << 8)
#define SAYS_IT_BY_LINE (1U << 9)

struct ids {
	uint8_t genid[16];
	uint64_t disruption, generation;
	uint32_t seq;
};

static struct ids read_ids(const struct gmem *m)
{
	struct ids v;

	assert_int_equal(gmem_read(m, GPA_VMGENID, v.genid, 16), 0);
	assert_int_equal(gmem_read(m, GPA_VMCLOCK + AT_SEQ, &v.seq, 4), 0);
	assert_int_equal(
		gmem_read(m, GPA_VMCLOCK + AT_DISRUPTION, &v.disruption, 8), 0);
	assert_int_equal(
		gmem_read(m, GPA_VMCLOCK + AT_GENERATION, &v.generation, 8), 0);
	return v;
}

static int setup(void **state)
{
	struct kvm_env *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	kvm_env_init(k, RAM_BYTES);
	*state = k;
	return 0;
}

static int teardown(void **state)
{
	kvm_env_exit(*state);
	free(*state);
	return 0;
}

static void first_generation_is_described(void **state)
{
	struct kvm_env *k = *state;
	const uint8_t none[16] = {0};
	struct ids v;
	uint64_t flags;
	struct err e;

	assert_int_equal(generation_write(&k->m, &e), 0);
	v = read_ids(&k->m);
	assert_memory_not_equal(v.genid, none, 16);
	assert_int_equal(v.seq, 0);
	assert_int_equal(v.disruption, 0);
	assert_int_equal(v.generation, 0);
	assert_memory_equal(gmem_ptr(&k->m, GPA_VMCLOCK, 4), "VCLK", 4);
	assert_int_equal(gmem_read(&k->m, GPA_VMCLOCK + AT_WHAT, &flags, 8), 0);
	assert_int_equal(flags, HAS_COUNTER | SAYS_IT_BY_LINE);
}

static void each_generation_is_another(void **state)
{
	struct kvm_env *k = *state;
	struct ids before, now;
	struct err e;

	assert_int_equal(generation_write(&k->m, &e), 0);
	before = read_ids(&k->m);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(generation_next(&k->m, k->vm_fd, &e), 0);
		now = read_ids(&k->m);
		assert_memory_not_equal(now.genid, before.genid, 16);
		assert_int_equal(now.disruption, before.disruption + 1);
		assert_int_equal(now.generation, before.generation + 1);
		assert_int_equal(now.seq % 2, 0);
		assert_true(now.seq > before.seq);
		before = now;
	}
}

/* A guest may have left it odd, or anything. */
static void count_that_the_guest_wrote_becomes_even(void **state)
{
	const uint32_t wrote[] = {1, 7, UINT32_MAX, UINT32_MAX - 1};
	struct kvm_env *k = *state;
	struct err e;

	assert_int_equal(generation_write(&k->m, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(wrote); i++) {
		assert_int_equal(
			gmem_write(&k->m, GPA_VMCLOCK + AT_SEQ, &wrote[i], 4),
			0);
		assert_int_equal(generation_next(&k->m, k->vm_fd, &e), 0);
		assert_int_equal(read_ids(&k->m).seq, (wrote[i] | 1) + 1);
	}
}

/* Edges of the line come to vCPU 0 by a vector of its own. */
static void route(struct kvm_env *k, uint32_t gsi)
{
	struct kvm_irqchip c = {.chip_id = KVM_IRQCHIP_IOAPIC};

	assert_int_equal(ioctl(k->vm_fd, KVM_GET_IRQCHIP, &c), 0);
	c.chip.ioapic.redirtbl[gsi].bits = VECTOR(gsi);
	assert_int_equal(ioctl(k->vm_fd, KVM_SET_IRQCHIP, &c), 0);
}

static bool requested(struct kvm_env *k, uint32_t gsi)
{
	struct kvm_lapic_state l;
	uint32_t irr;

	assert_int_equal(ioctl(k->vcpu_fd[BOOT_PROCESSOR], KVM_GET_LAPIC, &l),
			 0);
	memcpy(&irr, l.regs + LAPIC_IRR + VECTOR(gsi) / 32 * 16, 4);
	return irr >> VECTOR(gsi) % 32 & 1;
}

/* When it returns, not some time later: the vCPUs are about to run. */
static void both_lines_are_raised_at_once(void **state)
{
	const uint32_t spiv = LAPIC_ENABLED;
	struct kvm_env *k = *state;
	struct kvm_lapic_state l;
	struct err e;

	assert_int_equal(ioctl(k->vcpu_fd[BOOT_PROCESSOR], KVM_GET_LAPIC, &l),
			 0);
	memcpy(l.regs + LAPIC_SPIV, &spiv, 4);
	assert_int_equal(ioctl(k->vcpu_fd[BOOT_PROCESSOR], KVM_SET_LAPIC, &l),
			 0);
	route(k, GSI_VMGENID);
	route(k, GSI_VMCLOCK);
	assert_int_equal(generation_write(&k->m, &e), 0);
	assert_false(requested(k, GSI_VMGENID));
	assert_int_equal(generation_next(&k->m, k->vm_fd, &e), 0);
	assert_true(requested(k, GSI_VMGENID));
	assert_true(requested(k, GSI_VMCLOCK));
}

static void too_little_ram_is_an_error(void **state)
{
	struct gmem m;
	struct err e;

	(void)state;
	ram_init(&m, GPA_VMGENID);
	assert_int_equal(generation_write(&m, &e), -ENOMEM);
	assert_int_equal(generation_next(&m, -1, &e), -ENOMEM);
	gmem_exit(&m);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_generation_is_described),
		TEST(each_generation_is_another),
		TEST(count_that_the_guest_wrote_becomes_even),
		TEST(both_lines_are_raised_at_once),
		cmocka_unit_test(too_little_ram_is_an_error),
	};

	if (kvm_missing())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
