/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/num.h"
#include "vmm/pager.h"

/*
 * Of a file that was cut under a guest, KVM says no more than that it cannot go
 * on. Threads of ours that touch what is missing get SIGBUS instead.
 */
static void explain(const struct vm *vm)
{
	off_t bytes = vm->has_base ? lseek(FD_BASE, 0, SEEK_END) : -1;

	if (bytes >= 0 && (uint64_t)bytes < vm->mem.bytes)
		log_err("The memory file was cut under the guest: it has %llu "
			"bytes, RAM is %llu",
			(unsigned long long)bytes,
			(unsigned long long)vm->mem.bytes);
}

static void on_ended(struct loop_msg *m)
{
	struct vm *vm = container_of(m, struct vm, end_msg);
	enum vm_end why =
		(enum vm_end)__atomic_load_n(&vm->end, __ATOMIC_ACQUIRE);

	if (why != VM_END_RESET)
		explain(vm);
	vm->owner->ended(vm->owner, why);
}

static void on_parked(struct loop_msg *m)
{
	struct vm *vm = container_of(m, struct vm, parked_msg);

	vm->state = VM_PAUSED;
	vm->owner->parked(vm->owner);
}

static int add_legacy_devices(struct vm *vm, struct err *e)
{
	int ret;

	ret = irq_init(&vm->irq_serial, GSI_COM1, e);
	if (ret == 0)
		ret = irq_init(&vm->irq_i8042, GSI_I8042, e);
	if (ret == 0)
		ret = serial_init(&vm->serial, vm->loop, &vm->irq_serial, e);
	if (ret < 0)
		return ret;
	i8042_init(&vm->i8042, vm, &vm->irq_i8042);
	power_init(&vm->power, vm);
	boottimer_init(&vm->boottimer, vm->cfg.start_us, vm->cfg.start_cpu_us);
	ret = bus_add(&vm->pio, PIO_COM1, PIO_COM1_LEN, &vm->serial.bus);
	if (ret == 0)
		ret = bus_add(&vm->pio, PIO_I8042, PIO_I8042_LEN,
			      &vm->i8042.bus);
	if (ret == 0)
		ret = bus_add(&vm->pio, PIO_SLEEP, PIO_SLEEP_LEN,
			      &vm->power.bus);
	if (ret == 0 && vm->cfg.boot_timer)
		ret = bus_add(&vm->mmio, GPA_BOOT_TIMER, MMIO_WINDOW_BYTES,
			      &vm->boottimer.bus);
	return ret < 0 ? err_code(e, ret, "Legacy devices") : 0;
}

int vm_new(struct vm **out, struct loop *l, const struct vm_config *cfg,
	   struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm) {
		pager_free(cfg->pager);
		return err_code(e, -ENOMEM, "Virtual machine");
	}
	vm->loop = l;
	vm->cfg = *cfg;
	vm->irq_serial.fd = -1;
	vm->irq_i8042.fd = -1;
	vm->end_msg.fn = on_ended;
	vm->parked_msg.fn = on_parked;
	ret = add_legacy_devices(vm, e);
	if (ret < 0) {
		vm_free(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

int vm_add_dev(struct vm *vm, struct virtio_dev *dev, struct bus_dev *bus_dev,
	       struct vm_slot **slot, struct err *e)
{
	unsigned int n = vm->n_devs;
	struct vm_slot *s;
	int ret;

	if (n == MAX_VIRTIO_DEVS)
		return err_set(e, -ENOSPC,
			       "Could not attach device: Error while "
			       "registering ACPI with KVM: VMClock: Could not "
			       "allocate GSI: The requested resource is not "
			       "available.");
	s = &vm->slot[n];
	s->gpa = GPA_VIRTIO_MMIO + (uint64_t)n * MMIO_WINDOW_BYTES;
	ret = irq_init(&s->irq, GSI_FIRST + n, e);
	if (ret < 0)
		return ret;
	ret = bus_add(&vm->mmio, s->gpa, MMIO_WINDOW_BYTES, bus_dev);
	if (ret < 0) {
		irq_exit(&s->irq);
		return err_code(e, ret, "Window of a virtio device");
	}
	vm->dev[n] = dev;
	vm->n_devs = n + 1;
	*slot = s;
	return 0;
}

void vm_run(struct vm *vm)
{
	unsigned int n = vm->cfg.cpu.n_vcpus;

	vm->state = VM_RUNNING;
	__atomic_store_n(&vm->n_running, n, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < n; i++)
		vcpu_run(&vm->vcpu[i]);
}

void vm_pause(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->cfg.cpu.n_vcpus; i++)
		vcpu_park(&vm->vcpu[i]);
}

void vm_end(struct vm *vm, enum vm_end why)
{
	int none = VM_END_NONE;

	/* Only the first to say why posts, so the message is queued once. */
	if (__atomic_compare_exchange_n(&vm->end, &none, (int)why, false,
					__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		loop_post(vm->loop, &vm->end_msg);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	for (unsigned int i = 0; vm->vcpu && i < vm->cfg.cpu.n_vcpus; i++)
		vcpu_exit(&vm->vcpu[i]);
	free(vm->vcpu);
	for (unsigned int i = 0; i < vm->n_devs; i++)
		irq_exit(&vm->slot[i].irq);
	irq_exit(&vm->irq_serial);
	irq_exit(&vm->irq_i8042);
	serial_exit(&vm->serial);
	dirty_exit(vm);
	pager_free(vm->cfg.pager);
	gmem_exit(&vm->mem);
	if (vm->has_base)
		fds_release(FD_BASE);
	if (vm->has_kvm) {
		fds_release(FD_VM);
		fds_release(FD_KVM);
	}
	free(vm);
}
