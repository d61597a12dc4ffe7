/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "base/archive.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "vmm/gmem.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/state.h"

#define LEAF_BRAND 0x80000002U

/* ---- what the file says ---- */

static int broken(const char *what, unsigned int index, struct err *e)
{
	return err_set(e, -EBADMSG, "The section of %s %u is missing or broken",
		       what, index);
}

static int read_cpuid(const struct snapshot *s, struct cpuid *c, struct err *e)
{
	struct archive a = state_find(&s->file, TAG_CPUID, 0);

	cpuid_describe(c, &a);
	return archive_ok(&a) ? 0 : broken("CPUID", 0, e);
}

/* Of a snapshot that has none, none were. */
static int read_forced(const struct snapshot *s, struct cpuid *c, struct err *e)
{
	struct archive a = state_find(&s->file, TAG_FORCE, 0);

	if (a.failed)
		return 0;
	cpuid_describe(c, &a);
	return archive_ok(&a) ? 0 : broken("CPUID by template", 0, e);
}

static int read_vcpu(const struct snapshot *s, unsigned int i,
		     struct vcpu_state *v, struct err *e)
{
	struct archive a = state_find(&s->file, TAG_VCPU, i);

	memset(v, 0, sizeof(*v));
	vcpu_state_describe(v, &a);
	return archive_ok(&a) ? 0 : broken("vCPU", i, e);
}

static unsigned int count_vcpus(const struct snapshot *s)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < s->file.n_sections; i++)
		n += s->file.section[i].tag == TAG_VCPU;
	return n;
}

static void read_names(struct cpuid *table, struct snapshot_cpu *c)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(table, 0, 0);

	if (x) {
		memcpy(c->vendor, &x->ebx, 4);
		memcpy(c->vendor + 4, &x->edx, 4);
		memcpy(c->vendor + 8, &x->ecx, 4);
	}
	for (uint32_t i = 0; i < 3; i++) {
		x = cpuid_find(table, LEAF_BRAND + i, 0);
		if (x)
			memcpy(c->brand + (size_t)16 * i, &x->eax, 16);
	}
	x = cpuid_find(table, 1, 0);
	if (!x)
		return;
	c->stepping = x->eax & 0xf;
	c->model = (x->eax >> 4 & 0xf) | (x->eax >> 12 & 0xf0);
	c->family = x->eax >> 8 & 0xf;
	if (c->family == 0xf)
		c->family += x->eax >> 20 & 0xff;
}

static uint64_t xcr0_of(const struct vcpu_state *v)
{
	for (uint32_t i = 0; i < v->xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++) {
		if (v->xcrs.xcrs[i].xcr == 0)
			return v->xcrs.xcrs[i].value;
	}
	return 0;
}

int snapshot_cpu_read(const struct snapshot *s, struct snapshot_cpu *c,
		      struct err *e)
{
	cleanup_free struct vcpu_state *v = calloc(1, sizeof(*v));
	cleanup_free struct cpuid *table = calloc(1, sizeof(*table));
	int ret;

	*c = (struct snapshot_cpu){.n_vcpus = count_vcpus(s)};
	if (!v || !table)
		return err_code(e, -ENOMEM, "State of the vCPUs");
	ret = read_cpuid(s, table, e);
	if (ret == 0)
		ret = read_vcpu(s, 0, v, e);
	if (ret < 0)
		return ret;
	read_names(table, c);
	c->tsc_khz = v->tsc_khz;
	c->xcr0 = xcr0_of(v);
	c->n_msrs = v->n_msrs;
	c->xsave_bytes = v->xsave_bytes;
	return 0;
}

/* ---- this host ---- */

struct check {
	const struct snapshot *s;
	unsigned int n_vcpus;
	struct cpuid saved, forced, host;
	struct vcpu_state vcpu, part;
	struct cpu_host kvm;
	struct gmem mem;
	int kvm_fd, vm_fd;
	snapshot_tell *tell;
	void *arg;
	int refusals;
};

