/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.h: the host's end of a network device.
 *
 * Threads: tap_open() where paths may be opened (the helper); the rest the
 * loop.
 */
#ifndef VIRTIO_TAP_H
#define VIRTIO_TAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;

#define TAP_NAME_BYTES 16 /* with the NUL */

/*
 * Open the TAP of that name: without packet information, with a virtio header
 * of NET_HDR_BYTES, little-endian, non-blocking, close-on-exec. One that does
 * not exist is created where the process may; "" and "tap%d" let the kernel
 * choose a name. name has len bytes and may hold anything; actual is what the
 * interface is called, also cut at a NUL after an error. Returns the
 * descriptor or a negative errno with Firecracker's text (without "Network
 * config error: "), which for one that belongs to somebody else says so.
 */
int tap_open(const char *name, size_t len, char actual[TAP_NAME_BYTES],
	     struct err *e);

/*
 * Move one frame, its header first: bytes moved, or a negative errno; -EAGAIN
 * if there is none, or no room. A frame that is longer than the memory is cut.
 */
ssize_t tap_read(int fd, const struct iovec *iov, unsigned int n_iov);
ssize_t tap_write(int fd, const struct iovec *iov, unsigned int n_iov);

/* Which offloads the guest takes when it receives: features as negotiated. */
int tap_set_offload(int fd, uint64_t features);

#endif
