/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/mmio.h"

#include <string.h>
#include <sys/eventfd.h>

#include "base/num.h"
#include "virtio/device.h"
#include "vmm/vcpu.h"

#define MMIO_MAGIC   0x74726976 /* "virt" */
#define MMIO_VERSION 2

/* Registers (virtio 1.2, section 4.2.2). */
enum {
	REG_MAGIC = 0x00,
	REG_VERSION = 0x04,
	REG_DEVICE_ID = 0x08,
	REG_VENDOR_ID = 0x0c,
	REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SEL = 0x24,
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_NUM_MAX = 0x34,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_QUEUE_NOTIFY = 0x50,
	REG_INTERRUPT_STATUS = 0x60,
	REG_INTERRUPT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_QUEUE_DESC_LOW = 0x80,
	REG_QUEUE_DESC_HIGH = 0x84,
	REG_QUEUE_DRIVER_LOW = 0x90,
	REG_QUEUE_DRIVER_HIGH = 0x94,
	REG_QUEUE_DEVICE_LOW = 0xa0,
	REG_QUEUE_DEVICE_HIGH = 0xa4,
	REG_SHM_LEN_LOW = 0xb0,
	REG_SHM_BASE_HIGH = 0xbc,
	REG_CONFIG_GENERATION = 0xfc,
	REG_CONFIG = 0x100,
};

/* A register write on its way through the loop; on the vCPU's stack. */
struct mmio_write {
	struct vcpu_call call;
	struct virtio_dev *dev;
	struct mmio_write *next;
	uint32_t reg;
	uint32_t value;
	bool carried_out; /* only the answer is due */
};

static struct virtio_dev *to_dev(struct bus_dev *bus)
{
	return container_of(bus, struct virtio_dev, bus);
}

/* The queue that QueueSel names, or NULL. */
static struct virtq *selected(struct virtio_dev *d)
{
	uint32_t i = __atomic_load_n(&d->queue_sel, __ATOMIC_RELAXED);

	return i < d->ops->n_queues ? &d->queue[i] : NULL;
}

static uint32_t half(uint64_t v, uint32_t sel)
{
	return sel < 2 ? (uint32_t)(v >> (32 * sel)) : 0;
}

