/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h: a virtio device in a snapshot: what its driver has set up. What the
 * configuration says (files, features, config space) is not in it.
 *
 * Loop thread, or the helper while the guest is paused.
 */
#ifndef VIRTIO_STATE_H
#define VIRTIO_STATE_H

struct archive;
struct err;
struct virtio_dev;

/* Save a device that is paused and drained, or load into one just made. */
void virtio_describe(struct virtio_dev *d, struct archive *a);

/*
 * After loading, before virtio_listen(): check everything, with the functions
 * that check the driver, and be as after a pause; nothing of the device is in
 * flight before virtio_resume() starts it.
 */
int virtio_restore(struct virtio_dev *d, struct err *e);

#endif
