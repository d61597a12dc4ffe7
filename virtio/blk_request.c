/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/blk_request.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/falloc.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "vmm/gmem.h"

/* Request types. */
enum {
	TYPE_IN = 0,
	TYPE_OUT = 1,
	TYPE_FLUSH = 4,
	TYPE_GET_ID = 8,
	TYPE_DISCARD = 11,
	TYPE_WRITE_ZEROES = 13,
};

/* Status bytes; a request that is not finished has none. */
enum status { STATUS_OK, STATUS_IOERR, STATUS_UNSUPP, IN_FLIGHT };

struct header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

/* Payload of DISCARD and WRITE_ZEROES. */
struct range {
	uint64_t sector;
	uint32_t n_sectors;
	uint32_t flags;
};

#define RANGE_UNMAP 1

_Static_assert(sizeof(struct header) == 16, "virtio 1.2, 5.2.6");
_Static_assert(sizeof(struct range) == 16, "virtio 1.2, 5.2.6");

static void count_latency(uint64_t us, uint64_t *min, uint64_t *max,
			  uint64_t *sum)
{
	if (*min == 0 || us < *min)
		*min = us;
	if (us > *max)
		*max = us;
	*sum += us;
}

static void count_moved(struct blk_request *r)
{
	struct blk_counts *n = &r->disk->counts;
	uint64_t us = (clock_now_ns() - r->start_ns) / NS_PER_US;

	if (r->type == TYPE_IN) {
		n->reads++;
		n->read_bytes += r->moved;
		count_latency(us, &n->read_min_us, &n->read_max_us,
			      &n->read_sum_us);
	} else {
		n->writes++;
		n->write_bytes += r->moved;
		count_latency(us, &n->write_min_us, &n->write_max_us,
			      &n->write_sum_us);
	}
}

static void answer(struct blk_request *r, enum status status)
{
	/* The driver sees it by the used ring, which is published later. */
	__atomic_store_n(r->status, (uint8_t)status, __ATOMIC_RELAXED);
	gmem_mark(r->disk->mem, r->status, 1);
	r->written = 1;
	if (r->type == TYPE_IN || r->type == TYPE_GET_ID)
		r->written += (uint32_t)r->moved;
}

/* The file did not do as it was asked: the driver's request fails, no more. */
static enum status host_error(struct blk_request *r, int err)
{
	char text[96];

	err_os_text(err, text, sizeof(text));
	log_limited(LOG_WARN,
		    "Block request type %" PRIu32 " at byte %" PRIu64
		    " of the file failed: %s",
		    r->type, r->offset, text);
	r->disk->counts.execute_fails++;
	return STATUS_IOERR;
}

static enum status invalid(struct blk_request *r)
{
	r->disk->counts.invalid_reqs++;
	return STATUS_IOERR;
}

static void finish(struct blk_request *r, enum status status)
{
	answer(r, status);
	r->disk->answered(r->disk, r);
}

/* ---- IN and OUT ---- */

/* Hand the next part to the kernel. */
static void step(struct blk_request *r)
{
	uint64_t share = BLK_TURN_BYTES / (r->disk->n_inflight + 1);
	uint64_t most = MAX(share, BLK_STEP_BYTES);
	uint64_t bytes = 0;
	uint32_t n = 0;

	while (n < r->n_vec && bytes < most)
		bytes += r->vec[n++].iov_len;
	r->n_step = n;
	r->cut = bytes > most ? bytes - most : 0;
	r->vec[n - 1].iov_len -= r->cut;
	if (r->type == TYPE_IN)
		loop_readv(r->disk->loop, &r->op, r->disk->slot, r->vec, n,
			   r->offset);
	else
		loop_writev(r->disk->loop, &r->op, r->disk->slot, r->vec, n,
			    r->offset);
}

static void advance(struct blk_request *r, uint64_t bytes)
{
	r->vec[r->n_step - 1].iov_len += r->cut;
	r->offset += bytes;
	r->moved += bytes;
	r->left -= bytes;
	while (r->n_vec > 0 && bytes >= r->vec->iov_len) {
		bytes -= r->vec->iov_len;
		r->vec++;
		r->n_vec--;
	}
	if (r->n_vec > 0) {
		r->vec->iov_base = (uint8_t *)r->vec->iov_base + bytes;
		r->vec->iov_len -= bytes;
	}
}

/* All that was with the kernel: after an error it may have written some. */
static void mark_step(const struct blk_request *r)
{
	for (uint32_t i = 0; r->type == TYPE_IN && i < r->n_step; i++)
		gmem_mark(r->disk->mem, r->vec[i].iov_base, r->vec[i].iov_len);
}

/* A short result goes on where it ended; an end of file inside is an error. */
static void moved(struct io_op *op, int res)
{
	struct blk_request *r = container_of(op, struct blk_request, op);

	mark_step(r);
	if (res <= 0 || (uint64_t)res > r->left) {
		finish(r, host_error(r, res < 0 ? -res : EIO));
		return;
	}
	advance(r, (uint64_t)res);
	if (r->left > 0) {
		step(r);
		return;
	}
	count_moved(r);
	finish(r, STATUS_OK);
}