static void set_half(uint64_t *v, uint32_t sel, uint32_t value)
{
	uint32_t shift = 32 * sel;

	*v = (*v & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

/*
 * vCPU thread: everything here is constant or one atomic.
 */
static uint32_t read_reg(struct virtio_dev *d, uint64_t reg)
{
	struct virtq *q = selected(d);

	switch (reg) {
	case REG_MAGIC:
		return MMIO_MAGIC;
	case REG_VERSION:
		return MMIO_VERSION;
	case REG_DEVICE_ID:
		return d->ops->id;
	case REG_DEVICE_FEATURES:
		return half(d->features, __atomic_load_n(&d->features_sel,
							 __ATOMIC_RELAXED));
	case REG_QUEUE_NUM_MAX:
		return q ? VIRTQ_MAX_SIZE : 0;
	case REG_QUEUE_READY:
		return q && __atomic_load_n(&q->cfg.ready, __ATOMIC_ACQUIRE);
	case REG_INTERRUPT_STATUS:
		return __atomic_load_n(&d->int_status, __ATOMIC_ACQUIRE);
	case REG_STATUS:
		return __atomic_load_n(&d->status, __ATOMIC_ACQUIRE);
	case REG_CONFIG_GENERATION:
		return __atomic_load_n(&d->config_gen, __ATOMIC_ACQUIRE);
	default:
		/* No shared memory regions: length and base are ~0 (4.2.2). */
		if (reg >= REG_SHM_LEN_LOW && reg <= REG_SHM_BASE_HIGH)
			return UINT32_MAX;
		return 0; /* VendorID, write-only and reserved registers */
	}
}

/* A copy that no change of the configuration tore. */
static void read_config(struct virtio_dev *d, uint64_t offset, void *data,
			uint32_t len)
{
	uint8_t *to = data;
	uint32_t gen, again;

	do {
		gen = __atomic_load_n(&d->config_gen, __ATOMIC_ACQUIRE);
		for (uint32_t i = 0; i < len; i++)
			to[i] = offset + i < d->config_len
					? __atomic_load_n(
						  &d->config[offset + i],
						  __ATOMIC_ACQUIRE)
					: 0;
		again = __atomic_load_n(&d->config_gen, __ATOMIC_RELAXED);
	} while ((gen & 1) || gen != again);
}

static void mmio_read(struct bus_dev *bus, struct vcpu *vcpu, uint64_t offset,
		      void *data, uint32_t len)
{
	struct virtio_dev *d = to_dev(bus);
	uint32_t value;

	(void)vcpu;
	if (offset >= REG_CONFIG) {
		read_config(d, offset - REG_CONFIG, data, len);
		return;
	}
	memset(data, 0, len);
	if (len != sizeof(value) || !IS_ALIGNED(offset, 4))
		return;
	value = read_reg(d, offset);
	memcpy(data, &value, sizeof(value));
}

/* Loop: the geometry may change between FEATURES_OK and DRIVER_OK only. */
static void write_queue(struct virtio_dev *d, uint32_t reg, uint32_t value)
{
	const uint32_t set_up = VIRTIO_STATUS_ACKNOWLEDGE |
				VIRTIO_STATUS_DRIVER |
				VIRTIO_STATUS_FEATURES_OK;
	struct virtq *q = selected(d);

	if (!q || d->status != set_up)
		return;
	switch (reg) {
	case REG_QUEUE_NUM:
		q->cfg.size = value;
		break;
	case REG_QUEUE_READY:
		__atomic_store_n(&q->cfg.ready, value == 1, __ATOMIC_RELEASE);
		break;
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
		set_half(&q->cfg.desc_gpa, reg == REG_QUEUE_DESC_HIGH, value);
		break;
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
		set_half(&q->cfg.avail_gpa, reg == REG_QUEUE_DRIVER_HIGH,
			 value);
		break;
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		set_half(&q->cfg.used_gpa, reg == REG_QUEUE_DEVICE_HIGH, value);
		break;
	default:
		break;
	}
}

static void write_driver_features(struct virtio_dev *d, uint32_t value)
{
	uint32_t sel =
		__atomic_load_n(&d->driver_features_sel, __ATOMIC_RELAXED);

	if (sel < 2 &&
	    d->status == (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER))
		set_half(&d->acked, sel, value);
}

/* Loop: carry out a write; false if it is to be answered after a drain. */
static bool carry_out(struct mmio_write *w)
{
	struct virtio_dev *d = w->dev;

	if (w->reg == REG_DRIVER_FEATURES)
		write_driver_features(d, w->value);
	else if (w->reg != REG_STATUS)
		write_queue(d, w->reg, w->value);
	else if (w->value != 0)
		virtio_set_status(d, w->value);
	else
		return !virtio_reset(d);
	return true;
}

/* Loop: what vCPUs write while the device drains waits its turn. */
static void on_loop(struct vcpu_call *c)
{
	struct mmio_write *w = container_of(c, struct mmio_write, call);
	struct mmio_write **at = &w->dev->waiting;

	if (!w->dev->draining) {
		if (carry_out(w)) {
			vcpu_answer(&w->call);
			return;
		}
		w->carried_out = true;
	}
	while (*at)
		at = &(*at)->next;
	*at = w;
}

void virtio_mmio_flush(struct virtio_dev *d)
{
	struct mmio_write *w;

	while ((w = d->waiting) && !d->draining) {
		d->waiting = w->next;
		if (w->carried_out || carry_out(w)) {
			vcpu_answer(&w->call);
		} else {
			w->carried_out = true;
			w->next = d->waiting;
			d->waiting = w;
		}
	}
}

static void hand_over(struct virtio_dev *d, struct vcpu *vcpu, uint32_t reg,
		      uint32_t value)
{
	struct mmio_write w = {
		.call.fn = on_loop,
		.dev = d,
		.reg = reg,
		.value = value,
	};

	vcpu_call(vcpu, &w.call);
}

static void mmio_write(struct bus_dev *bus, struct vcpu *vcpu, uint64_t offset,
		       const void *data, uint32_t len)
{
	struct virtio_dev *d = to_dev(bus);
	uint32_t value;

	if (len != sizeof(value) || !IS_ALIGNED(offset, 4))
		return;
	memcpy(&value, data, sizeof(value));
	switch (offset) {
	case REG_DEVICE_FEATURES_SEL:
		__atomic_store_n(&d->features_sel, value, __ATOMIC_RELAXED);
		break;
	case REG_DRIVER_FEATURES_SEL:
		__atomic_store_n(&d->driver_features_sel, value,
				 __ATOMIC_RELAXED);
		break;
	case REG_QUEUE_SEL:
		__atomic_store_n(&d->queue_sel, value, __ATOMIC_RELAXED);
		break;
	case REG_QUEUE_NOTIFY:
		/* KVM takes these; what comes here goes the same way. */
		if (value < d->ops->n_queues)
			(void)eventfd_write(d->doorbell[value].fd, 1);
		break;
	case REG_INTERRUPT_ACK:
		(void)__atomic_fetch_and(&d->int_status, ~value,
					 __ATOMIC_SEQ_CST);
		break;
	case REG_DRIVER_FEATURES:
	case REG_QUEUE_NUM:
	case REG_QUEUE_READY:
	case REG_STATUS:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		hand_over(d, vcpu, (uint32_t)offset, value);
		break;
	default: /* read-only, reserved, configuration space */
		break;
	}
}

const struct bus_ops virtio_mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
};
