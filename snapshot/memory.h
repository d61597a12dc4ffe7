/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h: guest RAM as a file: in the order of addresses, without header,
 * sparse where it is zero. Helper thread; the guest is paused, where nothing
 * else is said.
 *
 * Maps of pages are those of vmm/dirty.h.
 */
#ifndef SNAPSHOT_MEMORY_H
#define SNAPSHOT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
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
 * The same for one chunk, of a file of RAM's size. *empty: the digest of a
 * chunk without pages, once it is known; 0 at first.
 */
int memory_write_chunk(const struct gmem *m, uint32_t i, int fd, uint32_t *crc,
		       uint32_t *empty, struct err *e);

/* Write that much of RAM there; whether a page is zero. Any thread. */
int memory_put(int fd, const uint8_t *p, size_t len, uint64_t offset,
	       struct err *e);
bool memory_is_zero(const uint8_t *page);

/* Then a page of anonymous memory that is not there is zero. */
bool memory_no_swap(void);

/* Make the file as long as RAM. */
int memory_size(const struct gmem *m, int fd, struct err *e);

/*
 * Write these pages into a file of that length. Zeros are written too, or, if
 * `punch`, become holes.
 */
int memory_write_pages(const struct gmem *m, int fd, const uint64_t *pages,
		       bool punch, struct err *e);

/* Whether one of the pages is in chunk i. */
bool memory_has_any(const uint64_t *pages, const struct gmem *m, uint32_t i);

/*
 * The CRC32C of each chunk that holds one of the pages (NULL: of all); the
 * others in crc stay as they are.
 */
void memory_digest(const struct gmem *m, const uint64_t *pages, uint32_t *crc);

/*
 * Add to *map the pages that are there: what is not is zero if RAM is
 * anonymous.
 */
void memory_resident(const struct gmem *m, uint64_t *map);

/* Add to *map the pages that are not as in the file that RAM is mapped from. */
int memory_differs(const struct gmem *m, int fd, uint64_t *map, struct err *e);

/* The same of n pages from `at` on; buf is as large. */
int memory_compare(const struct gmem *m, int fd, uint8_t *buf, size_t at,
		   size_t n, uint64_t *map, struct err *e);

/*
 * Open the memory file of a snapshot for gmem_back_file(): a regular file of at
 * least its size (more is accepted, as in Firecracker). Returns the descriptor.
 * A Diff that was not merged is refused, as far as a sample tells (partial.h).
 */
int memory_open(const char *path, const struct state_file *f, struct err *e);

#endif
