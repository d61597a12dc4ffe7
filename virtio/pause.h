/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.h: all virtio devices of a machine, drained and set going again.
 *
 * With the vCPUs parked and the devices drained nobody writes guest RAM.
 * Loop thread.
 */
#ifndef VIRTIO_PAUSE_H
#define VIRTIO_PAUSE_H

struct vm;

/* Drain every device; vm->owner->drained is called, perhaps at once. */
void virtio_pause_all(struct vm *vm);

/*
 * Let them go on and look at every queue. Before vm_run(). A pause that has not
 * completed is given up.
 */
void virtio_resume_all(struct vm *vm);

#endif
