/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build.c: from a configuration to vCPUs that wait for the word to run.
 *
 * The order is measured: KVM_CREATE_VM while the process is small, memory slots
 * before the interrupt chips (4-6 ms otherwise), doorbells before the vCPUs.
 * Where the helper thread has read what CPUID offers before, this does not do
 * it again (probe.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "vmm/cmdline.h"
#include "vmm/generation.h"
#include "vmm/pager.h"
#include "vmm/probe.h"
#include "vmm/saved.h"
#include "vmm/vm.h"
#include "vmm/x86/boot.h"

#define CREATE_VM_TRIES 5

/* A snapshot knows what its guest needs, without what a template removed. */
static int check_caps(const struct vm *vm, struct err *e)
{
	if (!vm->cfg.saved)
		return cpu_check_caps(FD_KVM, &vm->cfg.cpu, e);
	cpu_allow_amx();
	return kvm_caps_check(&vm->cfg.saved->caps, FD_KVM, e);
}

/* Snapshots record it; their filter has no row for it. */
static void note_release(struct vm *vm)
{
	struct utsname u;

	if (uname(&u) == 0)
		(void)snprintf(vm->release, sizeof(vm->release), "%s",
			       u.release);
}

static int create_vm(struct vm *vm, struct err *e)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int ret;

	note_release(vm);
	if (fd < 0)
		return err_sys(e, "Kvm error: Error creating KVM object");
	ret = fds_move(fd, FD_KVM, e);
	if (ret < 0)
		return ret;
	vm->has_kvm = true;
	ret = check_caps(vm, e);
	if (ret < 0)
		return ret;
	for (int i = 0; i < CREATE_VM_TRIES; i++) {
		fd = ioctl(FD_KVM, KVM_CREATE_VM, 0);
		if (fd >= 0 || errno != EINTR)
			break;
	}
	if (fd < 0)
		return err_sys(e, "Cannot create a VM");
	return fds_move(fd, FD_VM, e) < 0 ? e->code : 0;
}

