/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/memory.h"
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
	}
}

static int add_machine(struct state_file *f, struct vm *vm, struct err *e)
{
	struct saved *s = NULL;
	int ret = saved_new(&s, vm->cfg.cpu.n_vcpus, e);

	if (ret == 0)
		ret = saved_capture(s, vm, e);
	if (ret == 0)
		add_registers(f, s);
	saved_free(s);
	if (ret == 0)
		add_devices(f, vm);
	return ret < 0 ? err_wrap(e, "Cannot save the microVM state: ") : 0;
}

static int write_memory(struct state_file *f, struct vm *vm, struct target *t,
			struct err *e)
{
	uint32_t n = memory_chunks(&vm->mem);
	cleanup_free uint32_t *crc = calloc(n, sizeof(*crc));
	int ret;

	if (!crc)
		return err_code(e, -ENOMEM, "Digests of the memory file");
	ret = memory_write(&vm->mem, t->fd, crc, e);
	if (ret == 0)
		add_bytes(f, TAG_DIGEST, crc, n * sizeof(*crc), 0);
	return ret;
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

/* Into both files, which then are under their temporary names. */
static int write_files(struct state_file *f, struct vm *vm, struct target *mem,
		       struct target *state, struct err *e)
{
	int ret = add_machine(f, vm, e);

	if (ret == 0)
		ret = write_memory(f, vm, mem, e);
	if (ret == 0)
		ret = write_state(f, state, e);
	if (ret == 0)
		ret = target_sync(mem, "memory", e);
	return ret == 0 ? target_sync(state, "snapshot", e) : ret;
}

int snapshot_create(struct vm *vm, const char *config, size_t config_len,
		    const char *state_path, const char *mem_path, struct err *e)
{
	struct target mem = {.fd = -1}, state = {.fd = -1};
	struct state_file f;
	int ret = state_new(&f, e);

	if (ret < 0)
		return ret;
	f.mem_bytes = vm->mem.bytes;
	add_bytes(&f, TAG_CONFIG, config, config_len, STATE_REQUIRED);
	if (getrandom(f.id, sizeof(f.id), 0) < 0)
		ret = err_sys(e, "Cannot save the microVM state: id");
	if (ret == 0)
		ret = target_open(&state, state_path, state_number(&f),
				  "snapshot", e);
	if (ret == 0)
		ret = target_open(&mem, mem_path, state_number(&f), "memory",
				  e);
	if (ret == 0)
		ret = write_files(&f, vm, &mem, &state, e);
	if (ret == 0)
		ret = target_commit(&state, "snapshot", &mem, "memory", e);
	target_abort(&mem);
	target_abort(&state);
	state_exit(&f);
	return ret;
}
