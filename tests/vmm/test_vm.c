/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines of a few instructions on the real KVM: build, run, pause, end.
 */
#include "tests/vmm/images.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/count.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/loop.h"
#include "base/num.h"
#include "vmm/vm.h"

/* mov dx,0x3f8; mov al,'!'; out dx,al */
#define SAY	 0x66, 0xba, 0xf8, 0x03, 0xb0, '!', 0xee
#define SAY_LOOP SAY, 0xeb, 0xfd		   /* jmp back to the out */
#define RESET	 SAY, 0xb0, 0xfe, 0xe6, 0x64, 0xf4 /* out 0x64,0xfe */
#define HALT	 SAY, 0xfa, 0xf4, 0xeb, 0xfc	   /* cli; hlt */
#define UD2	 SAY, 0x0f, 0x0b		   /* no IDT: triple fault */

struct machine {
	struct vm_owner owner;
	struct loop *loop;
	struct vm *vm;
	int kernel_fd;
	int out[2];
	enum vm_end end;
	unsigned int parked;
};

static void on_ended(struct vm_owner *o, enum vm_end why)
{
	container_of(o, struct machine, owner)->end = why;
}

static void on_parked(struct vm_owner *o)
{
	container_of(o, struct machine, owner)->parked++;
}

static int build(struct machine *m, const uint8_t *code, size_t len,
		 unsigned int n_vcpus, uint64_t mem_bytes, struct err *e)
{
	struct elf_image image = elf_image(code, len);
	struct vm_config cfg = {
		.mem_bytes = mem_bytes,
		.cpu.n_vcpus = n_vcpus,
		.initrd_fd = -1,
	};
	int ret;

	*m = (struct machine){
		.owner = {.ended = on_ended, .parked = on_parked}};
	assert_int_equal(loop_new(&m->loop, LOOP_AUTO, NULL, e), 0);
	assert_int_equal(pipe2(m->out, O_CLOEXEC | O_NONBLOCK), 0);
	m->kernel_fd = elf_file(&image);
	cfg.kernel_fd = m->kernel_fd;
	ret = vm_new(&m->vm, m->loop, &cfg, e);
	if (ret == 0)
		ret = vm_build(m->vm, e);
	if (ret == 0) {
		m->vm->owner = &m->owner;
		serial_connect(&m->vm->serial, -1, m->out[1]);
	}
	return ret;
}

static void make(struct machine *m, const uint8_t *code, size_t len,
		 unsigned int n_vcpus)
{
	struct err e = {0};

	if (build(m, code, len, n_vcpus, 8 * MIB, &e) < 0)
		fail_msg("%s", e.text);
	vm_run(m->vm);
}

static void take_down(struct machine *m)
{
	while (!serial_disconnect(&m->vm->serial))
		(void)loop_turn(m->loop, 1000000);
	vm_free(m->vm);
	loop_free(m->loop);
	(void)close(m->kernel_fd);
	(void)close(m->out[0]);
	(void)close(m->out[1]);
}

static ssize_t take_output(struct machine *m)
{
	char buf[4096];

	return read(m->out[0], buf, sizeof(buf));
}

/* Turn the loop until something was printed. */
static void wait_output(struct machine *m)
{
	for (int i = 0; i < 2000 && take_output(m) <= 0; i++)
		(void)loop_turn(m->loop, 5000000);
}

static void wait_end(struct machine *m)
{
	for (int i = 0; i < 2000 && m->end == VM_END_NONE; i++)
		(void)loop_turn(m->loop, 5000000);
}

static void pause_and_wait(struct machine *m)
{
	unsigned int before = m->parked;

	vm_pause(m->vm);
	for (int i = 0; i < 2000 && m->parked == before; i++)
		(void)loop_turn(m->loop, 5000000);
	assert_int_equal(m->parked, before + 1);
	assert_int_equal(m->vm->state, VM_PAUSED);
}

