/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/num.h"
#include "virtio/blk_request.h"

#define BLK_DEVICE_ID 2

/* Feature bits (virtio 1.2, section 5.2.3). */
#define BLK_F_SIZE_MAX	   1
#define BLK_F_SEG_MAX	   2
#define BLK_F_RO	   5
#define BLK_F_BLK_SIZE	   6
#define BLK_F_FLUSH	   9
#define BLK_F_DISCARD	   13
#define BLK_F_WRITE_ZEROES 14

/* What one wake may start before others on the loop have their turn. */
#define WAKE_REQUESTS VIRTQ_MAX_SIZE
#define WAKE_BYTES    BLK_TURN_BYTES

#define SWAP_NS (200 * NS_PER_MS)

/* Configuration space (section 5.2.4). */
struct blk_space {
	uint64_t capacity; /* sectors */
	uint32_t size_max;
	uint32_t seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t topology[8];
	uint8_t writeback;
	uint8_t unused;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};

_Static_assert(offsetof(struct blk_space, blk_size) == 20, "5.2.4");
_Static_assert(offsetof(struct blk_space, max_discard_sectors) == 36, "5.2.4");
_Static_assert(offsetof(struct blk_space, write_zeroes_may_unmap) == 56,
	       "5.2.4");
_Static_assert(sizeof(struct blk_space) <= VIRTIO_CONFIG_MAX, "fits");

struct blk {
	struct virtio_dev dev;
	struct blk_disk disk;
	int fd;	       /* of the file in the loop's slot, or to be put there */
	bool slot_set; /* the slot holds fd */
	struct io_op slot_op;

	/* Slots are taken last in first out: the fewest pages are touched. */
	struct blk_request *pool;
	struct blk_request *idle;
	uint32_t n_fresh; /* pool[n_fresh...] were never used */

	struct loop_msg serve_msg; /* once a turn of the loop */
	bool serve_queued;

	struct blk_swap *swap; /* under way, or NULL */
	struct blk_file next;
	bool swap_setting; /* slot_op puts next.fd into the slot */
	struct loop_timer swap_timer;

	struct limiter limiter;
};

static struct blk *to_blk(struct virtio_dev *d)
{
	return container_of(d, struct blk, dev);
}

/* ---- the queue ---- */

static struct blk_request *take_slot(struct blk *b)
{
	struct blk_request *r = b->idle;

	if (r)
		b->idle = r->next;
	else if (b->n_fresh < VIRTQ_MAX_SIZE)
		r = &b->pool[b->n_fresh++];
	return r;
}

static void return_slot(struct blk *b, struct blk_request *r)
{
	r->next = b->idle;
	b->idle = r;
}

/* If not, the request goes back, and on_limiter() is called in time. */
static bool may_pass(struct blk *b, const struct blk_request *r,
		     const struct virtq_chain *c)
{
	if (limiter_pass(&b->limiter, blk_request_bytes(r, c)))
		return true;
	b->disk.counts.throttled = b->limiter.throttled;
	virtq_unpop(&b->dev.queue[0], r->head);
	return false;
}

/* Take one request and start it: 1, 0 if there is none, -EAGAIN, -EPROTO. */
static int start_one(struct blk *b, uint64_t *bytes)
{
	struct virtq *q = &b->dev.queue[0];
	struct blk_request *r = take_slot(b);
	struct virtq_chain c;
	int ret;

	/* A head is in flight once, so there are as many slots as heads. */
	if (!r)
		return -EPROTO;
	c = (struct virtq_chain){.iov = r->iov, .max_iov = BLK_IOV_MAX};
	ret = virtq_pop(q, b->dev.mem, &c);
	if (ret > 0) {
		*bytes += c.out_bytes + c.in_bytes;
		ret = blk_request_read(r, &b->disk, &c);
		if (ret == 0)
			ret = may_pass(b, r, &c) ? 1 : -EAGAIN;
	}
	if (ret > 0 && blk_request_start(r, &c)) {
		b->disk.n_inflight++;
		return ret;
	}
	if (ret > 0)
		virtq_push(q, r->head, r->written);
	return_slot(b, r);
	return ret;
}

/* At the end of the turn: one interrupt tells of all its completions. */
static void serve_soon(struct blk *b)
{
	if (!b->serve_queued) {
		b->serve_queued = true;
		loop_defer(b->dev.loop, &b->serve_msg);
	}
}

/*
 * Start what the driver offers, within the budget. As long as there was
 * something, doorbells stay off and the queue is looked at again in the next
 * turn: each doorbell saved is an exit of the guest saved.
 */
