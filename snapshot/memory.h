/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h: guest RAM as a file: in the order of addresses, without header,
 * sparse where it is zero. Helper thread; the guest is paused.
 */
#ifndef SNAPSHOT_MEMORY_H
#define SNAPSHOT_MEMORY_H

#include <stdint.h>

struct err;
struct gmem;
struct state_file;

#define MEMORY_CHUNK_BYTES (2u << 20)

/* How many chunks there are digests of: the last may be shorter. */
uint32_t memory_chunks(const struct gmem *m);

/*
 * Write all of RAM to an empty file and put the CRC32C of each chunk into crc.
 * Nothing that the guest never touched is read. Texts as those of target.h.
 */
int memory_write(const struct gmem *m, int fd, uint32_t *crc, struct err *e);

/*
 * Open the memory file of a snapshot for gmem_back_file(): a regular file of at
 * least its size (more is accepted, as in Firecracker). Returns the descriptor.
 */
int memory_open(const char *path, const struct state_file *f, struct err *e);

#endif
