/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_kvm.h: a stand-in for KVM that takes everything, reads all of what it is
 * given (so that sanitizers see it), and ends the test at an ioctl that is not
 * in its list.
 *
 * A program that includes it has open() and ioctl() of its own, which the
 * monitor's layers then call. KVM's descriptors are memory files, so that the
 * run page can be mapped. One thread; not for guests that run.
 */
#ifndef TESTS_SNAPSHOT_FAKE_KVM_H
#define TESTS_SNAPSHOT_FAKE_KVM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/num.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/state.h"

#define FAKE_RUN_BYTES	 12288
#define FAKE_TSC_KHZ	 2000000
#define FAKE_XSAVE_BYTES 4096

static struct fake_kvm {
	unsigned long calls; /* all of them */
	unsigned long fail;  /* fail the one of this number; 0: none */
	bool failed;	     /* it came */
	unsigned long lacks; /* a capability; 0: none */
	unsigned char sink;  /* of what was read */
} fake_kvm;

_Noreturn static inline void fake_abort(const char *what, unsigned long n)
{
	(void)fprintf(stderr, "stand-in for KVM: %s 0x%lx\n", what, n);
	abort();
}

static inline void fake_read(const void *p, size_t n)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++)
		fake_kvm.sink ^= b[i];
}

static inline int fake_memfd(const char *name, size_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		fake_abort("no memory file", bytes);
	return fd;
}

/* Leaves that have feature bits, and the vendor. */
static inline int fake_cpuid(struct kvm_cpuid2 *c)
{
	static const struct kvm_cpuid_entry2 have[] = {
		{.function = 0,
		 .eax = 0xd,
		 .ebx = 0x68747541,
		 .ecx = 0x444d4163,
		 .edx = 0x69746e65},
		{.function = 1,
		 .eax = 0xa20f10,
		 .ebx = 0x800,
		 .ecx = 0xfffa3203,
		 .edx = 0x078bfbff},
		{.function = 7, .flags = 1, .eax = 1, .ebx = 0x219c97a9},
		{.function = 7, .index = 1, .flags = 1},
		{.function = 0xd, .flags = 1, .eax = 7, .ebx = 0x340},
		{.function = 0xd, .index = 1, .flags = 1, .eax = 0xf},
		{.function = 0x40000000, .eax = 0x40000001},
		{.function = 0x40000001, .eax = 0x1007efb},
		{.function = 0x80000000, .eax = 0x80000008},
		{.function = 0x80000001, .ecx = 0x4003f3, .edx = 0x2fd3fbff},
		{.function = 0x80000008, .eax = 0x3030},
	};

	if (c->nent < ARRAY_LEN(have))
		fake_abort("room for CPUID", c->nent);
	memcpy(c->entries, have, sizeof(have));
	c->nent = ARRAY_LEN(have);
	return 0;
}

static inline int fake_msr_list(struct kvm_msr_list *l)
{
	static const uint32_t have[] = {
		0x10,	    0x11,	0x12,	    0x3b,	0x174,
		0x175,	    0x176,	0x277,	    0x6e0,	0x4b564d00,
		0x4b564d01, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
		0xc0000102, 0xc0000103, 0xdeadbeef};

	memcpy(l->indices, have, sizeof(have));
	l->nmsrs = ARRAY_LEN(have);
	return 0;
}

/* Only what a snapshot may set is ever set. */
static inline int fake_set_msrs(const struct kvm_msrs *m)
{
	for (uint32_t i = 0; i < m->nmsrs; i++) {
		if (!msr_saved(m->entries[i].index))
			fake_abort("MSR", m->entries[i].index);
		fake_read(&m->entries[i], sizeof(m->entries[i]));
	}
	return (int)m->nmsrs;
}

static inline int fake_set_cpuid(const struct kvm_cpuid2 *c)
{
	if (c->nent > CPUID_MAX_ENTRIES)
		fake_abort("entries of CPUID", c->nent);
	fake_read(c->entries, c->nent * sizeof(c->entries[0]));
	return 0;
}