static void run_queue(struct blk *b)
{
	struct virtq *q = &b->dev.queue[0];
	uint64_t bytes = 0;
	bool found = false;

	virtq_disable_kick(q);
	for (int n = 0; n < WAKE_REQUESTS && bytes < WAKE_BYTES; n++) {
		int ret = start_one(b, &bytes);

		if (ret == -EAGAIN)
			return; /* until on_limiter() */
		if (ret < 0) {
			virtio_needs_reset(&b->dev, "a block request breaks "
						    "the rules of virtio");
			return;
		}
		if (ret == 0 && found)
			break;
		if (ret == 0 && !virtq_enable_kick(q))
			return;
		found = found || ret > 0;
	}
	serve_soon(b);
}

/* ---- nothing in flight: what waited for that ---- */

static void settle(struct blk *b)
{
	if (b->disk.n_inflight > 0 || b->serve_queued ||
	    io_op_active(&b->slot_op))
		return;
	if (b->swap) {
		b->swap_setting = true;
		loop_timer_stop(b->dev.loop, &b->swap_timer);
		loop_slot_set(b->dev.loop, &b->slot_op, b->disk.slot,
			      b->next.fd);
	} else if (b->dev.draining) {
		virtio_drained(&b->dev);
	}
}

static void on_serve(struct loop_msg *m)
{
	struct blk *b = container_of(m, struct blk, serve_msg);
	struct virtq *q = &b->dev.queue[0];

	b->serve_queued = false;
	virtio_signal_used(&b->dev, q);
	if (virtio_active(&b->dev) && b->slot_set && !b->swap)
		run_queue(b);
	virtio_signal_used(&b->dev, q);
	settle(b);
}

static void on_limiter(struct limiter *l)
{
	struct blk *b = container_of(l, struct blk, limiter);

	b->disk.counts.rate_limiter_events = l->events;
	serve_soon(b);
}

static void request_answered(struct blk_disk *disk, struct blk_request *r)
{
	struct blk *b = container_of(disk, struct blk, disk);

	virtq_push(&b->dev.queue[0], r->head, r->written);
	return_slot(b, r);
	b->disk.n_inflight--;
	serve_soon(b);
}

/* ---- the file ---- */

static void set_space(struct blk_space *s, const struct blk *b)
{
	*s = (struct blk_space){
		.capacity = b->disk.sectors,
		.size_max = BLK_SIZE_MAX,
		.seg_max = BLK_SEG_MAX,
		.blk_size = BLK_SECTOR_BYTES,
	};
	if (b->disk.read_only)
		return;
	s->max_discard_sectors = BLK_RANGE_SECTORS;
	s->max_discard_seg = 1;
	s->discard_sector_alignment = 4096 / BLK_SECTOR_BYTES;
	s->max_write_zeroes_sectors = BLK_RANGE_SECTORS;
	s->max_write_zeroes_seg = 1;
	s->write_zeroes_may_unmap = 1;
}

static void use_file(struct blk *b, const struct blk_file *file)
{
	b->fd = file->fd;
	b->disk.sectors = file->bytes / BLK_SECTOR_BYTES;
	memcpy(b->disk.id, file->id, BLK_ID_BYTES);
}

static void end_swap(struct blk *b, int err)
{
	struct blk_swap *w = b->swap;

	b->swap = NULL;
	b->swap_setting = false;
	loop_timer_stop(b->dev.loop, &b->swap_timer);
	if (err < 0) {
		fd_close(&b->next.fd);
		b->disk.counts.update_fails++;
	}
	w->done(w, err);
	serve_soon(b);
}

static void on_swap_timeout(struct loop_timer *t)
{
	end_swap(container_of(t, struct blk, swap_timer), -ETIMEDOUT);
}

static void slot_done(struct io_op *op, int res)
{
	struct blk *b = container_of(op, struct blk, slot_op);
	struct blk_space space;

	if (res >= 0)
		b->slot_set = true;
	if (!b->swap_setting) {
		if (res < 0) {
			b->disk.counts.activate_fails++;
			virtio_needs_reset(&b->dev,
					   "the file cannot be registered");
		}
		serve_soon(b);
		return;
	}
	if (res >= 0) {
		fd_close(&b->fd);
		use_file(b, &b->next);
		set_space(&space, b);
		virtio_config_changed(&b->dev, &space, sizeof(space));
	}
	end_swap(b, res < 0 ? res : 0);
}

