/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_pool.h: bytes that wait for slow readers, in chunks of one pool.
 *
 * The pool is mapped once and touched only as far as it is used; when nothing
 * is in it, all its memory but a stock goes back to the host. No locks.
 */
#ifndef VIRTIO_VSOCK_POOL_H
#define VIRTIO_VSOCK_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VSOCK_CHUNK_BYTES 4096u

/* Chunks have numbers from 1 on; 0 is none. */
struct vsock_pool {
	uint8_t *mem;
	uint32_t *next; /* by number: the one behind it in its list */
	uint32_t n;
	uint32_t n_fresh; /* numbers above were never used */
	uint32_t n_busy;
	uint32_t idle; /* the first that was used before */
};

/* A queue of bytes; zeroed memory is an empty one. */
struct vsock_buf {
	uint32_t first;
	uint32_t last;
	uint32_t start; /* of the bytes in the first chunk */
	uint32_t bytes;
};

/* Returns 0 or a negative errno; *p must be zeroed. */
int vsock_pool_init(struct vsock_pool *p, uint64_t bytes);
void vsock_pool_exit(struct vsock_pool *p);

/* Nothing is added soon: keep a smaller stock. */
void vsock_pool_trim(struct vsock_pool *p);

/* Append; false if the pool has no room, and then a part may be there. */
bool vsock_buf_add(struct vsock_pool *p, struct vsock_buf *b,
		   const struct iovec *iov, uint32_t n_iov);

/* Where the bytes lie, from the first on; returns how many of max are used. */
uint32_t vsock_buf_peek(const struct vsock_pool *p, const struct vsock_buf *b,
			struct iovec *iov, uint32_t max);

/* Remove the first n bytes, of at least as many. */
void vsock_buf_drop(struct vsock_pool *p, struct vsock_buf *b, uint32_t n);

#endif