/* ioctls whose argument is a struct that is only read, or only written. */
static inline int fake_plain(unsigned long request, void *p)
{
	switch (request) {
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_IDENTITY_MAP_ADDR:
	case KVM_CREATE_PIT2:
	case KVM_IRQFD:
	case KVM_IOEVENTFD:
	case KVM_IRQ_LINE:
	case KVM_SET_PIT2:
	case KVM_SET_CLOCK:
	case KVM_SET_SREGS2:
	case KVM_SET_REGS:
	case KVM_SET_XCRS:
	case KVM_SET_DEBUGREGS:
	case KVM_SET_LAPIC:
	case KVM_SET_VCPU_EVENTS:
	case KVM_SET_MP_STATE:
		fake_read(p, _IOC_SIZE(request));
		return 0;
	case KVM_SET_IRQCHIP: /* the kernel says that it writes: _IOR */
		fake_read(p, sizeof(struct kvm_irqchip));
		return 0;
	case KVM_SET_XSAVE: /* as many as KVM_CAP_XSAVE2 says */
		fake_read(p, FAKE_XSAVE_BYTES);
		return 0;
	case KVM_GET_XSAVE2:
		memset(p, 0, FAKE_XSAVE_BYTES);
		return 0;
	case KVM_GET_IRQCHIP: /* chip_id is the caller's */
		memset(&((struct kvm_irqchip *)p)->chip, 0,
		       sizeof(((struct kvm_irqchip *)p)->chip));
		return 0;
	case KVM_GET_MP_STATE:
	case KVM_GET_REGS:
	case KVM_GET_SREGS2:
	case KVM_GET_XCRS:
	case KVM_GET_DEBUGREGS:
	case KVM_GET_LAPIC:
	case KVM_GET_VCPU_EVENTS:
	case KVM_GET_PIT2:
	case KVM_GET_CLOCK:
		memset(p, 0, _IOC_SIZE(request));
		return 0;
	default:
		fake_abort("unexpected ioctl", request);
	}
}

static inline int fake_capability(unsigned long cap)
{
	if (cap && cap == fake_kvm.lacks)
		return 0;
	return cap == KVM_CAP_XSAVE2 ? FAKE_XSAVE_BYTES : 1;
}

static inline int fake_ioctl(unsigned long request, void *p)
{
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return fake_capability((unsigned long)p);
	case KVM_GET_VCPU_MMAP_SIZE:
		return FAKE_RUN_BYTES;
	case KVM_CREATE_VM:
		return fake_memfd("kvm-vm", 0);
	case KVM_CREATE_VCPU:
		return fake_memfd("kvm-vcpu", FAKE_RUN_BYTES);
	case KVM_GET_SUPPORTED_CPUID:
		return fake_cpuid(p);
	case KVM_GET_MSR_INDEX_LIST:
		return fake_msr_list(p);
	case KVM_GET_TSC_KHZ:
		return FAKE_TSC_KHZ;
	case KVM_GET_MSRS:
		return (int)((struct kvm_msrs *)p)->nmsrs;
	case KVM_SET_MSRS:
		return fake_set_msrs(p);
	case KVM_SET_CPUID2:
		return fake_set_cpuid(p);
	case KVM_SET_TSS_ADDR:
	case KVM_CREATE_IRQCHIP:
	case KVM_SET_TSC_KHZ:
	case KVM_KVMCLOCK_CTRL:
		return 0;
	default:
		return fake_plain(request, p);
	}
}

/* Whether a request belongs to what the descriptor is: its file's name says. */
static inline bool fake_fits(int fd, unsigned long request)
{
	static const char *const name[] = {"kvm", "kvm-vm", "kvm-vcpu"};
	char path[32], is[64] = "";
	int kind = 2;

	if (_IOC_NR(request) < 0x40)
		kind = 0;
	else if (request == KVM_GET_PIT2 || request == KVM_SET_PIT2 ||
		 _IOC_NR(request) < 0x80)
		kind = 1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, is, sizeof(is) - 1) < 0)
		return false;
	(void)strtok(is, " ");
	return !strcmp(is + MIN(strlen(is), strlen("/memfd:")), name[kind]);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *p;

	va_start(args, request);
	p = va_arg(args, void *);
	va_end(args);
	if (request == TUNSETOFFLOAD)
		return 0;
	if (_IOC_TYPE(request) != KVMIO)
		return (int)syscall(SYS_ioctl, fd, request, p);
	if (!fake_fits(fd, request))
		fake_abort("wrong descriptor for ioctl", request);
	if (++fake_kvm.calls == fake_kvm.fail) {
		fake_kvm.failed = true;
		errno = EINVAL;
		return -1;
	}
	return fake_ioctl(request, p);
}

int open(const char *file, int oflag, ...)
{
	mode_t mode = 0;

	if (oflag & O_CREAT) {
		va_list args;

		va_start(args, oflag);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	if (!strcmp(file, "/dev/kvm"))
		return fake_memfd("kvm", 0);
	return (int)syscall(SYS_openat, AT_FDCWD, file, oflag, mode);
}

#endif
