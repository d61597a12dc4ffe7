/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h: device side of a split virtqueue (virtio 1.2, section 2.7).
 *
 * The driver is hostile: each descriptor is copied once and the copy checked;
 * counters are our own. Threads: the loop thread only; the guest's CPUs write
 * the rings meanwhile.
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct gmem;

#define VIRTQ_MAX_SIZE 256

/* What the driver set by the transport's registers. */
struct virtq_config {
	uint32_t size; /* a power of two, 1..VIRTQ_MAX_SIZE */
	bool ready;    /* read by vCPUs: stored atomically */
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
};

struct virtq {
	struct virtq_config cfg;
	/* Set at activation, from the checked addresses; NULL: not started. */
	uint8_t *desc;
	const struct gmem *mem;
	uint8_t *avail;
	uint8_t *used;
	uint16_t mask;	     /* size - 1 */
	uint16_t last_avail; /* next entry of the available ring to take */
	uint16_t next_used;  /* next entry of the used ring to fill */
	uint16_t signalled;  /* next_used when the driver was last asked */
	bool event_idx;
	bool indirect;
	bool broken; /* the driver broke the rules; quiet until reset */
	uint8_t inflight[VIRTQ_MAX_SIZE / 8]; /* heads that are popped */
};

/*
 * A chain of descriptors as host addresses: readable (driver to device) ones
 * first. iov is the caller's array of max_iov entries.
 */
struct virtq_chain {
	uint16_t head;
	struct iovec *iov;
	uint32_t max_iov;
	uint32_t n_out; /* readable segments: iov[0..n_out) */
	uint32_t n_in;	/* writable segments: iov[n_out..n_out + n_in) */
	uint64_t out_bytes;
	uint64_t in_bytes;
	const struct gmem *mem; /* which writes into it are to be marked in */
};

/*
 * Check the configuration and start: size, alignment (descriptors 16,
 * available 2, used 4 bytes) and that each ring lies in RAM. -EINVAL if not.
 * A queue that the driver did not make ready stays stopped, which is no error:
 * it is empty for ever.
 */
int virtq_start(struct virtq *q, const struct gmem *m, bool event_idx,
		bool indirect);

/* Back to the state after reset, configuration included. */
void virtq_reset(struct virtq *q);

/*
 * Take the next chain into *c (iov and max_iov set by the caller). Its segments
 * stay valid until the VM is freed.
 *
 * Returns 1, 0 if the ring is empty, -EPROTO if the driver broke the rules; the
 * queue then stays broken until reset and the device must set NEEDS_RESET.
 * A chain of more than max_iov segments is against the rules too (devices
 * announce their limit), and so is one of more than 4 GiB.
 */
int virtq_pop(struct virtq *q, const struct gmem *m, struct virtq_chain *c);

/*
 * Move the first len readable bytes of the chain to dst, wherever the driver
 * cut it into segments. Returns false, and moves nothing, if there are fewer.
 */
bool virtq_chain_take(struct virtq_chain *c, void *dst, size_t len);

/* Copy src to the first len writable bytes; false if there are fewer. It is
 * marked (gmem_mark()), which who else writes to the segments has to do. */
bool virtq_chain_fill(const struct virtq_chain *c, const void *src, size_t len);

/*
 * Undo the last virtq_pop(), or several from the last one backwards: the chain
 * is popped anew, from what the ring then says. For a device that cannot serve
 * it now. Chains popped before may have been pushed meanwhile.
 */
void virtq_unpop(struct virtq *q, uint16_t head);

/* Give a chain back: bytes is what was written to its writable part. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t bytes);

/*
 * The same in two steps, for several chains that the driver may only see
 * together (VIRTIO_NET_F_MRG_RXBUF): virtq_fill() each, then virtq_publish().
 */
void virtq_fill(struct virtq *q, uint16_t head, uint32_t bytes);
void virtq_publish(struct virtq *q);

/* Whether the driver wants an interrupt for what was pushed since. */
bool virtq_needs_irq(struct virtq *q);

/*
 * Ask for, or do without, doorbells. virtq_enable_kick() returns true if the
 * ring got entries meanwhile: go on popping then.
 */
void virtq_disable_kick(struct virtq *q);
bool virtq_enable_kick(struct virtq *q);

#endif
