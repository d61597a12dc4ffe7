/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/draft.h"
#include "snapshot/image.h"
#include "snapshot/origin.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "snapshot/target.h"
#include "virtio/device.h"
#include "virtio/state.h"
#include "vmm/saved.h"
#include "vmm/vm.h"

static void add_bytes(struct state_file *f, uint32_t tag, const void *p,
		      size_t len, uint32_t flags)
{
	struct archive a = state_begin(f, tag, 0, flags);

	archive_bytes(&a, (void *)(uintptr_t)p, len);
	state_end(f, &a);
}

static void add_registers(struct state_file *f, struct saved *s)
{
	struct archive a = state_begin(f, TAG_CPUID, 0, STATE_REQUIRED);

	cpuid_describe(&s->cpuid, &a);
	state_end(f, &a);
	for (unsigned int i = 0; i < s->n_vcpus; i++) {
		a = state_begin(f, TAG_VCPU, i, STATE_REQUIRED);
		vcpu_state_describe(&s->vcpu[i], &a);
		state_end(f, &a);
	}
	a = state_begin(f, TAG_CHIPS, 0, STATE_REQUIRED);
	chip_state_describe(&s->chips, &a);
	state_end(f, &a);
	a = state_begin(f, TAG_CAPS, 0, 0);
	kvm_caps_describe(&s->caps, &a);
	state_end(f, &a);
	a = state_begin(f, TAG_FORCE, 0, 0);
	cpuid_describe(&s->forced, &a);
	state_end(f, &a);
}

static void add_devices(struct state_file *f, struct vm *vm)
{
	struct archive a = state_begin(f, TAG_COM1, 0, STATE_REQUIRED);

	serial_describe(&vm->serial, &a);
	state_end(f, &a);
	a = state_begin(f, TAG_I8042, 0, STATE_REQUIRED);
	i8042_describe(&vm->i8042, &a);
	state_end(f, &a);
	for (unsigned int i = 0; i < vm->n_devs; i++) {
		a = state_begin(f, TAG_VIRTIO, i, STATE_REQUIRED);
		virtio_describe(vm->dev[i], &a);
		state_end(f, &a);
		a = state_begin(f, TAG_LIMIT, i, 0);
		virtio_describe_limits(vm->dev[i], &a);
		state_end(f, &a);
		a = state_begin(f, TAG_SPACE, i, 0);
		virtio_describe_space(vm->dev[i], &a);
		state_end(f, &a);
	}
}

static int add_file(struct state_file *f, unsigned int i, int fd, struct err *e)
{
	struct origin_file file;
	struct archive a;
	int ret = origin_file_read(&file, fd, e);

	if (ret < 0)
		return ret;
	a = state_begin(f, TAG_DRIVE, i, 0);
	origin_file_describe(&file, &a);
	state_end(f, &a);
	return 0;
}

/* Drives are the first devices, so their numbers are those of drives. */
static int add_origin(struct state_file *f, struct vm *vm, struct err *e)
{
	struct origin_host host;
	struct archive a = state_begin(f, TAG_HOST, 0, 0);
	int ret = 0;

	origin_host_set(&host, vm->release);
	origin_host_describe(&host, &a);
	state_end(f, &a);
	for (unsigned int i = 0; ret == 0 && i < vm->n_devs; i++) {
		struct virtio_dev *d = vm->dev[i];

		if (d->ops->file)
			ret = add_file(f, i, d->ops->file(d), e);
	}
	return ret;
}

int draft_add_machine(struct draft *d, struct vm *vm, struct err *e)
{
	struct state_file *f = &d->file;
	struct saved *s = NULL;
	int ret = saved_new(&s, vm->cfg.cpu.n_vcpus, e);

	if (ret == 0)
		ret = saved_capture(s, vm, e);
	if (ret == 0)
		add_registers(f, s);
	saved_free(s);
	if (ret == 0)
		add_devices(f, vm);
	if (ret == 0)
		ret = add_origin(f, vm, e);
	return ret < 0 ? err_wrap(e, "Cannot save the microVM state: ") : 0;
}

static int write_state(const struct state_file *f, struct target *t,
		       struct err *e)
{
	size_t len = 0;
	cleanup_free uint8_t *data = state_pack(f, &len, e);
	int ret = 0;

	if (!data)
		return e->code;
	for (size_t at = 0; ret == 0 && at < len;) {
		ssize_t n = write(t->fd, data + at, len - at);

		if (n < 0 && errno != EINTR)
			ret = err_sys(e, "Cannot serialize the microVM state: "
					 "IO Error");
		else if (n > 0)
			at += (size_t)n;
	}
	return ret;
}

int draft_open(struct draft *d, const struct vm *vm,
	       const struct snapshot_order *o, struct err *e)
{
	int ret;

	*d = (struct draft){.state.fd = -1, .mem.fd = -1};
	ret = state_new(&d->file, e);
	if (ret < 0)
		return ret;
	d->file.mem_bytes = vm->mem.bytes;
	add_bytes(&d->file, TAG_CONFIG, o->config, o->config_len,
		  STATE_REQUIRED);
	if (getrandom(d->file.id, sizeof(d->file.id), 0) < 0)
		return err_sys(e, "Cannot save the microVM state: id");
	ret = target_open(&d->state, o->state_path, state_number(&d->file),
			  "snapshot", e);
	if (ret < 0)
		return ret;
	return target_open(&d->mem, o->mem_path, state_number(&d->file),
			   "memory", e);
}

int draft_commit(struct draft *d, struct err *e)
{
	int ret = write_state(&d->file, &d->state, e);

	if (ret == 0)
		ret = target_sync_both(&d->mem, "memory", &d->state, "snapshot",
				       e);
	if (ret == 0)
		ret = target_commit(&d->state, "snapshot", &d->mem, "memory",
				    e);
	return ret;
}

void draft_exit(struct draft *d)
{
	target_abort(&d->mem);
	target_abort(&d->state);
	state_exit(&d->file);
}

int snapshot_create(struct vm *vm, const struct snapshot_order *o,
		    struct err *e)
{
	struct image im = {0};
	struct draft d;
	int ret = draft_open(&d, vm, o, e);

	if (ret == 0)
		ret = draft_add_machine(&d, vm, e);
	if (ret == 0)
		ret = image_write(&im, vm, o->diff, &d.mem, &d.file, e);
	if (ret == 0)
		ret = draft_commit(&d, e);
	image_end(&im, ret == 0);
	draft_exit(&d);
	return ret;
}
