/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.h: driver side of virtio-mmio version 2 and of the split queue
 * (virtio 1.2, sections 4.2 and 2.7).
 *
 * Words of the command line: nano.poll (no interrupts), nano.noeventidx,
 * nano.noindirect, nano.decline=BITS (features to leave), nano.queue=SIZE (a
 * power of two that rings are not larger than).
 */
#ifndef NANO_VIRTIO_H
#define NANO_VIRTIO_H

#include "guest/nano/nano.h"

#define VIRTIO_ID_BLK 2
#define VIRTIO_MAX    32

#define VIRTIO_F_INDIRECT  28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

#define VIRTIO_MMIO_QUEUE_NOTIFY 0x050
#define VIRTIO_MMIO_STATUS	 0x070
#define VIRTIO_MMIO_CONFIG	 0x100

#define VIRTIO_ACKNOWLEDGE 1
#define VIRTIO_DRIVER	   2
#define VIRTIO_DRIVER_OK   4
#define VIRTIO_FEATURES_OK 8
#define VIRTIO_LIVE	   15 /* all of them */
#define VIRTIO_NEEDS_RESET 64

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

struct vq_desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

struct vq_used {
	uint32_t head, len;
};

#define VQ_SIZE_MAX 256
#define VQ_NEVER    0x7fff /* for vq.lazy */

struct vdev {
	uint64_t gpa;
	uint32_t gsi, id;
	uint64_t offered, features;
	bool poll;	 /* no interrupts */
	uint32_t irqs;	 /* that this driver acknowledged */
	bool config_irq; /* one of them said that the configuration changed */
	uint32_t seen;
};

struct vq {
	struct vdev *dev;
	uint16_t index, size;
	volatile struct vq_desc *desc;
	volatile uint16_t *avail; /* flags, idx, ring[size], used_event */
	volatile uint16_t *used;  /* flags, idx, ring..., avail_event */
	uint16_t free_head, n_free;
	uint16_t next_avail, kicked, next_used;
	uint16_t lazy; /* so many used chains are no reason to end a wait */
	uint32_t kicks;
};

/* Find devices as the command line says; they are numbered in that order. */
void virtio_setup(void);

/* The n-th device (of any kind for id 0), or NULL. */
struct vdev *virtio_find(uint32_t id, unsigned int n);

uint32_t vdev_status(const struct vdev *d);
void vdev_set_status(const struct vdev *d, uint32_t bits);
uint64_t vdev_config64(const struct vdev *d, uint32_t offset);

/*
 * Reset, and negotiate as many of the wanted features as are offered, up to
 * FEATURES_OK. Then come the queues, then vdev_set_status(d, VIRTIO_LIVE).
 */
const char *vdev_open(struct vdev *d, uint64_t want);
bool vdev_has(const struct vdev *d, unsigned int feature);

/* Write 0 to status and wait until it reads 0. */
void vdev_reset(struct vdev *d);

/* Set up queue `index` with the size that the command line and device allow. */
const char *vq_open(struct vq *q, struct vdev *d, uint16_t index);

/* Tell the device where the rings are, and that the queue is ready. */
void vq_place(const struct vq *q, uint64_t desc, uint64_t avail, uint64_t used);

/* A buffer for the device to read, or (write) to write. */
struct vq_buf {
	void *p;
	uint32_t len;
	bool write;
};

/*
 * Make n buffers available as one chain, through the n descriptors at `table`
 * if that is not NULL (INDIRECT). Returns its head, -1 if there is no room.
 */
int vq_add(struct vq *q, const struct vq_buf *buf, uint16_t n,
	   struct vq_desc *table);

/* Tell the device of what was added, if it wants to know. */
void vq_kick(struct vq *q);

/* Put the head of a chain, of which the caller vouches for nothing, up. */
void vq_offer(struct vq *q, uint16_t head);

/* Take one used chain. */
bool vq_pop(struct vq *q, struct vq_used *u);

/*
 * Wait until one of the queues of a device has more than `lazy` used chains;
 * false after `ns` without.
 */
bool vq_wait_any(struct vq *const *q, unsigned int n, uint64_t ns);
bool vq_wait(struct vq *q, uint64_t ns);

/* Acknowledge what interrupts came, and note what they say. */
void vdev_ack(struct vdev *d);

#endif
