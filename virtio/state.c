/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/archive.h"
#include "base/err.h"
#include "virtio/device.h"
#include "virtio/limiter.h"

static void describe_queue(struct virtq *q, struct archive *a)
{
	archive_u32(a, &q->cfg.size);
	archive_bool(a, &q->cfg.ready);
	archive_u64(a, &q->cfg.desc_gpa);
	archive_u64(a, &q->cfg.avail_gpa);
	archive_u64(a, &q->cfg.used_gpa);
	archive_u16(a, &q->last_avail);
	archive_u16(a, &q->next_used);
	archive_u16(a, &q->signalled);
}

void virtio_describe(struct virtio_dev *d, struct archive *a)
{
	uint32_t id = d->ops->id;

	archive_u32(a, &id);
	if (id != d->ops->id)
		a->failed = true;
	archive_u32(a, &d->status);
	archive_u32(a, &d->int_status);
	archive_u32(a, &d->features_sel);
	archive_u32(a, &d->driver_features_sel);
	archive_u32(a, &d->queue_sel);
	archive_u32(a, &d->config_gen);
	archive_u64(a, &d->acked);
	for (unsigned int i = 0; i < d->ops->n_queues; i++)
		describe_queue(&d->queue[i], a);
	if (d->ops->describe)
		d->ops->describe(d, a);
}

/* The states that a driver can have brought a device into. */
static bool status_is_known(uint32_t status)
{
	switch (status & ~(uint32_t)VIRTIO_STATUS_FAILED) {
	case 0:
	case VIRTIO_STATUS_ACKNOWLEDGE:
	case VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER:
	case VIRTIO_STATUS_RUNNING & ~VIRTIO_STATUS_DRIVER_OK:
	case VIRTIO_STATUS_RUNNING:
	case VIRTIO_STATUS_RUNNING | VIRTIO_STATUS_NEEDS_RESET:
		return true;
	default:
		return false;
	}
}

static int check(const struct virtio_dev *d, struct err *e)
{
	const char *what = NULL;

	if (!status_is_known(d->status))
		what = "status";
	else if (d->int_status &
		 ~(uint32_t)(VIRTIO_INT_VRING | VIRTIO_INT_CONFIG))
		what = "interrupt status";
	else if (d->config_gen & 1)
		what = "configuration generation";
	else if ((d->status & VIRTIO_STATUS_FEATURES_OK) &&
		 ((d->acked & ~d->features) ||
		  !virtio_has(d, VIRTIO_F_VERSION_1)))
		what = "accepted features";
	/*
	 * A device that is drained has given back all that it took, unless it
	 * may not: then its queues stand still until a reset.
	 */
	for (unsigned int i = 0; !what && i < d->ops->n_queues; i++) {
		if (!(d->status & VIRTIO_STATUS_NEEDS_RESET) &&
		    d->queue[i].last_avail != d->queue[i].next_used)
			what = "index of a queue";
	}
	if (!what)
		return 0;
	return err_set(e, -EINVAL,
		       "The snapshot's virtio device at 0x%" PRIx64
		       " has a wrong %s",
		       d->slot->gpa, what);
}

/* The i-th, or NULL. */
static struct limiter *limiter_of(struct virtio_dev *d, unsigned int i)
{
	return d->ops->limiter ? d->ops->limiter(d, i) : NULL;
}

int virtio_restore(struct virtio_dev *d, struct err *e)
{
	struct limiter *l;
	int ret = check(d, e);

	if (ret < 0)
		return ret;
	d->paused = true;
	if (d->status & VIRTIO_STATUS_NEEDS_RESET) {
		for (unsigned int i = 0; i < d->ops->n_queues; i++)
			d->queue[i].broken = true;
	} else if (d->status & VIRTIO_STATUS_DRIVER_OK) {
		if (virtio_start_queues(d) < 0)
			return err_set(e, -EINVAL,
				       "The snapshot's virtio device at "
				       "0x%" PRIx64 " has a wrong queue",
				       d->slot->gpa);
		d->restored = true;
		for (unsigned int i = 0; (l = limiter_of(d, i)) != NULL; i++)
			limiter_pause(l);
	}
	/*
	 * KVM serves lines in the background: an edge from just before the
	 * snapshot may not be in the state of its chips. One more is harmless.
	 */
	if (d->int_status)
		irq_raise(&d->slot->irq);
	return 0;
}

void virtio_describe_limits(struct virtio_dev *d, struct archive *a)
{
	struct limiter *l;

	for (unsigned int i = 0; (l = limiter_of(d, i)) != NULL; i++)
		limiter_describe(l, a);
}

void virtio_describe_space(struct virtio_dev *d, struct archive *a)
{
	archive_bytes(a, d->config, d->config_len);
}

void virtio_tell_changes(struct virtio_dev *d, struct archive *was)
{
	uint8_t old[VIRTIO_CONFIG_MAX] = {0};

	archive_bytes(was, old, d->config_len);
	if (!archive_ok(was) || memcmp(old, d->config, d->config_len) != 0)
		virtio_config_changed(d, d->config, d->config_len);
}