void blk_swap(struct blk *b, const struct blk_file *file, struct blk_swap *w)
{
	int fd = file->fd;

	b->disk.counts.updates++;
	if (b->swap) {
		fd_close(&fd);
		b->disk.counts.update_fails++;
		w->done(w, -EBUSY);
		return;
	}
	b->next = *file;
	b->swap = w;
	loop_timer_set(b->dev.loop, &b->swap_timer, clock_now_ns() + SWAP_NS);
	settle(b);
}

/* ---- the device ---- */

static int blk_activate(struct virtio_dev *d)
{
	struct blk *b = to_blk(d);

	if (!b->slot_set && !io_op_active(&b->slot_op))
		loop_slot_set(d->loop, &b->slot_op, b->disk.slot, b->fd);
	return 0;
}

static void blk_notify(struct virtio_dev *d, unsigned int q)
{
	struct blk *b = to_blk(d);

	(void)q;
	limiter_resume(&b->limiter); /* this is how a pause ends */
	b->disk.counts.queue_events++;
	serve_soon(b);
}

/* A request that waits for the limiter is in the queue, not in flight. */
static void blk_drain(struct virtio_dev *d)
{
	struct blk *b = to_blk(d);

	if (d->paused && d->status == VIRTIO_STATUS_RUNNING)
		limiter_pause(&b->limiter);
	else
		limiter_forget(&b->limiter);
	settle(b);
}

static int blk_host_file(struct virtio_dev *d)
{
	return to_blk(d)->fd;
}

static struct limiter *blk_limiters(struct virtio_dev *d, unsigned int i)
{
	return i == 0 ? &to_blk(d)->limiter : NULL;
}

static const struct virtio_dev_ops blk_ops = {
	.id = BLK_DEVICE_ID,
	.n_queues = 1,
	.activate = blk_activate,
	.notify = blk_notify,
	.drain = blk_drain,
	.file = blk_host_file,
	.limiter = blk_limiters,
};

static void offer(struct blk *b)
{
	struct virtio_dev *d = &b->dev;
	struct blk_space space;

	d->features |= VIRTIO_FEATURE(BLK_F_SIZE_MAX) |
		       VIRTIO_FEATURE(BLK_F_SEG_MAX) |
		       VIRTIO_FEATURE(BLK_F_BLK_SIZE);
	if (b->disk.read_only)
		d->features |= VIRTIO_FEATURE(BLK_F_RO);
	else
		d->features |= VIRTIO_FEATURE(BLK_F_DISCARD) |
			       VIRTIO_FEATURE(BLK_F_WRITE_ZEROES);
	if (b->disk.writeback)
		d->features |= VIRTIO_FEATURE(BLK_F_FLUSH);
	set_space(&space, b);
	d->config_len = sizeof(space);
	memcpy(d->config, &space, sizeof(space));
}

int blk_new(struct blk **out, struct vm *vm, const struct blk_config *cfg,
	    struct blk_file *file, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	void *pool;
	int ret;

	if (!b)
		return err_code(e, -ENOMEM, "Block device");
	b->fd = -1;
	b->disk = (struct blk_disk){
		.loop = vm->loop,
		.mem = &vm->mem,
		.slot = cfg->slot,
		.read_only = cfg->read_only,
		.writeback = cfg->writeback,
		.answered = request_answered,
	};
	b->slot_op.done = slot_done;
	b->serve_msg.fn = on_serve;
	b->swap_timer.fn = on_swap_timeout;
	limiter_init(&b->limiter, vm->loop, on_limiter);
	pool = mmap(NULL, VIRTQ_MAX_SIZE * sizeof(*b->pool),
		    PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool == MAP_FAILED) {
		ret = err_sys(e, "Memory for block requests");
		free(b);
		return ret;
	}
	b->pool = pool;
	ret = virtio_init(&b->dev, &blk_ops, vm, e);
	if (ret < 0) {
		blk_free(b);
		return ret;
	}
	use_file(b, file);
	offer(b);
	*out = b;
	return 0;
}

void blk_free(struct blk *b)
{
	if (!b)
		return;
	limiter_exit(&b->limiter);
	virtio_exit(&b->dev);
	fd_close(&b->fd);
	(void)munmap(b->pool, VIRTQ_MAX_SIZE * sizeof(*b->pool));
	free(b);
}

struct virtio_dev *blk_dev(struct blk *b)
{
	return &b->dev;
}

struct limiter *blk_limiter(struct blk *b)
{
	return &b->limiter;
}

int blk_fd(const struct blk *b)
{
	return b->fd;
}

const struct blk_counts *blk_counts(const struct blk *b)
{
	return &b->disk.counts;
}
