/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h: files that the agent gives to a client, or takes from one.
 *
 * Both return 0 when the last message stands in tx, and negative errno when
 * nobody is there to take one.
 */
#ifndef GUEST_INIT_COPY_H
#define GUEST_INIT_COPY_H

#include <stdint.h>

struct wire;

/* Send the regular file path. */
int copy_get(int conn, const char *path, struct wire *tx);

/*
 * Make path a file of size bytes, which come through rx. It is written under
 * another name in the same folder, synced and renamed: path is the old file or
 * the whole new one at any time.
 */
int copy_put(int conn, const char *path, uint32_t mode, uint64_t size,
	     struct wire *rx, struct wire *tx);

#endif
