/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_env.h: a virtual machine of the real KVM with one or more vCPUs, for
 * tests of what is set in them. kvm_missing() says whether there is none.
 */
#ifndef TESTS_VMM_KVM_ENV_H
#define TESTS_VMM_KVM_ENV_H

#include "tests/vmm/images.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "vmm/x86/cpu.h"
#include "vmm/x86/layout.h"

#define KVM_ENV_VCPUS 2

struct kvm_env {
	int kvm_fd, vm_fd;
	int vcpu_fd[KVM_ENV_VCPUS];
	struct kvm_run *run; /* of vCPU 0 */
	size_t run_bytes;
	struct gmem m;
};

static inline bool kvm_missing(void)
{
	if (access("/dev/kvm", R_OK | W_OK) == 0)
		return false;
	(void)fprintf(stderr, "skipped: no access to /dev/kvm\n");
	return true;
}

static inline void kvm_env_init(struct kvm_env *k, uint64_t ram_bytes)
{
	struct kvm_userspace_memory_region slot = {.memory_size = ram_bytes};
	int n;

	k->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(k->kvm_fd >= 0);
	k->vm_fd = ioctl(k->kvm_fd, KVM_CREATE_VM, 0);
	assert_true(k->vm_fd >= 0);
	ram_init(&k->m, ram_bytes);
	slot.userspace_addr = (uintptr_t)k->m.region[0].hva;
	assert_int_equal(ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	assert_int_equal(ioctl(k->vm_fd, KVM_SET_TSS_ADDR, GPA_TSS), 0);
	assert_int_equal(ioctl(k->vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
	for (int i = 0; i < KVM_ENV_VCPUS; i++) {
		k->vcpu_fd[i] = ioctl(k->vm_fd, KVM_CREATE_VCPU, i);
		assert_true(k->vcpu_fd[i] >= 0);
	}
	n = ioctl(k->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	assert_true(n > 0);
	k->run_bytes = (size_t)n;
	k->run = mmap(NULL, k->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      k->vcpu_fd[0], 0);
	assert_true(k->run != MAP_FAILED);
}

static inline void kvm_env_exit(struct kvm_env *k)
{
	munmap(k->run, k->run_bytes);
	for (int i = 0; i < KVM_ENV_VCPUS; i++)
		close(k->vcpu_fd[i]);
	close(k->vm_fd);
	close(k->kvm_fd);
	gmem_exit(&k->m);
}

#endif
