/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of writes, of a machine of a few instructions on the real KVM and of
 * our own.
 */
#include "tests/vmm/kvm_env.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/num.h"
#include "vmm/dirty.h"
#include "vmm/vm.h"

#define WRITTEN_GPA    0x600000
#define WALL_CLOCK_MSR 0x4b564d00 /* of KVM: where to write it */
/* mov byte [0x600000],1; mov dx,0x3f8; mov al,'!'; out dx,al; jmp -3 */
static const uint8_t code[] = {0xc6, 0x04, 0x25, 0x00, 0x00, 0x60,
			       0x00, 0x01, 0x66, 0xba, 0xf8, 0x03,
			       0xb0, '!',  0xee, 0xeb, 0xfd};

struct machine {
	struct vm_owner owner;
	struct loop *loop;
	struct vm *vm;
	int kernel_fd;
	unsigned int parked;
	uint64_t *map;
};

static void on_ended(struct vm_owner *o, enum vm_end why)
{
	(void)o;
	fail_msg("the guest ended: %d", (int)why);
}

static void on_parked(struct vm_owner *o)
{
	container_of(o, struct machine, owner)->parked++;
}

static void build(struct machine *m, uint64_t mem_bytes, bool track)
{
	struct elf_image image = elf_image(code, sizeof(code));
	struct vm_config cfg = {
		.mem_bytes = mem_bytes,
		.cpu.n_vcpus = 1,
		.initrd_fd = -1,
		.track_dirty = track,
	};
	struct err e = {0};

	*m = (struct machine){
		.owner = {.ended = on_ended, .parked = on_parked}};
	assert_int_equal(loop_new(&m->loop, LOOP_AUTO, NULL, &e), 0);
	m->kernel_fd = elf_file(&image);
	cfg.kernel_fd = m->kernel_fd;
	assert_int_equal(vm_new(&m->vm, m->loop, &cfg, &e), 0);
	if (vm_build(m->vm, &e) < 0)
		fail_msg("%s", e.text);
	m->vm->owner = &m->owner;
	m->map = dirty_map(&m->vm->mem);
	assert_non_null(m->map);
}

static void take_down(struct machine *m)
{
	vm_free(m->vm);
	loop_free(m->loop);
	(void)close(m->kernel_fd);
	free(m->map);
}

static void run_and_pause(struct machine *m)
{
	unsigned int before = m->parked;

	vm_run(m->vm);
	for (int i = 0; i < 20; i++)
		(void)loop_turn(m->loop, 5000000);
	vm_pause(m->vm);
	for (int i = 0; i < 2000 && m->parked == before; i++)
		(void)loop_turn(m->loop, 5000000);
	assert_int_equal(m->parked, before + 1);
}

/* What is told now, alone. */
static void fetch(struct machine *m)
{
	struct err e = {0};

	memset(m->map, 0, dirty_words(&m->vm->mem) * sizeof(*m->map));
	if (dirty_fetch(m->vm, m->map, &e) < 0)
		fail_msg("%s", e.text);
}

static size_t told(struct machine *m)
{
	return dirty_count(m->map, &m->vm->mem);
}

static size_t page(uint64_t offset)
{
	return offset / DIRTY_PAGE_BYTES;
}

static void guest_and_monitor_write(void **state)
{
	struct machine m;

	(void)state;
	if (kvm_missing())
		return;
	build(&m, 8 * MIB, true);
	assert_true(dirty_on(m.vm));
	fetch(&m);
	/* The kernel, and what it was started with. */
	assert_true(dirty_has(m.map, page(m.vm->kernel.entry_gpa)));
	assert_true(dirty_has(m.map, page(GPA_VMGENID)));
	assert_false(dirty_has(m.map, page(WRITTEN_GPA)));
	run_and_pause(&m);
	fetch(&m);
	assert_true(dirty_has(m.map, page(WRITTEN_GPA)));
	assert_false(dirty_has(m.map, page(GPA_VMGENID)));
	assert_int_equal(gmem_write(&m.vm->mem, 0x5ffe, "abcd", 4), 0);
	fetch(&m);
	assert_int_equal(told(&m), 2);
	assert_true(dirty_has(m.map, 5) && dirty_has(m.map, 6));
	fetch(&m);
	assert_int_equal(told(&m), 0);
	take_down(&m);
}

