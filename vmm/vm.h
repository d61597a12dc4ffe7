/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h: one virtual machine. All of its state hangs off this structure.
 *
 * Life: vm_new() (nothing but numbers and eventfds), devices are added,
 * vm_build() on the helper thread (KVM, RAM, kernel, vCPU threads parked),
 * vm_run() on the loop. A build that fails leaves the process able to try again
 * with another vm_new().
 *
 * Threads: the loop thread, except where a function says otherwise.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "vmm/bus.h"
#include "vmm/dirty.h"
#include "vmm/gmem.h"
#include "vmm/i8042.h"
#include "vmm/irq.h"
#include "vmm/kernel.h"
#include "vmm/power.h"
#include "vmm/serial.h"
#include "vmm/boottimer.h"
#include "vmm/vcpu.h"
#include "vmm/x86/cpu.h"
#include "vmm/x86/layout.h"

struct err;
struct filter;
struct pager;
struct probe;
struct saved;
struct virtio_dev;

/* A virtio-mmio window: its address, its line, its doorbells. */
struct vm_slot {
	uint64_t gpa;
	struct irq irq;
};

struct vm_config {
	uint64_t mem_bytes;
	enum gmem_backing backing;
	bool track_dirty;
	struct cpu_config cpu;
	int kernel_fd;	       /* borrowed */
	int initrd_fd;	       /* borrowed, -1: none */
	const char *boot_args; /* NULL: the default */
	const char *root_arg;  /* "root=/dev/vda rw", NULL: none */
	bool boot_timer;
	const struct filter *filter; /* of vCPU threads; NULL: none */
	struct probe *probe; /* started; NULL: vm_build() reads for itself */
	uint64_t start_us;   /* of the process, for the boot timer */
	uint64_t start_cpu_us;
	struct saved *saved; /* go on from a snapshot: no kernel is loaded */
	int mem_fd;	     /* then: its memory file; borrowed */
	struct pager *pager; /* or who brings it; NULL: the file. Taken */
};

enum vm_state { VM_NOT_STARTED, VM_RUNNING, VM_PAUSED };

/* Why a guest ended: the first reason stays. */
enum vm_end {
	VM_END_NONE,
	VM_END_RESET,	 /* i8042 reset or ACPI power-off: exit code 0 */
	VM_END_SHUTDOWN, /* triple fault: 1 */
	VM_END_ERROR,	 /* KVM internal error, failed entry: 1 */
};

/*
 * What a machine tells its owner, on the loop thread; the owner embeds it.
 */
struct vm_owner {
	/* The guest has ended: once. */
	void (*ended)(struct vm_owner *o, enum vm_end why);
	/* Every vCPU has parked: once a vm_pause(). */
	void (*parked)(struct vm_owner *o);
	/* Every device has drained: once a virtio_pause_all(). */
	void (*drained)(struct vm_owner *o);
	/*
	 * The page server has gone, and any thread may wait for it for ever:
	 * end the process. On a thread of its own (pager.h).
	 */
	void (*lost)(struct vm_owner *o);
};

struct vm {
	struct loop *loop;
	struct vm_config cfg;
	struct gmem mem;
	struct dirty dirty;
	struct cpuid cpuid;
	struct cpuid forced;  /* by a template: cpuid_find_forced() */
	struct kvm_caps caps; /* of the snapshot that it comes from */
	char release[65];     /* of the host's kernel */
	struct kernel kernel;
	struct initrd initrd;
	struct bus pio;
	struct bus mmio;
	struct serial serial;
	struct i8042 i8042;
	struct power power;
	struct boottimer boottimer;
	struct irq irq_serial;
	struct irq irq_i8042;
	struct vm_slot slot[MAX_VIRTIO_DEVS];
	struct virtio_dev *dev[MAX_VIRTIO_DEVS]; /* owned by the caller */
	unsigned int n_devs;
	struct vcpu *vcpu; /* cfg.cpu.n_vcpus of them */
	enum vm_state state;
	bool has_kvm;  /* FD_KVM, perhaps FD_VM, are ours */
	bool has_base; /* FD_BASE is what RAM was mapped from, privately */
	int (*bind_devs)(struct vm *vm, struct err *e); /* NULL: none */

	/* A vCPU that ends the guest stores its reason here, any thread. */
	int end;
	struct loop_msg end_msg;
	struct vm_owner *owner; /* set before vm_run() */
	struct loop_msg parked_msg;
	unsigned int n_running;	 /* vCPUs that have yet to park */
	unsigned int n_draining; /* devices that have yet to drain */
};

/*
 * Loop thread. cfg is copied; its borrowed parts must live as long, what is
 * taken is so after an error, too.
 */
int vm_new(struct vm **out, struct loop *l, const struct vm_config *cfg,
	   struct err *e);

/*
 * Give a virtio device its window and line, in order of the calls. *slot lives
 * as long as the vm. -ENOSPC when all lines are taken, with Firecracker's text.
 * bus_dev answers MMIO in the window.
 */
int vm_add_dev(struct vm *vm, struct virtio_dev *dev, struct bus_dev *bus_dev,
	       struct vm_slot **slot, struct err *e);

/*
 * Create VM, RAM and vCPUs, load the kernel, start the vCPU threads, parked.
 * Helper thread. The devices were added before; vm->bind_devs is called on the
 * way to bind their doorbells, which is cheap only before there are vCPUs.
 */
int vm_build(struct vm *vm, struct err *e);

/*
 * Tell KVM of RAM: when it is built, and later with other flags, which may wait
 * for milliseconds. Helper thread.
 */
int vm_set_slots(struct vm *vm, uint32_t flags, struct err *e);

/* Bind an eventfd to a write of `queue` to the window's QueueNotify. */
int vm_bind_doorbell(struct vm *vm, const struct vm_slot *slot, uint32_t queue,
		     int fd, struct err *e);

/* Let the vCPUs run: first start, and resume. */
void vm_run(struct vm *vm);

/*
 * Ask every vCPU to park; owner->parked is called when all have. Resuming a
 * machine whose pause is under way is not allowed.
 */
void vm_pause(struct vm *vm);

/* End the guest: remembers why, wakes the loop. Any thread, any time. */
void vm_end(struct vm *vm, enum vm_end why);

/* Stop the vCPU threads, free everything; accepts NULL and half-built. */
void vm_free(struct vm *vm);

#endif