static enum status move(struct blk_request *r, struct iovec *vec, uint32_t n,
			uint64_t bytes)
{
	if (bytes == 0 || bytes % BLK_SECTOR_BYTES != 0 ||
	    bytes > BLK_REQUEST_BYTES ||
	    !num_inside(r->sector, bytes / BLK_SECTOR_BYTES, r->disk->sectors))
		return invalid(r);
	r->vec = vec;
	r->n_vec = n;
	r->left = bytes;
	r->offset = r->sector * BLK_SECTOR_BYTES;
	r->op.done = moved;
	step(r);
	return IN_FLIGHT;
}

static enum status begin_in(struct blk_request *r, const struct virtq_chain *c)
{
	if (c->out_bytes != 0)
		return invalid(r);
	return move(r, c->iov + c->n_out, c->n_in, c->in_bytes);
}

static enum status begin_out(struct blk_request *r, const struct virtq_chain *c)
{
	if (r->disk->read_only || c->in_bytes != 0)
		return invalid(r);
	return move(r, c->iov, c->n_out, c->out_bytes);
}

/* ---- the others ---- */

static void flushed(struct io_op *op, int res)
{
	struct blk_request *r = container_of(op, struct blk_request, op);

	finish(r, res < 0 ? host_error(r, -res) : STATUS_OK);
}

static enum status begin_flush(struct blk_request *r)
{
	if (!r->disk->writeback)
		return STATUS_UNSUPP;
	r->disk->counts.flushes++;
	r->op.done = flushed;
	loop_fdatasync(r->disk->loop, &r->op, r->disk->slot);
	return IN_FLIGHT;
}

static enum status get_id(struct blk_request *r, const struct virtq_chain *c)
{
	if (c->out_bytes != 0 ||
	    !virtq_chain_fill(c, r->disk->id, BLK_ID_BYTES))
		return invalid(r);
	r->moved = BLK_ID_BYTES;
	return STATUS_OK;
}

static void allocated(struct io_op *op, int res)
{
	struct blk_request *r = container_of(op, struct blk_request, op);

	if (res == -EOPNOTSUPP || res == -ENOSYS)
		finish(r, STATUS_UNSUPP);
	else
		finish(r, res < 0 ? host_error(r, -res) : STATUS_OK);
}

/* A hole reads as zeros; without UNMAP the blocks have to stay allocated. */
static enum status begin_range(struct blk_request *r, struct virtq_chain *c)
{
	bool zero = r->type == TYPE_WRITE_ZEROES;
	struct range g;

	if (r->disk->read_only || c->in_bytes != 0 ||
	    c->out_bytes != sizeof(g) || !virtq_chain_take(c, &g, sizeof(g)))
		return invalid(r);
	if (g.flags & ~(uint32_t)(zero ? RANGE_UNMAP : 0))
		return STATUS_UNSUPP;
	if (g.n_sectors > BLK_RANGE_SECTORS ||
	    !num_inside(g.sector, g.n_sectors, r->disk->sectors))
		return invalid(r);
	if (g.n_sectors == 0)
		return STATUS_OK;
	r->offset = g.sector * BLK_SECTOR_BYTES;
	r->op.done = allocated;
	loop_fallocate(r->disk->loop, &r->op, r->disk->slot,
		       FALLOC_FL_KEEP_SIZE | (zero && !(g.flags & RANGE_UNMAP)
						      ? FALLOC_FL_ZERO_RANGE
						      : FALLOC_FL_PUNCH_HOLE),
		       r->offset, (uint64_t)g.n_sectors * BLK_SECTOR_BYTES);
	return IN_FLIGHT;
}

static enum status begin(struct blk_request *r, struct virtq_chain *c)
{
	switch (r->type) {
	case TYPE_IN:
		return begin_in(r, c);
	case TYPE_OUT:
		return begin_out(r, c);
	case TYPE_FLUSH:
		return begin_flush(r);
	case TYPE_GET_ID:
		return get_id(r, c);
	case TYPE_DISCARD:
	case TYPE_WRITE_ZEROES:
		return begin_range(r, c);
	default:
		return STATUS_UNSUPP;
	}
}

/* The last writable byte is the status, whatever segment it shares. */
static bool cut_status(struct blk_request *r, struct virtq_chain *c)
{
	struct iovec *last = c->iov + c->n_out + c->n_in - 1;

	if (c->n_in == 0)
		return false;
	last->iov_len--;
	r->status = (uint8_t *)last->iov_base + last->iov_len;
	c->in_bytes--;
	if (last->iov_len == 0)
		c->n_in--;
	return true;
}

int blk_request_read(struct blk_request *r, struct blk_disk *disk,
		     struct virtq_chain *c)
{
	struct header h;

	if (!virtq_chain_take(c, &h, sizeof(h)) || !cut_status(r, c)) {
		disk->counts.invalid_reqs++;
		return -EPROTO;
	}
	r->disk = disk;
	r->head = c->head;
	r->type = h.type;
	r->sector = h.sector;
	return 0;
}

/* What is too large is refused, and moves nothing. */
uint64_t blk_request_bytes(const struct blk_request *r,
			   const struct virtq_chain *c)
{
	uint64_t bytes = 0;

	if (r->type == TYPE_IN)
		bytes = c->in_bytes;
	else if (r->type == TYPE_OUT)
		bytes = c->out_bytes;
	return bytes <= BLK_REQUEST_BYTES ? bytes : 0;
}

bool blk_request_start(struct blk_request *r, struct virtq_chain *c)
{
	enum status status;

	r->start_ns = clock_now_ns();
	r->moved = 0;
	status = begin(r, c);
	if (status != IN_FLIGHT)
		answer(r, status);
	return status == IN_FLIGHT;
}
