/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "vmm/vm.h"

int saved_new(struct saved **out, unsigned int n_vcpus, struct err *e)
{
	struct saved *s = calloc(1, sizeof(*s));

	if (s)
		s->vcpu = calloc(n_vcpus, sizeof(*s->vcpu));
	if (!s || !s->vcpu) {
		saved_free(s);
		return err_code(e, -ENOMEM, "State of the vCPUs");
	}
	s->n_vcpus = n_vcpus;
	*out = s;
	return 0;
}

void saved_free(struct saved *s)
{
	if (!s)
		return;
	free(s->vcpu);
	free(s);
}

/* A machine that was restored needs what it needed before. */
static void add_caps(struct saved *s, const struct vm *vm,
		     const struct state_host *host)
{
	if (vm->caps.n > 0)
		s->caps = vm->caps;
	else
		kvm_caps_of(&s->caps, &vm->cfg.cpu);
	kvm_caps_add(&s->caps, KVM_CAP_SREGS2);
	kvm_caps_add(&s->caps, KVM_CAP_GET_TSC_KHZ);
	kvm_caps_add(&s->caps, KVM_CAP_TSC_DEADLINE_TIMER);
	if (host->xsave_bytes > sizeof(struct kvm_xsave))
		kvm_caps_add(&s->caps, KVM_CAP_XSAVE2);
}

int saved_capture(struct saved *s, struct vm *vm, struct err *e)
{
	struct state_host host;
	int ret = state_host_read(&host, FD_KVM, e);

	add_caps(s, vm, &host);
	s->cpuid = vm->cpuid;
	s->forced = vm->forced;
	for (unsigned int i = 0; ret == 0 && i < s->n_vcpus; i++)
		ret = vcpu_state_get(&s->vcpu[i], vm->vcpu[i].fd, &host, e);
	return ret == 0 ? chip_state_get(&s->chips, FD_VM, e) : ret;
}

/* Clients look for these lines: the bytes of the vendor's name. */
static void log_vendor(const char *whose, struct cpuid *c)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(c, 0, 0);
	const uint32_t reg[3] = {x ? x->ebx : 0, x ? x->edx : 0,
				 x ? x->ecx : 0};
	char text[64] = "";
	size_t at = 0;

	for (size_t i = 0; i < sizeof(reg); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u",
				       i ? ", " : "",
				       reg[i / 4] >> 8 * (i % 4) & 0xff);
	log_info("%s CPU vendor ID: [%s]", whose, text);
}

static uint64_t xcr0_of(struct cpuid *host)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(host, 0xd, 0);

	return x ? (uint64_t)x->edx << 32 | x->eax : 0;
}

/* vm->cpuid is what cpuid_build() makes on this host. */
static int check(struct saved *s, struct vm *vm, struct err *e)
{
	int ret;

	log_vendor("Host", &vm->cpuid);
	log_vendor("Snapshot", &s->cpuid);
	ret = cpuid_check_subset(&s->cpuid, &s->forced, &vm->cpuid, e);
	for (unsigned int i = 0; ret == 0 && i < s->n_vcpus; i++)
		ret = vcpu_state_check(&s->vcpu[i], xcr0_of(&vm->cpuid), e);
	return ret;
}

int saved_apply(struct saved *s, struct vm *vm, struct err *e)
{
	bool scales = tsc_scales(FD_KVM);
	int ret = check(s, vm, e);

	if (ret < 0)
		return ret;
	vm->caps = s->caps;
	vm->cpuid = s->cpuid;
	vm->forced = s->forced;
	for (unsigned int i = 0; ret == 0 && i < s->n_vcpus; i++)
		ret = cpuid_set(&vm->cpuid, vm->vcpu[i].fd, i, &vm->cfg.cpu, e);
	for (unsigned int i = 0; ret == 0 && i < s->n_vcpus; i++)
		ret = vcpu_state_set(&s->vcpu[i], vm->vcpu[i].fd, scales, e);
	if (ret == 0)
		ret = chip_state_set(&s->chips, FD_VM, s->realtime, e);
	/* KVM does not save that the guest is to be told of its pause. */
	for (unsigned int i = 0; ret == 0 && i < s->n_vcpus; i++)
		vcpu_note_pause(&vm->vcpu[i]);
	return ret;
}