static void a_reset_ends_with_its_reason(void **state)
{
	static const uint8_t code[] = {RESET};
	struct machine m;

	(void)state;
	make(&m, code, sizeof(code), 1);
	wait_end(&m);
	assert_int_equal(m.end, VM_END_RESET);
	serial_flush(&m.vm->serial);
	assert_int_equal(take_output(&m), 1);
	take_down(&m);
}

static void a_triple_fault_ends_with_its_reason(void **state)
{
	static const uint8_t code[] = {UD2};
	struct machine m;

	(void)state;
	make(&m, code, sizeof(code), 1);
	wait_end(&m);
	assert_true(m.end == VM_END_SHUTDOWN || m.end == VM_END_ERROR);
	take_down(&m);
}

static void halted_vcpus_are_no_end(void **state)
{
	static const uint8_t code[] = {HALT};
	struct machine m;

	(void)state;
	make(&m, code, sizeof(code), 2);
	wait_output(&m);
	for (int i = 0; i < 20; i++)
		(void)loop_turn(m.loop, 5000000);
	assert_int_equal(m.end, VM_END_NONE);
	pause_and_wait(&m);
	vm_run(m.vm);
	assert_int_equal(m.end, VM_END_NONE);
	take_down(&m);
}

static uint64_t io_out(const struct machine *m)
{
	return __atomic_load_n(&m->vm->vcpu[0].counts.io_out, __ATOMIC_RELAXED);
}

static void a_paused_guest_stands_still_and_goes_on(void **state)
{
	static const uint8_t code[] = {SAY_LOOP};
	struct machine m;
	uint64_t exits;

	(void)state;
	make(&m, code, sizeof(code), 1);
	for (int i = 0; i < 50; i++) {
		wait_output(&m);
		pause_and_wait(&m);
		exits = m.vm->vcpu[0].counts.io_out;
		for (int k = 0; k < 3; k++)
			(void)loop_turn(m.loop, 1000000);
		assert_int_equal(m.vm->vcpu[0].counts.io_out, exits);
		vm_run(m.vm);
		for (int k = 0; k < 2000 && io_out(&m) <= exits; k++)
			(void)loop_turn(m.loop, 1000000);
		assert_true(io_out(&m) > exits);
		while (take_output(&m) > 0)
			;
	}
	take_down(&m);
}

/* Where the program is in its loop of `out` and `jmp`, when it is paused. */
static void a_pause_completes_the_instruction(void **state)
{
	static const uint8_t code[] = {SAY_LOOP};
	struct kvm_regs regs;
	struct machine m;
	uint64_t at;

	(void)state;
	make(&m, code, sizeof(code), 1);
	for (int i = 0; i < 50; i++) {
		wait_output(&m);
		pause_and_wait(&m);
		assert_int_equal(ioctl(m.vm->vcpu[0].fd, KVM_GET_REGS, &regs),
				 0);
		at = regs.rip - m.vm->kernel.entry_gpa;
		/* As many bytes left the UART as the guest has written. */
		assert_true(at <= sizeof(code));
		assert_int_equal(m.vm->serial.counts.writes,
				 m.vm->vcpu[0].counts.io_out);
		vm_run(m.vm);
	}
	take_down(&m);
}

/* ---- an access of several exits ---- */

#define SPLIT_GPA 0x30000000

static void ramp_read(struct bus_dev *d, struct vcpu *vcpu, uint64_t offset,
		      void *data, uint32_t len)
{
	(void)d;
	(void)vcpu;
	for (uint32_t i = 0; i < len; i++)
		((uint8_t *)data)[i] = (uint8_t)(offset - 0xffc + i);
}

