/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport: any access of any width in any order, kicks and pauses. What
 * holds after each: the status is a legal one, queues are started only while
 * the driver runs and keep the geometry they were started with, and a device
 * hears of doorbells only while it is active.
 */
#include "base/err.h"
#include "base/log.h"
#include "tests/fuzz/driver_input.h"
#include "tests/fuzz/fake_loop.h"

#define N_QUEUES 2
#define WINDOW	 0x1000
#define DEV_FEATURES                                              \
	(VIRTIO_FEATURE(3) | VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | \
	 VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) |                \
	 VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct virtio_dev dev;
	struct loop loop;
	struct vm vm; /* as far as a device needs it */
	struct driver drv;
	struct virtq_config started[N_QUEUES];
	int activate_ret;
	bool paused, stopped;
};

static struct state *to_state(struct virtio_dev *d)
{
	return container_of(d, struct state, dev);
}

static int on_activate(struct virtio_dev *d)
{
	check(d->status == VIRTIO_STATUS_RUNNING);
	check((d->acked & ~d->features) == 0);
	for (unsigned int i = 0; i < N_QUEUES; i++)
		to_state(d)->started[i] = d->queue[i].cfg;
	return to_state(d)->activate_ret;
}

static void on_notify(struct virtio_dev *d, unsigned int q)
{
	struct iovec iov[4];
	struct virtq_chain c = {.iov = iov, .max_iov = 4};
	struct virtq *queue = &d->queue[q];

	check(virtio_active(d) && q < N_QUEUES);
	for (;;) {
		int ret = virtq_pop(queue, d->mem, &c);

		if (ret < 0)
			virtio_needs_reset(d, "fuzz");
		if (ret <= 0)
			break;
		virtq_push(queue, c.head, 0);
	}
	virtio_signal_used(d, queue);
}

static void on_drain(struct virtio_dev *d)
{
	check(!virtio_active(d));
	virtio_drained(d);
}

static const struct virtio_dev_ops ops = {
	.id = 7,
	.n_queues = N_QUEUES,
	.activate = on_activate,
	.notify = on_notify,
	.drain = on_drain,
};

static void on_stopped(struct virtio_dev *d)
{
	to_state(d)->stopped = true;
}

static void on_paused(struct virtio_dev *d)
{
	to_state(d)->paused = true;
}

static bool same(const struct virtq_config *a, const struct virtq_config *b)
{
	return a->size == b->size && a->ready == b->ready &&
	       a->desc_gpa == b->desc_gpa && a->avail_gpa == b->avail_gpa &&
	       a->used_gpa == b->used_gpa;
}

static void check_state(struct state *s)
{
	const struct virtio_dev *d = &s->dev;
	uint32_t low = d->status & 15;

	check(d->status < 256 && (d->status & 48) == 0);
	check(low == 0 || low == 1 || low == 3 || low == 11 || low == 15);
	check((d->int_status & ~3u) == 0 && !d->draining && !d->waiting);
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		const struct virtq *q = &d->queue[i];

		check(!q->desc || (low == 15 && q->cfg.ready));
		if (low == 15 && d->status == VIRTIO_STATUS_RUNNING)
			check(same(&q->cfg, &s->started[i]));
	}
}

static void access_register(struct state *s, struct input *in)
{
	struct bus_dev *bus = &s->dev.bus;
	uint32_t len = below(in, 4) ? 4 : 1u << below(in, 4);
	uint64_t at = below(in, 4) ? below(in, 64) * 4u
				   : number(in, 2) % (WINDOW - len + 1);
	uint64_t data = number(in, below(in, 2) ? 1 : 8);

	if (below(in, 2))
		bus->ops->write(bus, NULL, at, &data, len);
	else
		bus->ops->read(bus, NULL, at, &data, len);
}

static void start_queues(struct state *s, struct input *in)
{
	clear_rings(&s->drv);
	reg_write(&s->drv, 0x70, 0);
	reg_write(&s->drv, 0x70, 1);
	reg_write(&s->drv, 0x70, 3);
	write_features(&s->drv, below(in, 4) ? DEV_FEATURES : number(in, 8));
	reg_write(&s->drv, 0x70, 11);
	set_up_queue(&s->drv, below(in, 3), 0);
	if (below(in, 4) == 0)
		access_register(s, in);
	s->activate_ret = below(in, 8) == 7 ? -EIO : 0;
	reg_write(&s->drv, 0x70, 15);
}

static void one(struct state *s, struct input *in)
{
	const uint8_t config[VIRTIO_CONFIG_MAX] = {(uint8_t)in->left};

	switch (below(in, 10)) {
	case 0:
		start_queues(s, in);
		break;
	case 1:
		write_desc(&s->drv, in, DESC_GPA);
		break;
	case 2:
		write_avail(&s->drv, in);
		put16(&s->drv, AVAIL_GPA + 2, (uint16_t)below(in, 20));
		break;
	case 3:
		fake_ring(&s->loop);
		break;
	case 4:
		virtio_config_changed(&s->dev, config, below(in, 80));
		break;
	case 5:
		if (s->paused)
			virtio_resume(&s->dev);
		else
			virtio_pause(&s->dev, on_paused);
		s->paused = s->dev.paused;
		break;
	case 6:
		if (below(in, 8) == 7 && s->dev.status != 0)
			virtio_needs_reset(&s->dev, "fuzz");
		break;
	default:
		access_register(s, in);
		break;
	}
	check_state(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state *s = calloc(1, sizeof(*s));
	struct err e;

	check(s != NULL);
	log_set_level(LOG_OFF);
	fake_loop_init(&s->loop);
	s->vm.loop = &s->loop;
	new_ram(&s->vm.mem);
	check(virtio_init(&s->dev, &ops, &s->vm, &e) == 0);
	s->dev.features |= VIRTIO_FEATURE(3);
	s->dev.config_len = below(&in, VIRTIO_CONFIG_MAX + 1);
	s->drv = (struct driver){.mem = &s->vm.mem, .dev = &s->dev, .size = 16};
	virtio_listen(&s->dev);
	while (in.left > 0)
		one(s, &in);
	virtio_stop(&s->dev, on_stopped);
	start_queues(s, &in);
	fake_run_deferred(&s->loop);
	check(s->stopped && s->dev.status != VIRTIO_STATUS_RUNNING);
	virtio_exit(&s->dev);
	irq_exit(&s->vm.slot[0].irq);
	ram_exit(&s->vm.mem);
	free(s);
	return 0;
}
