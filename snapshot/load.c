/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "virtio/device.h"
#include "virtio/state.h"
#include "vmm/saved.h"
#include "vmm/vm.h"

static const uint32_t known[] = {
	TAG_CONFIG, TAG_CPUID, TAG_VCPU,   TAG_CHIPS,
	TAG_COM1,   TAG_I8042, TAG_VIRTIO,
};

/* The whole file, up to one byte more than it may have. */
static int read_file(struct snapshot *s, int fd, size_t *len, struct err *e)
{
	s->data = malloc(STATE_MAX_BYTES + 1);
	if (!s->data)
		return err_code(e, -ENOMEM, "State of the microVM");
	for (*len = 0; *len <= STATE_MAX_BYTES;) {
		ssize_t n =
			read(fd, s->data + *len, STATE_MAX_BYTES + 1 - *len);

		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "IO Error");
		if (n > 0)
			*len += (size_t)n;
	}
	return err_set(e, -EFBIG, "The file has more than %u bytes",
		       STATE_MAX_BYTES);
}

static int read_and_parse(struct snapshot *s, int fd, struct err *e)
{
	size_t len = 0;
	int ret = read_file(s, fd, &len, e);

	if (ret == 0)
		ret = state_parse(&s->file, s->data, len, e);
	if (ret == 0)
		ret = state_check_known(&s->file, known, ARRAY_LEN(known), e);
	return ret < 0 ? err_wrap(e, "Failed to load snapshot state from "
				     "file: ")
		       : 0;
}

int snapshot_open(struct snapshot *s, const char *path, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret;

	*s = (struct snapshot){0};
	if (fd < 0)
		ret = err_sys(e, "Failed to open snapshot file");
	else
		ret = read_and_parse(s, fd, e);
	if (ret == 0)
		return 0;
	snapshot_exit(s);
	return err_wrap(e, "Failed to get snapshot state from file: ");
}

void snapshot_exit(struct snapshot *s)
{
	free(s->data);
	*s = (struct snapshot){0};
}

const char *snapshot_config(const struct snapshot *s, size_t *len)
{
	struct archive a = state_find(&s->file, TAG_CONFIG, 0);

	*len = a.failed ? 0 : a.size;
	return (const char *)a.in;
}

static int broken(const char *what, unsigned int index, struct err *e)
{
	return err_set(e, -EBADMSG,
		       "Failed to build microVM from snapshot: The section of "
		       "%s %u is missing or broken",
		       what, index);
}

int snapshot_saved(const struct snapshot *s, unsigned int n_vcpus,
		   struct saved **out, struct err *e)
{
	struct saved *v = NULL;
	struct archive a;
	int ret = saved_new(&v, n_vcpus, e);

	if (ret < 0)
		return ret;
	a = state_find(&s->file, TAG_CPUID, 0);
	cpuid_describe(&v->cpuid, &a);
	if (!archive_ok(&a))
		ret = broken("CPUID", 0, e);
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
	for (unsigned int i = 0; ret == 0 && i < vm->n_devs; i++) {
		a = state_find(&s->file, TAG_VIRTIO, i);
		virtio_describe(vm->dev[i], &a);
		ret = archive_ok(&a) ? virtio_restore(vm->dev[i], e)
				     : broken("device", i, e);
	}
	return ret;
}
