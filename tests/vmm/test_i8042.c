/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"
#include "tests/vmm/patched_state.h"
#include "vmm/vm.h"

enum { DATA = 0, STATUS = 4 };

static enum vm_end ended_why;

static void on_end(struct vm_owner *o, enum vm_end why)
{
	(void)o;
	ended_why = why;
}

static struct vm_owner owner = {.ended = on_end};

static int set_up(void **state)
{
	static const struct vm_config cfg = {.cpu.n_vcpus = 1};
	struct loop *l;
	struct vm *vm;
	struct err e;

	assert_int_equal(loop_new(&l, LOOP_AUTO, NULL, &e), 0);
	assert_int_equal(vm_new(&vm, l, &cfg, &e), 0);
	vm->owner = &owner;
	ended_why = VM_END_NONE;
	*state = vm;
	return 0;
}

static int tear_down(void **state)
{
	struct vm *vm = *state;
	struct loop *l = vm->loop;

	(void)loop_turn(l, 1000000);
	vm_free(vm);
	loop_free(l);
	return 0;
}

static uint8_t rd(struct vm *vm, uint64_t port)
{
	uint8_t v = 0xa5;

	(void)bus_read(&vm->pio, NULL, PIO_I8042 + port, &v, 1);
	return v;
}

static void wr(struct vm *vm, uint64_t port, uint8_t v)
{
	(void)bus_write(&vm->pio, NULL, PIO_I8042 + port, &v, 1);
}

static bool irq_seen(struct vm *vm)
{
	uint64_t n;

	return read(vm->irq_i8042.fd, &n, sizeof(n)) == sizeof(n);
}

static void reset_command_ends_the_guest_cleanly(void **state)
{
	struct vm *vm = *state;

	wr(vm, STATUS, 0xfe);
	assert_int_equal(vm->end, VM_END_RESET);
	(void)loop_turn(vm->loop, 1000000);
	assert_int_equal(ended_why, VM_END_RESET);
	assert_int_equal(vm->i8042.counts.resets, 1);
}

static void first_reason_to_end_stays(void **state)
{
	struct vm *vm = *state;

	vm_end(vm, VM_END_SHUTDOWN);
	wr(vm, STATUS, 0xfe);
	(void)loop_turn(vm->loop, 1000000);
	assert_int_equal(ended_why, VM_END_SHUTDOWN);
}

static void sleep_register_ends_the_guest_only_for_s5(void **state)
{
	struct vm *vm = *state;
	uint8_t v = 3 << 2 | 0x20;

	(void)bus_write(&vm->pio, NULL, PIO_SLEEP, &v, 1);
	assert_int_equal(vm->end, VM_END_NONE);
	v = ACPI_S5_SLP_TYP << 2;
	(void)bus_write(&vm->pio, NULL, PIO_SLEEP, &v, 1);
	assert_int_equal(vm->end, VM_END_NONE);
	v |= 0x20;
	(void)bus_write(&vm->pio, NULL, PIO_SLEEP + 1, &v, 1);
	assert_int_equal(vm->end, VM_END_NONE);
	(void)bus_write(&vm->pio, NULL, PIO_SLEEP, &v, 1);
	assert_int_equal(vm->end, VM_END_RESET);
	assert_int_equal(bus_read(&vm->pio, NULL, PIO_SLEEP, &v, 1), 0);
	assert_int_equal(v, 0);
}

static void ctrl_alt_del_types_scan_codes_and_interrupts(void **state)
{
	static const uint8_t keys[] = {0x14, 0x11, 0xe0, 0x71};
	struct vm *vm = *state;

	assert_int_equal(i8042_ctrl_alt_del(&vm->i8042), 0);
	assert_true(irq_seen(vm));
	for (size_t i = 0; i < sizeof(keys); i++) {
		assert_int_equal(rd(vm, STATUS) & 1, 1);
		assert_int_equal(rd(vm, DATA), keys[i]);
	}
	assert_int_equal(rd(vm, STATUS) & 1, 0);
	assert_int_equal(rd(vm, DATA), 0);
}

