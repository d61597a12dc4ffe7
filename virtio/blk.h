/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.h: virtio block device (virtio 1.2, section 5.2) on a host file.
 *
 * Requests of many segments go to the kernel as they stand in guest RAM, on the
 * file in a fixed slot of the loop. Nothing is allocated after blk_new().
 * Threads: the loop thread.
 */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"
#include "virtio/limiter.h"

struct blk;

#define BLK_ID_BYTES 20
#define BLK_SEG_MAX  128

/* A file that was opened and measured, ready to be a drive's. */
struct blk_file {
	int fd;		       /* O_RDONLY when the drive is read-only */
	uint64_t bytes;	       /* rounded down to whole sectors by the opener */
	char id[BLK_ID_BYTES]; /* what GET_ID answers, NUL-padded */
};

struct blk_config {
	unsigned int slot; /* of the loop, see loop_slot_set() */
	bool read_only;
	bool writeback; /* offer FLUSH (cache_type Writeback) */
};

/* Deltas are the reader's business: these only grow. */
struct blk_counts {
	uint64_t activate_fails, cfg_fails, no_avail_buffer, event_fails;
	uint64_t execute_fails, invalid_reqs, flushes, queue_events;
	uint64_t rate_limiter_events, updates, update_fails;
	uint64_t read_bytes, write_bytes, reads, writes;
	uint64_t read_min_us, read_max_us, read_sum_us;
	uint64_t write_min_us, write_max_us, write_sum_us;
	uint64_t throttled, engine_throttled, remaining_reqs;
};

/* Takes file->fd on success. Adds the device to vm. */
int blk_new(struct blk **out, struct vm *vm, const struct blk_config *cfg,
	    struct blk_file *file, struct err *e);

/*
 * After virtio_stop(), or before virtio_listen(); accepts NULL. The loop's slot
 * keeps the file until another is put there.
 */
void blk_free(struct blk *b);

struct virtio_dev *blk_dev(struct blk *b);
const struct blk_counts *blk_counts(const struct blk *b);

/* The file's descriptor, of a device that is paused: to sync it. */
int blk_fd(const struct blk *b);

/*
 * To be set, at any time. Every request is an operation; reads and writes are
 * bytes too.
 */
struct limiter *blk_limiter(struct blk *b);

/* A change of a drive's file; the caller's until done() has been called. */
struct blk_swap {
	void (*done)(struct blk_swap *w, int err);
};

/*
 * Put file->fd under a drive: requests in flight finish on the old file, later
 * ones go to the new one, the capacity changes and the driver is told.
 * w->done(err) is called on the loop: 0; -ETIMEDOUT if what is in flight did
 * not end within 200 ms, the old file stays then; -EBUSY, at once, if a change
 * is under way. Takes file->fd in every case.
 */
void blk_swap(struct blk *b, const struct blk_file *file, struct blk_swap *w);

#endif
