/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial.h: a 16550A UART at COM1.
 *
 * Output never blocks a vCPU: bytes go into a ring that the loop empties into a
 * descriptor; what does not fit is dropped and counted. Input comes from the
 * loop, as much as the receive FIFO has room for; the rest stays in the kernel.
 *
 * Threads: the bus handlers on vCPU threads, under a short lock that is held
 * over no system call; the others on the loop.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/loop.h"
#include "vmm/bus.h"

struct archive;
struct err;
struct irq;

#define SERIAL_FIFO_BYTES 64
#define SERIAL_RING_BYTES 65536 /* a power of two; touched as it fills */

struct serial_counts {
	uint64_t errors, flushes, missed_reads, missed_writes, reads, writes;
	uint64_t dropped_bytes; /* by a full ring or by the rate limit */
};

struct serial {
	struct bus_dev bus;
	pthread_mutex_t lock;
	const struct irq *irq;
	struct loop *loop;
	/* registers, under the lock */
	uint8_t ier, lcr, mcr, scr, dll, dlm, lsr_overrun;
	bool fifo_on, thr_irq;
	uint8_t in[SERIAL_FIFO_BYTES];
	uint32_t in_head, in_len;
	/* output ring, under the lock */
	struct bucket limit; /* of output, in bytes */
	uint8_t *out;
	uint32_t out_head, out_tail;
	bool flush_posted;
	struct serial_counts counts;
	/* the loop's */
	struct loop_msg flush_msg;
	struct io_op out_ready; /* waits until out_fd takes bytes again */
	struct io_op in_ready;
	struct loop_msg in_msg; /* the guest made room for input */
	int out_fd, in_fd;	/* borrowed */
	bool in_stopped;	/* under the lock: the FIFO was full */
	bool in_posted;		/* under the lock: in_msg is on its way */
	bool in_always_ready;	/* in_fd cannot be polled */
	bool closing;
};

int serial_init(struct serial *s, struct loop *l, const struct irq *irq,
		struct err *e);

/* Drop output beyond this rate: tokens are bytes. Before vCPUs run. */
void serial_limit(struct serial *s, const struct bucket *limit);

/*
 * Loop: connect to descriptors (-1: none). Both must be non-blocking; both are
 * borrowed. in_fd may be anything: end of file or an error ends reading.
 */
void serial_connect(struct serial *s, int in_fd, int out_fd);

/* Loop: stop reading and writing; true once no operation is active. */
bool serial_disconnect(struct serial *s);

/* Write out what is left, as far as the descriptor takes it at once. */
void serial_flush(struct serial *s);
void serial_exit(struct serial *s);

/*
 * Registers and received bytes, of a guest that is paused, for a snapshot. What
 * the guest has sent is the host's by now and not in it.
 */
void serial_describe(struct serial *s, struct archive *a);

#endif
