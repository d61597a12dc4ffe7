/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.h: virtio-blk driver (virtio 1.2, section 5.2).
 *
 * Data that is written and verified follows from a seed and the sector's
 * number alone, so that the host can check it:
 *	x = (seed + 1) * 0x9e3779b97f4a7c15 ^ (sector + 1) * 0xbf58476d1ce4e5b9
 * (1 if that is 0), then for each of the 64 little-endian words of the sector
 * x ^= x << 13, x ^= x >> 7, x ^= x << 17, word = x.
 */
#ifndef NANO_BLK_H
#define NANO_BLK_H

#include "guest/nano/virtio.h"

#define SECTOR	     512
#define BLK_IN	     0
#define BLK_OUT	     1
#define BLK_FLUSH    4
#define BLK_GET_ID   8
#define BLK_DISCARD  11
#define BLK_ZEROES   13
#define BLK_ID_BYTES 20

#define BLK_F_RO      5
#define BLK_F_FLUSH   9
#define BLK_F_DISCARD 13
#define BLK_F_ZEROES  14

#define BLK_DEPTH_MAX 128
#define BLK_SEGS_MAX  126

#define BLK_TIMEOUT_NS (30 * NS_PER_S)

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t sectors, flags;
};

/* A drive from open to close. */
struct blk {
	struct vdev *dev;
	struct vq q;
	uint64_t sectors;
};

const char *blk_open(struct blk *b, struct vdev *dev);
/*
 * One request with one buffer (NULL: none). Returns the status byte, -1 if no
 * answer came, with the used length in *used (may be NULL).
 */
int blk_request(struct blk *b, uint32_t type, uint64_t sector,
		const struct vq_buf *data, uint32_t *used);

/* Many requests, several in flight. */
struct blk_job {
	uint32_t type; /* BLK_IN or BLK_OUT */
	uint32_t depth, segs, bytes;
	bool random;
	uint64_t start; /* first sector */
	uint64_t span;	/* sectors that it goes round in */
	uint64_t count; /* of requests, 0: no limit */
	uint64_t ns;	/* of time, 0: no limit */
	bool pattern;	/* write it, or verify it */
	uint64_t seed;
	bool sum; /* read in order (depth 1) */
	/* The result. */
	uint64_t done, took_ns;
	uint32_t crc;
};

/* "" or what went wrong. */
const char *blk_run(struct blk *b, struct blk_job *j);

#endif
