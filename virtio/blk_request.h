/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk_request.h: one request of a virtio-blk driver, from its chain to its
 * status byte (virtio 1.2, section 5.2.6).
 *
 * The slot that holds a request is its device's and is used again when the
 * request has been answered. Threads: the loop thread.
 */
#ifndef VIRTIO_BLK_REQUEST_H
#define VIRTIO_BLK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/loop.h"
#include "virtio/blk.h"
#include "virtio/queue.h"

#define BLK_SECTOR_BYTES 512

/* Header and status have a segment each; one in pieces counts as more. */
#define BLK_IOV_MAX (BLK_SEG_MAX + 2)

/*
 * The kernel may copy inline what it is handed, so all requests in flight share
 * this much a turn of the loop, but each moves at least the smaller amount.
 */
#define BLK_TURN_BYTES (4 * MIB)
#define BLK_STEP_BYTES (128 * KIB)

/* What a segment and a request may be: the driver is told the former. */
#define BLK_SIZE_MAX	  (128 * KIB)
#define BLK_REQUEST_BYTES (BLK_SEG_MAX * BLK_SIZE_MAX)

/* The most that a DISCARD or WRITE_ZEROES may name: 2 GiB. */
#define BLK_RANGE_SECTORS ((uint32_t)1 << 22)

struct blk_request;

/* What requests work on. */
struct blk_disk {
	struct loop *loop;
	const struct gmem *mem;
	unsigned int slot;
	uint64_t sectors;
	bool read_only;
	bool writeback;
	char id[BLK_ID_BYTES];
	uint32_t n_inflight; /* requests that are not answered yet */
	struct blk_counts counts;
	/* Loop: a request that was in flight has been answered. */
	void (*answered)(struct blk_disk *disk, struct blk_request *r);
};

struct blk_request {
	struct io_op op;
	struct blk_request *next; /* the device's list of idle slots */
	struct blk_disk *disk;
	uint16_t head;
	uint32_t type;
	uint64_t sector;
	uint32_t written; /* bytes of guest memory, when answered */
	uint8_t *status;  /* in guest memory */
	uint64_t start_ns;
	/* Data that is still to be moved. */
	struct iovec *vec;
	uint32_t n_vec;
	uint32_t n_step; /* of these are with the kernel */
	uint64_t cut;	 /* bytes that the last of them is shortened by */
	uint64_t offset; /* in the file */
	uint64_t left;
	uint64_t moved;
	struct iovec iov[BLK_IOV_MAX]; /* what the chain is popped into */
};

/*
 * Read the request whose chain c was popped into r->iov. Returns 0, or -EPROTO
 * if it has no header or nothing to put a status in, which no answer can tell
 * the driver.
 */
int blk_request_read(struct blk_request *r, struct blk_disk *disk,
		     struct virtq_chain *c);

/* Bytes that it is to move between file and guest, for the limiter. */
uint64_t blk_request_bytes(const struct blk_request *r,
			   const struct virtq_chain *c);

/* Start it: true if it is in flight, false if it has been answered. */
bool blk_request_start(struct blk_request *r, struct virtq_chain *c);

#endif
