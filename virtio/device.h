/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h: what every virtio device has, and the operations it gives.
 *
 * A device embeds struct virtio_dev; its operations take that and recover their
 * own type. Its registers and queues belong to the loop thread; a vCPU answers
 * by itself only what constants and atomics hold (see mmio.h).
 */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "virtio/queue.h"
#include "vmm/bus.h"
#include "vmm/vm.h"

struct archive;
struct err;
struct limiter;
struct mmio_write;
struct virtio_dev;

#define VIRTIO_MAX_QUEUES 3
#define VIRTIO_CONFIG_MAX 64 /* bytes of device configuration space */

/* Device status (virtio 1.2, section 2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER	  2
#define VIRTIO_STATUS_DRIVER_OK	  4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64
#define VIRTIO_STATUS_FAILED	  128
#define VIRTIO_STATUS_RUNNING	  15 /* the driver's four, nothing wrong */

/* Feature bits that are not a device's own. */
#define VIRTIO_F_RING_INDIRECT_DESC 28
#define VIRTIO_F_RING_EVENT_IDX	    29
#define VIRTIO_F_VERSION_1	    32
#define VIRTIO_FEATURE(bit)	    ((uint64_t)1 << (bit))

/* Interrupt status bits. */
#define VIRTIO_INT_VRING  1
#define VIRTIO_INT_CONFIG 2

struct virtio_dev_ops {
	uint32_t id; /* device type */
	uint32_t n_queues;
	/* DRIVER_OK: queues are started, features are dev->acked. */
	int (*activate)(struct virtio_dev *d);
	/* The driver rang the doorbell of queue q; only while active. */
	void (*notify)(struct virtio_dev *d, unsigned int q);
	/*
	 * Take no more from the queues (virtio_active() is false by now), let
	 * what is in flight end, then call virtio_drained(), perhaps at once.
	 * Used before a reset, a pause and the end.
	 */
	void (*drain)(struct virtio_dev *d);
	/* Its own part of a snapshot (see state.h); NULL: there is none. */
	void (*describe)(struct virtio_dev *d, struct archive *a);
	/* The descriptor of the host's file behind it; NULL: there is none. */
	int (*file)(struct virtio_dev *d);
	/* Its rate limiters by number, then NULL; NULL: it has none. */
	struct limiter *(*limiter)(struct virtio_dev *d, unsigned int i);
};

/* An eventfd that KVM writes when the driver notifies a queue. */
struct virtio_doorbell {
	struct io_op op;
	struct virtio_dev *dev;
	unsigned int queue;
	int fd;
};

struct virtio_dev {
	const struct virtio_dev_ops *ops;
	struct bus_dev bus; /* the mmio transport answers through it */
	struct vm *vm;
	struct loop *loop;
	const struct gmem *mem;
	struct vm_slot *slot;
	uint64_t features; /* offered; constant once the vCPUs run */
	uint32_t config_len;

	/* Read by vCPUs while the loop writes, or written by them: atomics. */
	uint32_t status;
	uint32_t int_status;
	uint32_t features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint32_t config_gen; /* odd while config is being changed */
	uint8_t config[VIRTIO_CONFIG_MAX]; /* seqlock with config_gen */

	/* The loop's. */
	uint64_t acked;	   /* features that the driver accepted */
	bool draining;	   /* ops->drain was called, not yet answered */
	bool reset_wanted; /* when drained */
	bool paused;
	bool restored;		    /* ops->activate() is due when it resumes */
	bool stopped;		    /* virtio_stop() was called */
	bool stop_queued;	    /* stop_msg is on its way */
	struct mmio_write *waiting; /* register writes during a drain, FIFO */
	void (*pause_done)(struct virtio_dev *d);
	void (*stop_done)(struct virtio_dev *d);
	struct loop_msg stop_msg;
	struct virtq queue[VIRTIO_MAX_QUEUES];
	struct virtio_doorbell doorbell[VIRTIO_MAX_QUEUES];
	uint64_t irqs;	 /* interrupts raised, for metrics */
	uint64_t resets; /* by the driver */
};

/*
 * Set up the common part: doorbell eventfds, window and line from vm. Features
 * are then those of the transport; the device adds its own and sets config.
 * *d need not be initialised; after a failure it may be passed to
 * virtio_exit().
 */
int virtio_init(struct virtio_dev *d, const struct virtio_dev_ops *ops,
		struct vm *vm, struct err *e);

/* After vm_build(): bind the doorbells (helper thread). */
int virtio_bind(struct virtio_dev *d, struct vm *vm, struct err *e);

/* After vm_build(), on the loop: start listening to the doorbells. */
void virtio_listen(struct virtio_dev *d);

/*
 * Stop listening; done is called on the loop when no operation of the device is
 * active any more and its memory may go. A vCPU that still runs gets answers
 * meanwhile, but can start nothing: memory that it can still reach goes only
 * after its thread. Once, and not while a pause is under way.
 */
void virtio_stop(struct virtio_dev *d, void (*done)(struct virtio_dev *d));

/* Close descriptors; after virtio_stop() or if it never listened. */
void virtio_exit(struct virtio_dev *d);

/* The device has nothing in flight any more (see ops->drain). */
void virtio_drained(struct virtio_dev *d);

/*
 * Drain for a pause, with the vCPUs parked: done is called on the loop, perhaps
 * at once; virtio_resume() undoes it and kicks every queue. Before done was
 * called, virtio_resume() gives the pause up, and done is not called any more.
 */
void virtio_pause(struct virtio_dev *d, void (*done)(struct virtio_dev *d));
void virtio_resume(struct virtio_dev *d);

/* Loop: whether the device may take buffers from its queues. */
static inline bool virtio_active(const struct virtio_dev *d)
{
	return d->status == VIRTIO_STATUS_RUNNING && !d->draining &&
	       !d->paused && !d->stopped;
}

/* Whether a feature bit was negotiated. */
static inline bool virtio_has(const struct virtio_dev *d, unsigned int bit)
{
	return (d->acked >> bit) & 1;
}

/* Interrupt the driver for used buffers of q, if it asked for that. */
void virtio_signal_used(struct virtio_dev *d, struct virtq *q);

/* Replace config space (len bytes at 0) and tell the driver. */
void virtio_config_changed(struct virtio_dev *d, const void *config,
			   uint32_t len);

/*
 * The driver broke the rules: DEVICE_NEEDS_RESET, a configuration interrupt,
 * one rate-limited line; the device takes and gives back nothing more until it
 * is reset.
 */
void virtio_needs_reset(struct virtio_dev *d, const char *why);

/*
 * For the transport, on the loop. A write of a status, and a driver's reset:
 * true if the answer has to wait until virtio_drained().
 */
void virtio_set_status(struct virtio_dev *d, uint32_t status);
bool virtio_reset(struct virtio_dev *d);

/* Check what the driver set and start all queues; -EINVAL. */
int virtio_start_queues(struct virtio_dev *d);

#endif