/* ret is what a function of the load's has said. */
static void report(struct check *c, const char *what, int ret,
		   const struct err *e)
{
	c->refusals += ret < 0;
	c->tell(c->arg, what, ret < 0 ? e : NULL);
}

/* The same, of vCPU i. */
static void report_vcpu(struct check *c, const char *what, unsigned int i,
			int ret, const struct err *e)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s of vCPU %u", what, i);
	report(c, name, ret, e);
}

/* What this guest needs; if it does not say, what the monitor does. */
static int check_caps(struct check *c, const struct cpu_config *cfg,
		      struct err *e)
{
	struct archive a = state_find(&c->s->file, TAG_CAPS, 0);
	struct kvm_caps caps;
	struct err refusal;
	int ret;

	kvm_caps_of(&caps, cfg);
	if (!a.failed) {
		kvm_caps_describe(&caps, &a);
		if (!archive_ok(&a))
			return broken("KVM capabilities", 0, e);
	}
	ret = kvm_caps_check(&caps, c->kvm_fd, &refusal);
	report(c, "capabilities of KVM", ret, &refusal);
	return 0;
}

static void check_number(struct check *c)
{
	int most = ioctl(c->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	struct err e;
	int ret = 0;

	if (most >= 0 && c->n_vcpus > (unsigned int)most)
		ret = err_set(&e, -ENOTSUP,
			      "The snapshot has %u vCPUs, KVM allows %d",
			      c->n_vcpus, most);
	report(c, "number of vCPUs", ret, &e);
}

static void check_cpuid(struct check *c, const struct cpu_config *cfg)
{
	struct err e;
	int ret = cpu_host_read(&c->kvm, c->kvm_fd, &e);

	if (ret == 0)
		ret = cpuid_build(&c->host, &c->kvm, cfg, &e);
	if (ret == 0)
		ret = cpuid_check_subset(&c->saved, &c->forced, &c->host, &e);
	report(c, "CPUID", ret, &e);
}

/* Some registers name RAM: it has to be there, and stays untouched. */
static int add_memory(struct check *c, struct err *e)
{
	int ret = gmem_reserve(&c->mem, c->s->file.mem_bytes, e);

	if (ret == 0)
		ret = gmem_back(&c->mem, GMEM_ANON, e);
	for (unsigned int i = 0; ret == 0 && i < c->mem.n_regions; i++) {
		const struct gmem_region *r = &c->mem.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->bytes,
			.userspace_addr = (uintptr_t)r->hva,
		};

		if (ioctl(c->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			ret = err_sys(e, "KVM_SET_USER_MEMORY_REGION");
	}
	return ret;
}

static int add_chips(const struct check *c, struct err *e)
{
	const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

	if (ioctl(c->vm_fd, KVM_SET_TSS_ADDR, GPA_TSS) < 0 ||
	    ioctl(c->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0 ||
	    ioctl(c->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return err_sys(e, "Cannot make interrupt chips");
	return 0;
}

static uint64_t host_xcr0(struct check *c)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(&c->host, 0xd, 0);

	return x ? (uint64_t)x->edx << 32 | x->eax : 0;
}

/* The MSRs one by one, so that each that is refused is named. */
static void check_msrs(struct check *c, unsigned int vcpu, int fd)
{
	struct err e;
	int refused = 0;

	c->part = c->vcpu;
	c->part.n_msrs = 1;
	for (uint32_t i = 0; i < c->vcpu.n_msrs; i++) {
		c->part.msr[0] = c->vcpu.msr[i];
		if (vcpu_state_set(&c->part, fd, false, &e) == 0)
			continue;
		report_vcpu(c, "MSR", vcpu, -1, &e);
		refused++;
	}
	if (refused == 0)
		report_vcpu(c, "MSRs", vcpu, 0, NULL);
}

/*
 * A load stops at the first refusal. Here what is refused is left out, so that
 * the rest is looked at as well: all but MSRs and TSC, then these. Nothing is
 * set before vcpu_state_check() has passed it.
 */
static void check_registers(struct check *c, unsigned int i, int fd)
{
	int host = ioctl(fd, KVM_GET_TSC_KHZ, 0);
	uint32_t khz = c->vcpu.tsc_khz;
	struct err e;
	int ret = vcpu_state_check(&c->vcpu, host_xcr0(c), &e);

	c->vcpu.tsc_khz = host > 0 ? (uint32_t)host : 0;
	c->part = c->vcpu;
	c->part.n_msrs = 0;
	if (ret == 0)
		ret = vcpu_state_set(&c->part, fd, false, &e);
	report_vcpu(c, "registers", i, ret, &e);
	if (ret < 0)
		return;
	check_msrs(c, i, fd);
	c->part.n_msrs = 0;
	c->part.tsc_khz = khz;
	ret = vcpu_state_set(&c->part, fd, tsc_scales(c->kvm_fd), &e);
	report_vcpu(c, "TSC", i, ret, &e);
}

static int check_vcpu(struct check *c, unsigned int i,
		      const struct cpu_config *cfg, struct err *e)
{
	cleanup_fd int fd = ioctl(c->vm_fd, KVM_CREATE_VCPU, (unsigned long)i);
	struct err refusal;
	int ret = read_vcpu(c->s, i, &c->vcpu, e);

	if (ret < 0)
		return ret;
	if (fd < 0)
		return err_sys(e, "KVM_CREATE_VCPU %u", i);
	ret = cpuid_set(&c->saved, fd, i, cfg, &refusal);
	if (ret < 0)
		report_vcpu(c, "CPUID", i, ret, &refusal);
	else
		check_registers(c, i, fd);
	return 0;
}

static void check_chips(struct check *c)
{
	struct archive a = state_find(&c->s->file, TAG_CHIPS, 0);
	struct chip_state chips = {0};
	struct err e;
	int ret;

	chip_state_describe(&chips, &a);
	ret = archive_ok(&a) ? chip_state_set(&chips, c->vm_fd, false, &e)
			     : broken("chips", 0, &e);
	report(c, "interrupt chips and clock", ret, &e);
}

static int check_machine(struct check *c, const struct cpu_config *cfg,
			 struct err *e)
{
	struct err refusal;
	int ret;

	c->vm_fd = ioctl(c->kvm_fd, KVM_CREATE_VM, 0);
	if (c->vm_fd < 0)
		return err_sys(e, "Cannot create a VM");
	ret = add_memory(c, &refusal);
	report(c, "memory", ret, &refusal);
	ret = add_chips(c, e);
	for (unsigned int i = 0; ret == 0 && i < c->n_vcpus; i++)
		ret = check_vcpu(c, i, cfg, e);
	if (ret == 0)
		check_chips(c);
	return ret;
}

static int check_all(struct check *c, struct err *e)
{
	const struct cpu_config cfg = {.n_vcpus = c->n_vcpus};
	int ret;

	c->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (c->kvm_fd < 0)
		return err_sys(e, "/dev/kvm");
	ret = read_cpuid(c->s, &c->saved, e);
	if (ret == 0)
		ret = read_forced(c->s, &c->forced, e);
	if (ret < 0)
		return ret;
	ret = check_caps(c, &cfg, e);
	if (ret < 0)
		return ret;
	check_number(c);
	check_cpuid(c, &cfg);
	return check_machine(c, &cfg, e);
}

int snapshot_try_host(const struct snapshot *s, snapshot_tell *tell, void *arg,
		      struct err *e)
{
	struct check *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return err_code(e, -ENOMEM, "State of the vCPUs");
	c->s = s;
	c->n_vcpus = count_vcpus(s);
	c->kvm_fd = c->vm_fd = -1;
	c->tell = tell;
	c->arg = arg;
	if (c->n_vcpus == 0 || c->n_vcpus > MAX_VCPUS)
		ret = err_set(e, -EBADMSG, "%u vCPUs, 1 to %d are allowed",
			      c->n_vcpus, MAX_VCPUS);
	else
		ret = check_all(c, e);
	if (ret == 0)
		ret = c->refusals;
	fd_close(&c->vm_fd);
	fd_close(&c->kvm_fd);
	gmem_exit(&c->mem);
	free(c);
	return ret;
}
