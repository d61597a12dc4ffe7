/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.h: the virtio-mmio transport, version 2 (virtio 1.2, section 4.2).
 *
 * A vCPU answers reads, selectors and interrupt acknowledgement from its own
 * thread. Writes to status and queue registers are handed to the loop and the
 * vCPU waits, because a driver frees its memory when its write of 0 returns.
 *
 * Registers take aligned accesses of 4 bytes; others read as 0 and are dropped.
 * Configuration space (0x100 and up) is read in any width and is read-only.
 * Status accepts exactly 0 -> 1 -> 3 -> 11 -> 15, FAILED from anywhere, and 0.
 */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "vmm/bus.h"

struct virtio_dev;

extern const struct bus_ops virtio_mmio_ops;

/* Loop: carry out the register writes that waited for the end of a drain. */
void virtio_mmio_flush(struct virtio_dev *d);

#endif
