/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/pause.h"

#include "virtio/device.h"
#include "vmm/vm.h"

static void one_done(struct vm *vm)
{
	if (--vm->n_draining == 0)
		vm->owner->drained(vm->owner);
}

static void device_drained(struct virtio_dev *d)
{
	one_done(d->vm);
}

void virtio_pause_all(struct vm *vm)
{
	/* One more than there are devices, so that it cannot end midway. */
	vm->n_draining = vm->n_devs + 1;
	for (unsigned int i = 0; i < vm->n_devs; i++)
		virtio_pause(vm->dev[i], device_drained);
	one_done(vm);
}

void virtio_resume_all(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->n_devs; i++)
		virtio_resume(vm->dev[i]);
}
