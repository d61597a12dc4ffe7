/* SPDX-License-Identifier: Apache-2.0 */
/*
 * saved.h: what a snapshot holds of a machine without its virtio devices and
 * without its RAM, and how it gets in and out.
 *
 * Saving: saved_capture(), the guest paused, then the describe functions.
 * Loading: those functions, then vm_build() with vm_config.saved. Helper
 * thread.
 */
#ifndef VMM_SAVED_H
#define VMM_SAVED_H

#include <stdbool.h>

#include "vmm/x86/layout.h"
#include "vmm/x86/state.h"

struct archive;
struct err;
struct vm;

struct saved {
	struct kvm_caps caps;
	struct cpuid cpuid;
	struct cpuid forced; /* see cpuid_find_forced() */
	struct chip_state chips;
	struct vcpu_state *vcpu; /* of n_vcpus */
	unsigned int n_vcpus;
	bool realtime; /* loading: kvmclock follows the time of day */
};

/* Room for the state of that many vCPUs; saved_free() accepts NULL. */
int saved_new(struct saved **out, unsigned int n_vcpus, struct err *e);
void saved_free(struct saved *s);

/* Read everything from KVM. */
int saved_capture(struct saved *s, struct vm *vm, struct err *e);

/*
 * Put it into the vCPUs and chips of a machine that was just made; refuses, by
 * name, what this host lacks. That KVM has s->caps was checked before.
 */
int saved_apply(struct saved *s, struct vm *vm, struct err *e);

#endif