static void fifth_ctrl_alt_del_does_not_fit(void **state)
{
	struct vm *vm = *state;

	for (int i = 0; i < 4; i++)
		assert_int_equal(i8042_ctrl_alt_del(&vm->i8042), 0);
	assert_int_equal(i8042_ctrl_alt_del(&vm->i8042), -ENOBUFS);
	(void)rd(vm, DATA);
	assert_int_equal(i8042_ctrl_alt_del(&vm->i8042), -ENOBUFS);
	for (int i = 0; i < 3; i++)
		(void)rd(vm, DATA);
	assert_int_equal(i8042_ctrl_alt_del(&vm->i8042), 0);
}

static void control_and_output_port_are_kept(void **state)
{
	struct vm *vm = *state;

	wr(vm, STATUS, 0x60);
	wr(vm, DATA, 0x44);
	wr(vm, STATUS, 0x20);
	assert_int_equal(rd(vm, DATA), 0x44);
	wr(vm, STATUS, 0xd1);
	wr(vm, DATA, 0x02);
	wr(vm, STATUS, 0xd0);
	assert_int_equal(rd(vm, DATA), 0x02);
	/* Interrupts are off now. */
	(void)irq_seen(vm);
	wr(vm, DATA, 0xf4);
	assert_false(irq_seen(vm));
	assert_int_equal(rd(vm, DATA), 0xfa);
}

static void replies_never_overrun_the_buffer(void **state)
{
	struct vm *vm = *state;

	for (int i = 0; i < 1000; i++)
		wr(vm, STATUS, 0x20);
	assert_int_equal(vm->i8042.counts.errors, 1000 - I8042_BUF_BYTES);
	for (int i = 0; i < I8042_BUF_BYTES; i++)
		assert_int_equal(rd(vm, DATA), 0x05);
	assert_int_equal(rd(vm, STATUS) & 1, 0);
}

static void guest_finds_its_keyboard_as_it_was(void **state)
{
	struct vm *vm = *state;
	uint8_t buf[64];
	struct archive a = archive_saver(buf, sizeof(buf));
	size_t len;

	wr(vm, STATUS, 0x60);
	wr(vm, DATA, 0x01);
	assert_int_equal(i8042_ctrl_alt_del(&vm->i8042), 0);
	assert_int_equal(rd(vm, DATA), 0x14);
	i8042_describe(&vm->i8042, &a);
	assert_true(archive_ok(&a));
	len = a.at;
	assert_int_equal(tear_down(state), 0);
	assert_int_equal(set_up(state), 0);
	vm = *state;
	a = archive_loader(buf, len);
	i8042_describe(&vm->i8042, &a);
	assert_true(archive_ok(&a));
	/* The edge before the snapshot may be lost in KVM. */
	assert_true(irq_seen(vm));
	assert_int_equal(rd(vm, STATUS) & 1, 1);
	assert_int_equal(rd(vm, DATA), 0x11);
	assert_int_equal(rd(vm, DATA), 0xe0);
	assert_int_equal(rd(vm, DATA), 0x71);
	wr(vm, STATUS, 0x20);
	assert_int_equal(rd(vm, DATA), 0x01);
	for (size_t n = 0; n < len; n++) {
		a = archive_loader(buf, n);
		i8042_describe(&vm->i8042, &a);
		assert_false(archive_ok(&a));
	}
}

static void wrong_number_of_bytes_is_refused(void **state)
{
	static const struct {
		uint32_t head, tail;
		bool good;
	} t[] = {
		{7, 7, true},
		{UINT32_MAX - 1, 14, true},
		{0, I8042_BUF_BYTES + 1, false},
		{1, 0, false},
		{0, 1U << 31, false},
	};
	struct vm *vm = *state;
	uint8_t buf[64];
	struct archive a = archive_saver(buf, sizeof(buf));
	size_t len;

	i8042_describe(&vm->i8042, &a);
	len = a.at;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		a = patched_state(buf, len, t[i].head, t[i].tail);
		i8042_describe(&vm->i8042, &a);
		assert_int_equal(archive_ok(&a), t[i].good);
	}
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(reset_command_ends_the_guest_cleanly),
		T(first_reason_to_end_stays),
		T(sleep_register_ends_the_guest_only_for_s5),
		T(ctrl_alt_del_types_scan_codes_and_interrupts),
		T(fifth_ctrl_alt_del_does_not_fit),
		T(control_and_output_port_are_kept),
		T(replies_never_overrun_the_buffer),
		T(guest_finds_its_keyboard_as_it_was),
		T(wrong_number_of_bytes_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
