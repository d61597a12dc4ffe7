/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/err.h"
#include "base/log.h"
#include "snapshot/origin.h"
#include "snapshot/image.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "virtio/device.h"
#include "virtio/state.h"
#include "vmm/saved.h"
#include "vmm/vm.h"

static int broken(const char *what, unsigned int index, struct err *e)
{
	return err_set(e, -EBADMSG,
		       "Failed to build microVM from snapshot: The section of "
		       "%s %u is missing or broken",
		       what, index);
}

static unsigned int count(const struct snapshot *s, uint32_t tag)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < s->file.n_sections; i++)
		n += s->file.section[i].tag == tag;
	return n;
}

static int wrong_count(const char *what, unsigned int state,
		       unsigned int config, struct err *e)
{
	return err_set(e, -EINVAL,
		       "Failed to build microVM from snapshot: The state has "
		       "%u %s, its configuration %u",
		       state, what, config);
}

/* A section that need not be there. */
static bool find_optional(const struct snapshot *s, uint32_t tag,
			  unsigned int index, struct archive *a)
{
	*a = state_find(&s->file, tag, index);
	return !a->failed;
}

int snapshot_check_devices(const struct snapshot *s, const uint32_t *kind,
			   unsigned int n, struct err *e)
{
	unsigned int have = count(s, TAG_VIRTIO);

	if (have != n)
		return wrong_count("virtio devices", have, n, e);
	for (unsigned int i = 0; i < n; i++) {
		struct archive a = state_find(&s->file, TAG_VIRTIO, i);
		uint32_t is = 0;

		archive_u32(&a, &is);
		if (a.failed)
			return broken("device", i, e);
		if (is != kind[i])
			return err_set(e, -EINVAL,
				       "Failed to build microVM from snapshot: "
				       "Device %u of the state is of virtio's "
				       "type %u, that of its configuration of "
				       "type %u",
				       i, is, kind[i]);
	}
	return 0;
}

int snapshot_drive(const struct snapshot *s, unsigned int i,
		   struct origin_file *f, struct err *e)
{
	struct archive a;

	if (!find_optional(s, TAG_DRIVE, i, &a))
		return 0;
	origin_file_describe(f, &a);
	return archive_ok(&a) ? 1 : broken("the file of drive", i, e);
}

int snapshot_check_host(const struct snapshot *s, struct err *e)
{
	struct origin_host was = {0}, is;
	struct archive a;
	int ret;

	if (!find_optional(s, TAG_HOST, 0, &a))
		return 0;
	origin_host_describe(&was, &a);
	if (!archive_ok(&a))
		return broken("host", 0, e);
	ret = origin_host_read(&is, e);
	if (ret == 0 && origin_host_is_older(&is, &was))
		log_warn("The snapshot was made on Linux %s; this host runs "
			 "%s, which is older",
			 was.release, is.release);
	return ret;
}

/* What its CPU was, and what it needs of KVM: if it does not say, all. */
static int read_cpu(const struct snapshot *s, struct saved *v, struct err *e)
{
	const struct cpu_config any = {0};
	struct archive a;

	kvm_caps_of(&v->caps, &any);
	if (find_optional(s, TAG_CAPS, 0, &a)) {
		kvm_caps_describe(&v->caps, &a);
		if (!archive_ok(&a))
			return broken("KVM capabilities", 0, e);
	}
	if (find_optional(s, TAG_FORCE, 0, &a)) {
		cpuid_describe(&v->forced, &a);
		if (!archive_ok(&a))
			return broken("CPUID by template", 0, e);
	}
	a = state_find(&s->file, TAG_CPUID, 0);
	cpuid_describe(&v->cpuid, &a);
	return archive_ok(&a) ? 0 : broken("CPUID", 0, e);
}

int snapshot_saved(const struct snapshot *s, unsigned int n_vcpus,
		   struct saved **out, struct err *e)
{
	struct saved *v = NULL;
	struct archive a;
	int ret;

	if (count(s, TAG_VCPU) != n_vcpus)
		return wrong_count("vCPUs", count(s, TAG_VCPU), n_vcpus, e);
	ret = saved_new(&v, n_vcpus, e);
	if (ret < 0)
		return ret;
	ret = read_cpu(s, v, e);
	for (unsigned int i = 0; ret == 0 && i < n_vcpus; i++) {
		a = state_find(&s->file, TAG_VCPU, i);
		vcpu_state_describe(&v->vcpu[i], &a);
		if (!archive_ok(&a))
			ret = broken("vCPU", i, e);
	}
	a = state_find(&s->file, TAG_CHIPS, 0);
	chip_state_describe(&v->chips, &a);
	if (ret == 0 && !archive_ok(&a))
		ret = broken("chips", 0, e);
	if (ret == 0)
		*out = v;
	else
		saved_free(v);
	return ret;
}

static int load_device(const struct snapshot *s, struct virtio_dev *d,
		       unsigned int i, struct err *e)
{
	struct archive a = state_find(&s->file, TAG_VIRTIO, i);
	int ret;

	virtio_describe(d, &a);
	if (!archive_ok(&a))
		return broken("device", i, e);
	ret = virtio_restore(d, e);
	if (ret < 0)
		return ret;
	if (find_optional(s, TAG_LIMIT, i, &a)) {
		virtio_describe_limits(d, &a);
		if (!archive_ok(&a))
			return broken("the limits of device", i, e);
	}
	if (find_optional(s, TAG_SPACE, i, &a))
		virtio_tell_changes(d, &a);
	return 0;
}

int snapshot_devices(const struct snapshot *s, struct vm *vm, struct err *e)
{
	struct archive a = state_find(&s->file, TAG_COM1, 0);
	int ret = 0;

	serial_describe(&vm->serial, &a);
	if (!archive_ok(&a))
		return broken("serial port", 0, e);
	a = state_find(&s->file, TAG_I8042, 0);
	i8042_describe(&vm->i8042, &a);
	if (!archive_ok(&a))
		return broken("keyboard controller", 0, e);
	for (unsigned int i = 0; ret == 0 && i < vm->n_devs; i++)
		ret = load_device(s, vm->dev[i], i, e);
	if (ret == 0)
		image_restored(vm, &s->file);
	return ret;
}
