/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h: a virtio device in a snapshot: what its driver has set up. What the
 * configuration says (files, features) is not in it, its configuration space
 * only for comparison.
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

/* What its rate limiters have left; to load, the same moment. */
void virtio_describe_limits(struct virtio_dev *d, struct archive *a);

/* Save the configuration space that the driver may have read. */
void virtio_describe_space(struct virtio_dev *d, struct archive *a);

/*
 * After virtio_restore(), with what that was: if the space is another one now,
 * the driver gets an interrupt for it and a new generation.
 */
void virtio_tell_changes(struct virtio_dev *d, struct archive *was);

#endif