static void what_was_fetched_in_vain_is_told_again(void **state)
{
	struct machine m;
	uint64_t *first;
	struct err e;

	(void)state;
	if (kvm_missing())
		return;
	build(&m, 8 * MIB, true);
	run_and_pause(&m);
	first = dirty_map(&m.vm->mem);
	assert_int_equal(dirty_fetch(m.vm, first, &e), 0);
	dirty_keep(m.vm, first);
	assert_int_equal(gmem_write(&m.vm->mem, 0x7000, "x", 1), 0);
	fetch(&m);
	dirty_add(first, 7);
	assert_memory_equal(m.map, first,
			    dirty_words(&m.vm->mem) * sizeof(*first));
	/* And all that was ever told is known. */
	assert_memory_equal(m.vm->dirty.told, first,
			    dirty_words(&m.vm->mem) * sizeof(*first));
	free(first);
	take_down(&m);
}

static void goes_on_and_off(void **state)
{
	struct machine m;
	struct err e = {0};

	(void)state;
	if (kvm_missing())
		return;
	build(&m, 8 * MIB, false);
	assert_false(dirty_on(m.vm));
	assert_int_equal(gmem_write(&m.vm->mem, 0x5000, "x", 1), 0);
	assert_int_equal(dirty_arm(m.vm, &e), 0);
	assert_int_equal(dirty_start(m.vm, &e), 0);
	assert_true(dirty_on(m.vm));
	run_and_pause(&m);
	assert_int_equal(gmem_write(&m.vm->mem, 0x6000, "x", 1), 0);
	fetch(&m);
	assert_true(dirty_has(m.map, page(WRITTEN_GPA)));
	assert_false(dirty_has(m.map, 5));
	assert_true(dirty_has(m.map, 6));
	assert_int_equal(dirty_stop(m.vm, &e), 0);
	dirty_disarm(m.vm);
	assert_int_equal(gmem_write(&m.vm->mem, 0x7000, "x", 1), 0);
	assert_int_equal(dirty_fetch(m.vm, m.map, &e), -ENOENT);
	assert_false(dirty_has(m.map, 7));
	take_down(&m);
}

/* Pages count on over the hole: as in the memory file. */
static void ram_above_4_gib_follows(void **state)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} clock = {.head.nmsrs = 1, .entry.index = WALL_CLOCK_MSR};
	struct machine m;

	(void)state;
	if (kvm_missing())
		return;
	build(&m, 4 * GIB, true);
	fetch(&m);
	assert_int_equal(gmem_write(&m.vm->mem, 4 * GIB + 0x3000, "x", 1), 0);
	fetch(&m);
	assert_int_equal(told(&m), 1);
	assert_true(dirty_has(m.map, page(3 * GIB) + 3));
	/* KVM answers to this by a write, as to the guest's. */
	clock.entry.data = 4 * GIB + 0x5000;
	assert_int_equal(ioctl(m.vm->vcpu->fd, KVM_SET_MSRS, &clock), 1);
	fetch(&m);
	assert_int_equal(told(&m), 1);
	assert_true(dirty_has(m.map, page(3 * GIB) + 5));
	take_down(&m);
}

static void runs_are_found(void **state)
{
	static const size_t in[] = {0, 1, 63, 64, 65, 127, 199};
	static const size_t runs[][2] = {{0, 2}, {63, 3}, {127, 1}, {199, 1}};
	struct gmem m = {.bytes = 200 * DIRTY_PAGE_BYTES};
	uint64_t *map = dirty_map(&m);
	size_t at = 0, n;

	(void)state;
	assert_non_null(map);
	assert_int_equal(dirty_words(&m), 4);
	assert_int_equal(dirty_run(map, &m, 0, &at), 0);
	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		dirty_add(map, in[i]);
	assert_int_equal(dirty_count(map, &m), ARRAY_LEN(in));
	at = 0;
	for (size_t i = 0; i < ARRAY_LEN(runs); i++, at += n) {
		n = dirty_run(map, &m, at, &at);
		assert_int_equal(at, runs[i][0]);
		assert_int_equal(n, runs[i][1]);
	}
	assert_int_equal(dirty_run(map, &m, at, &at), 0);
	free(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_and_monitor_write),
		cmocka_unit_test(what_was_fetched_in_vain_is_told_again),
		cmocka_unit_test(goes_on_and_off),
		cmocka_unit_test(ram_above_4_gib_follows),
		cmocka_unit_test(runs_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