int vm_set_slots(struct vm *vm, uint32_t flags, struct err *e)
{
	for (unsigned int i = 0; i < vm->mem.n_regions; i++) {
		const struct gmem_region *r = &vm->mem.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = flags,
			.guest_phys_addr = r->gpa,
			.memory_size = r->bytes,
			.userspace_addr = (uintptr_t)r->hva,
		};

		if (ioctl(FD_VM, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_sys(e, "Cannot set memory slot %u", i);
	}
	return 0;
}

/* It stays open: a snapshot need not write what is in it. */
static int back_by_file(struct vm *vm, struct err *e)
{
	int fd = fcntl(vm->cfg.mem_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "Memory file");
	if (fds_move(fd, FD_BASE, e) < 0)
		return e->code;
	vm->has_base = true;
	return gmem_back_file(&vm->mem, FD_BASE, e);
}

static int back_memory(struct vm *vm, struct err *e)
{
	if (vm->cfg.saved && !vm->cfg.pager)
		return back_by_file(vm, e);
	return gmem_back(&vm->mem, vm->cfg.backing, e);
}

static int add_memory(struct vm *vm, struct err *e)
{
	int ret;

	ret = gmem_reserve(&vm->mem, vm->cfg.mem_bytes, e);
	if (ret == 0)
		ret = back_memory(vm, e);
	if (ret < 0)
		return err_wrap(e, "Invalid Memory Configuration: ");
	if (vm->cfg.pager && pager_serve(vm->cfg.pager, &vm->mem, e) < 0)
		return err_wrap(e, PAGER_FAULT);
	if (!vm->cfg.track_dirty)
		return vm_set_slots(vm, 0, e);
	ret = dirty_arm(vm, e);
	return ret == 0 ? dirty_start(vm, e) : ret;
}

static int add_chips(struct vm *vm, struct err *e)
{
	const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity = GPA_IDENTITY;
	int ret;

	if (ioctl(FD_VM, KVM_SET_TSS_ADDR, GPA_TSS) < 0)
		return err_sys(e, "KVM_SET_TSS_ADDR");
	if (ioctl(FD_VM, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return err_sys(e, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(FD_VM, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_sys(e, "KVM_CREATE_IRQCHIP");
	if (ioctl(FD_VM, KVM_CREATE_PIT2, &pit) < 0)
		return err_sys(e, "KVM_CREATE_PIT2");
	ret = irq_bind(&vm->irq_serial, FD_VM, e);
	if (ret == 0)
		ret = irq_bind(&vm->irq_i8042, FD_VM, e);
	for (unsigned int i = 0; ret == 0 && i < vm->n_devs; i++)
		ret = irq_bind(&vm->slot[i].irq, FD_VM, e);
	if (ret == 0 && vm->bind_devs)
		ret = vm->bind_devs(vm, e);
	return ret;
}

int vm_bind_doorbell(struct vm *vm, const struct vm_slot *slot, uint32_t queue,
		     int fd, struct err *e)
{
	struct kvm_ioeventfd bind = {
		.datamatch = queue,
		.addr = slot->gpa + MMIO_QUEUE_NOTIFY,
		.len = sizeof(uint32_t),
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	(void)vm;
	if (ioctl(FD_VM, KVM_IOEVENTFD, &bind) < 0)
		return err_sys(e, "KVM_IOEVENTFD for queue %u", queue);
	return 0;
}

static int compose_cmdline(const struct vm *vm, struct cmdline *c,
			   struct err *e)
{
	int ret = cmdline_init(c, vm->cfg.boot_args, e);

	if (ret == 0)
		ret = cmdline_add(c, e, "pci=off");
	if (ret == 0 && vm->cfg.root_arg)
		ret = cmdline_add(c, e, "%s", vm->cfg.root_arg);
	for (unsigned int i = 0; ret == 0 && i < vm->n_devs; i++)
		ret = cmdline_add(c, e, "virtio_mmio.device=4K@0x%llx:%u",
				  (unsigned long long)vm->slot[i].gpa,
				  vm->slot[i].irq.gsi);
	return ret < 0 ? err_wrap(e, "Invalid kernel command line: ") : 0;
}

static int load_kernel(struct vm *vm, struct err *e)
{
	int ret;

	ret = kernel_load(&vm->kernel, &vm->mem, vm->cfg.kernel_fd, e);
	if (ret < 0)
		return err_wrap(e, "System configuration error: Cannot load "
				   "kernel due to invalid memory configuration "
				   "or invalid kernel image: ");
	if (vm->kernel.protocol == BOOT_PVH)
		log_debug("Kernel loaded using PVH boot protocol");
	if (vm->cfg.initrd_fd < 0)
		return 0;
	ret = initrd_load(&vm->initrd, &vm->mem, &vm->kernel, vm->cfg.initrd_fd,
			  e);
	return ret < 0 ? err_wrap(e, "Error with initrd initialization: ") : 0;
}

static int write_boot_data(struct vm *vm, struct err *e)
{
	struct boot_dev dev[MAX_VIRTIO_DEVS];
	struct cmdline cmdline;
	const struct boot_info info = {
		.kernel = &vm->kernel,
		.initrd = &vm->initrd,
		.cmdline = &cmdline,
		.dev = dev,
		.n_devs = vm->n_devs,
		.n_vcpus = vm->cfg.cpu.n_vcpus,
	};
	int ret;

	for (unsigned int i = 0; i < vm->n_devs; i++)
		dev[i] = (struct boot_dev){
			.gpa = vm->slot[i].gpa,
			.gsi = vm->slot[i].irq.gsi,
		};
	ret = compose_cmdline(vm, &cmdline, e);
	if (ret == 0)
		ret = boot_write(&vm->mem, &info, e);
	if (ret == 0)
		ret = boot_tables_write(&vm->mem, &vm->kernel, e);
	if (ret == 0)
		ret = generation_write(&vm->mem, e);
	return ret;
}

static int start_threads(struct vm *vm, struct err *e)
{
	unsigned int n = vm->cfg.cpu.n_vcpus;
	int ret = 0;

	vm->vcpu = calloc(n, sizeof(*vm->vcpu));
	if (!vm->vcpu)
		return err_code(e, -ENOMEM, "vCPUs");
	for (unsigned int i = 0; i < n; i++)
		vm->vcpu[i].fd = -1;
	for (unsigned int i = 0; ret == 0 && i < n; i++)
		ret = vcpu_init(&vm->vcpu[i], vm, i, e);
	return ret;
}

static int add_vcpus(struct vm *vm, struct err *e)
{
	int run_bytes = ioctl(FD_KVM, KVM_GET_VCPU_MMAP_SIZE, 0);
	int ret = 0;

	if (run_bytes < 0)
		return err_sys(e, "KVM_GET_VCPU_MMAP_SIZE");
	for (unsigned int i = 0; ret == 0 && i < vm->cfg.cpu.n_vcpus; i++)
		ret = vcpu_create(&vm->vcpu[i], (size_t)run_bytes, e);
	return ret;
}

static int configure_vcpu(struct vm *vm, unsigned int i, struct err *e)
{
	int fd = vm->vcpu[i].fd;
	int ret;

	ret = cpuid_set(&vm->cpuid, fd, i, &vm->cfg.cpu, e);
	if (ret == 0)
		ret = msr_set_boot(fd, &vm->cfg.cpu, e);
	if (ret == 0)
		ret = regs_set_boot(fd, i, &vm->kernel, e);
	return ret;
}

static int build_cpuid_of(struct vm *vm, const struct cpu_host *host,
			  struct err *e)
{
	struct cpu_config plain = vm->cfg.cpu;
	struct cpuid own;
	int ret = cpuid_build(&vm->cpuid, host, &vm->cfg.cpu, e);

	if (ret < 0 || !plain.custom)
		return ret;
	plain.custom = NULL;
	plain.name = CPU_TEMPLATE_NONE;
	ret = cpuid_build(&own, host, &plain, e);
	if (ret == 0)
		cpuid_find_forced(&vm->forced, &vm->cpuid, &own);
	return ret;
}

static int read_and_build_cpuid(struct vm *vm, struct err *e)
{
	struct cpu_host host = {0};
	int ret = cpu_host_read(&host, FD_KVM, e);

	return ret == 0 ? build_cpuid_of(vm, &host, e) : ret;
}

static int build_cpuid(struct vm *vm, struct err *e)
{
	const struct cpu_host *host = NULL;

	if (vm->cfg.probe)
		host = probe_get(vm->cfg.probe);
	if (!host)
		return read_and_build_cpuid(vm, e);
	return build_cpuid_of(vm, host, e);
}

static int configure_vcpus(struct vm *vm, struct err *e)
{
	int ret = build_cpuid(vm, e);

	if (ret == 0 && vm->cfg.saved) {
		ret = saved_apply(vm->cfg.saved, vm, e);
		return ret == 0 ? generation_next(&vm->mem, FD_VM, e) : ret;
	}
	for (unsigned int i = 0; ret == 0 && i < vm->cfg.cpu.n_vcpus; i++)
		ret = configure_vcpu(vm, i, e);
	return ret;
}

int vm_build(struct vm *vm, struct err *e)
{
	int ret;

	ret = create_vm(vm, e);
	if (ret == 0)
		ret = add_memory(vm, e);
	if (ret == 0 && !vm->cfg.saved)
		ret = load_kernel(vm, e);
	if (ret == 0)
		ret = add_chips(vm, e);
	if (ret == 0)
		ret = start_threads(vm, e);
	if (ret == 0)
		ret = add_vcpus(vm, e);
	if (ret == 0 && !vm->cfg.saved)
		ret = write_boot_data(vm, e);
	if (ret == 0)
		ret = configure_vcpus(vm, e);
	return ret;
}