/* An 8-byte read across a page comes as two exits of 4 bytes. */
static void a_pause_between_the_parts_of_an_access_loses_none(void **state)
{
	/* 1: mov rax,[0x30000ffc]; cmp rax,0x0706050403020100; je 1b; say '!'
	 */
	static const uint8_t code[] = {0xbe, 0xfc, 0x0f, 0x00, 0x30, 0x48, 0xbb,
				       0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
				       0x07, 0x66, 0xba, 0xf8, 0x03, 0x48, 0x8b,
				       0x06, 0x48, 0x39, 0xd8, 0x74, 0xf8, 0xb0,
				       '!',  0xee, 0xeb, 0xf3};
	static const struct bus_ops ops = {.read = ramp_read};
	struct bus_dev ramp = {.ops = &ops};
	struct err e = {0};
	struct machine m;
	uint64_t reads;

	(void)state;
	if (build(&m, code, sizeof(code), 1, 8 * MIB, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(bus_add(&m.vm->mmio, SPLIT_GPA, 0x2000, &ramp), 0);
	vm_run(m.vm);
	for (int i = 0; i < 300; i++) {
		reads = count_get(&m.vm->vcpu[0].counts.mmio_read);
		for (int k = 0; k < 2000; k++) {
			(void)loop_turn(m.loop, 100000);
			if (count_get(&m.vm->vcpu[0].counts.mmio_read) > reads)
				break;
		}
		pause_and_wait(&m);
		vm_run(m.vm);
	}
	assert_true(count_get(&m.vm->vcpu[0].counts.mmio_read) > 600);
	assert_int_equal(m.vm->serial.counts.writes, 0);
	take_down(&m);
}

static void many_vcpus_park_and_go_on_together(void **state)
{
	static const uint8_t code[] = {HALT};
	struct machine m;

	(void)state;
	make(&m, code, sizeof(code), MAX_VCPUS);
	wait_output(&m);
	for (int i = 0; i < 20; i++) {
		pause_and_wait(&m);
		vm_run(m.vm);
	}
	take_down(&m);
}

static void a_failed_build_can_be_tried_again(void **state)
{
	static const uint8_t good[] = {RESET};
	struct machine m;
	struct err e = {0};

	(void)state;
	/* The kernel lies at 2 MiB. */
	assert_true(build(&m, good, sizeof(good), 1, MIB, &e) < 0);
	assert_non_null(strstr(e.text, "Cannot load kernel"));
	vm_free(m.vm);
	loop_free(m.loop);
	(void)close(m.kernel_fd);
	(void)close(m.out[0]);
	(void)close(m.out[1]);
	make(&m, good, sizeof(good), 1);
	wait_end(&m);
	assert_int_equal(m.end, VM_END_RESET);
	take_down(&m);
}

static void devices_get_windows_and_lines_in_order(void **state)
{
	static const struct vm_config cfg = {.cpu.n_vcpus = 1};
	struct bus_dev dev = {0};
	struct vm_slot *slot;
	struct loop *l;
	struct vm *vm;
	struct err e;

	(void)state;
	assert_int_equal(loop_new(&l, LOOP_AUTO, NULL, &e), 0);
	assert_int_equal(vm_new(&vm, l, &cfg, &e), 0);
	for (uint32_t i = 0; i < MAX_VIRTIO_DEVS; i++) {
		assert_int_equal(vm_add_dev(vm, NULL, &dev, &slot, &e), 0);
		assert_int_equal(slot->gpa, 0xc0001000 + i * 0x1000);
		assert_int_equal(slot->irq.gsi, 5 + i);
	}
	assert_true(vm_add_dev(vm, NULL, &dev, &slot, &e) < 0);
	assert_string_equal(e.text,
			    "Could not attach device: Error while registering "
			    "ACPI with KVM: VMClock: Could not allocate GSI: "
			    "The requested resource is not available.");
	vm_free(vm);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_get_windows_and_lines_in_order),
		cmocka_unit_test(a_reset_ends_with_its_reason),
		cmocka_unit_test(a_triple_fault_ends_with_its_reason),
		cmocka_unit_test(halted_vcpus_are_no_end),
		cmocka_unit_test(a_paused_guest_stands_still_and_goes_on),
		cmocka_unit_test(a_pause_completes_the_instruction),
		cmocka_unit_test(
			a_pause_between_the_parts_of_an_access_loses_none),
		cmocka_unit_test(many_vcpus_park_and_go_on_together),
		cmocka_unit_test(a_failed_build_can_be_tried_again),
	};

	if (access("/dev/kvm", R_OK | W_OK) != 0) {
		(void)puts("kvm: no access to /dev/kvm");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
