/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/device.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "virtio/mmio.h"

static void set_status(struct virtio_dev *d, uint32_t status)
{
	__atomic_store_n(&d->status, status, __ATOMIC_RELEASE);
}

static void interrupt(struct virtio_dev *d, uint32_t bit)
{
	(void)__atomic_fetch_or(&d->int_status, bit, __ATOMIC_SEQ_CST);
	d->irqs++;
	irq_raise(&d->slot->irq);
}

void virtio_signal_used(struct virtio_dev *d, struct virtq *q)
{
	if (virtq_needs_irq(q))
		interrupt(d, VIRTIO_INT_VRING);
}

void virtio_config_changed(struct virtio_dev *d, const void *config,
			   uint32_t len)
{
	const uint8_t *from = config;

	/* A reader that sees a new byte also sees the odd generation. */
	(void)__atomic_add_fetch(&d->config_gen, 1, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < len && i < d->config_len; i++)
		__atomic_store_n(&d->config[i], from[i], __ATOMIC_RELEASE);
	(void)__atomic_add_fetch(&d->config_gen, 1, __ATOMIC_SEQ_CST);
	if (d->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt(d, VIRTIO_INT_CONFIG);
}

void virtio_needs_reset(struct virtio_dev *d, const char *why)
{
	if (d->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	log_limited(LOG_WARN, "virtio: device at 0x%" PRIx64 ": %s",
		    d->slot->gpa, why);
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		d->queue[i].broken = true;
	set_status(d, d->status | VIRTIO_STATUS_NEEDS_RESET);
	if (d->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt(d, VIRTIO_INT_CONFIG);
}

int virtio_start_queues(struct virtio_dev *d)
{
	bool event_idx = virtio_has(d, VIRTIO_F_RING_EVENT_IDX);
	bool indirect = virtio_has(d, VIRTIO_F_RING_INDIRECT_DESC);
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < d->ops->n_queues; i++)
		ret = virtq_start(&d->queue[i], d->mem, event_idx, indirect);
	return ret;
}

static void start_device(struct virtio_dev *d)
{
	if (d->ops->activate(d) < 0)
		virtio_needs_reset(d, "the device cannot be started");
}

/* DRIVER_OK: from here on the rings may be looked at. */
static void activate(struct virtio_dev *d)
{
	set_status(d, VIRTIO_STATUS_RUNNING);
	if (virtio_start_queues(d) < 0)
		virtio_needs_reset(d, "a queue is not set up rightly");
	else
		start_device(d);
}

/* Section 2.1; a driver that skips a step is not followed. */
void virtio_set_status(struct virtio_dev *d, uint32_t status)
{
	const uint32_t known = VIRTIO_STATUS_ACKNOWLEDGE;
	const uint32_t driver = known | VIRTIO_STATUS_DRIVER;
	const uint32_t features = driver | VIRTIO_STATUS_FEATURES_OK;

	if (status & VIRTIO_STATUS_FAILED) {
		set_status(d, d->status | VIRTIO_STATUS_FAILED);
	} else if ((status == known && d->status == 0) ||
		   (status == driver && d->status == known)) {
		set_status(d, status);
	} else if (status == features && d->status == driver) {
		if ((d->acked & ~d->features) == 0 &&
		    virtio_has(d, VIRTIO_F_VERSION_1))
			set_status(d, status);
	} else if (status == VIRTIO_STATUS_RUNNING && d->status == features &&
		   !d->stopped) {
		activate(d);
	}
}

static void reset_now(struct virtio_dev *d)
{
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		virtq_reset(&d->queue[i]);
	d->acked = 0;
	d->resets++;
	__atomic_store_n(&d->features_sel, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->driver_features_sel, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->queue_sel, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->int_status, 0, __ATOMIC_RELAXED);
	set_status(d, 0);
}

static void start_drain(struct virtio_dev *d)
{
	if (d->draining)
		return;
	d->draining = true;
	d->ops->drain(d);
}

bool virtio_reset(struct virtio_dev *d)
{
	if (!(d->status & VIRTIO_STATUS_DRIVER_OK)) {
		reset_now(d);
		return false;
	}
	d->reset_wanted = true;
	start_drain(d);
	return d->reset_wanted;
}

/* The last thing that a device does: nothing of it is active any more. */
static void stop_msg(struct loop_msg *m)
{
	struct virtio_dev *d = container_of(m, struct virtio_dev, stop_msg);

	d->stop_done(d);
}

static void stop_check(struct virtio_dev *d)
{
	if (!d->stopped || d->draining || d->stop_queued)
		return;
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		if (io_op_active(&d->doorbell[i].op))
			return;
	d->stop_queued = true;
	d->stop_msg.fn = stop_msg;
	loop_defer(d->loop, &d->stop_msg);
}

/* Look at every queue: doorbells may have rung unheard. */
static void look_at_queues(struct virtio_dev *d)
{
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		if (virtio_active(d))
			d->ops->notify(d, i);
}

void virtio_drained(struct virtio_dev *d)
{
	void (*pause_done)(struct virtio_dev *) = d->pause_done;

	d->draining = false;
	d->pause_done = NULL;
	if (d->reset_wanted) {
		d->reset_wanted = false;
		reset_now(d);
	}
	virtio_mmio_flush(d);
	if (pause_done)
		pause_done(d);
	look_at_queues(d); /* if it was for a pause that was given up */
	stop_check(d);
}

void virtio_pause(struct virtio_dev *d, void (*done)(struct virtio_dev *d))
{
	d->paused = true;
	d->pause_done = done;
	start_drain(d);
}

void virtio_resume(struct virtio_dev *d)
{
	d->paused = false;
	d->pause_done = NULL;
	if (d->restored) {
		d->restored = false;
		start_device(d);
	}
	look_at_queues(d);
}

static void doorbell_done(struct io_op *op, int res)
{
	struct virtio_doorbell *b =
		container_of(op, struct virtio_doorbell, op);
	struct virtio_dev *d = b->dev;

	/* Never read: each write is an edge, and 2^64 of them take for ever. */
	if (res >= 0 && virtio_active(d))
		d->ops->notify(d, b->queue);
	if (io_op_active(op))
		return;
	if (d->stopped)
		stop_check(d);
	else
		loop_poll(d->loop, op, b->fd, POLLIN);
}

int virtio_init(struct virtio_dev *d, const struct virtio_dev_ops *ops,
		struct vm *vm, struct err *e)
{
	*d = (struct virtio_dev){
		.ops = ops,
		.bus.ops = &virtio_mmio_ops,
		.vm = vm,
		.loop = vm->loop,
		.mem = &vm->mem,
		.features = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
			    VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) |
			    VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC),
	};
	for (unsigned int i = 0; i < VIRTIO_MAX_QUEUES; i++)
		d->doorbell[i] = (struct virtio_doorbell){
			.op.done = doorbell_done,
			.dev = d,
			.queue = i,
			.fd = -1,
		};
	for (unsigned int i = 0; i < ops->n_queues; i++) {
		d->doorbell[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (d->doorbell[i].fd < 0)
			return err_sys(e, "Error creating an eventfd");
	}
	return vm_add_dev(vm, d, &d->bus, &d->slot, e);
}

int virtio_bind(struct virtio_dev *d, struct vm *vm, struct err *e)
{
	for (unsigned int i = 0; i < d->ops->n_queues; i++) {
		int ret =
			vm_bind_doorbell(vm, d->slot, i, d->doorbell[i].fd, e);

		if (ret < 0)
			return ret;
	}
	return 0;
}

void virtio_listen(struct virtio_dev *d)
{
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		loop_poll(d->loop, &d->doorbell[i].op, d->doorbell[i].fd,
			  POLLIN);
}

void virtio_stop(struct virtio_dev *d, void (*done)(struct virtio_dev *d))
{
	d->stopped = true;
	d->stop_done = done;
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		loop_cancel(d->loop, &d->doorbell[i].op);
	start_drain(d);
	stop_check(d);
}

void virtio_exit(struct virtio_dev *d)
{
	for (unsigned int i = 0; i < VIRTIO_MAX_QUEUES; i++)
		fd_close(&d->doorbell[i].fd);
}
