/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive.h: fields to and from a buffer, little-endian, without padding.
 *
 * One function describes the state of a thing and serves both ways:
 *
 *	archive_u32(a, &q->size);	// writes it, or reads it
 *
 * What does not fit, or is not there, makes the archive fail for good: later
 * fields are then left as they are, and the caller looks once, at the end. What
 * was read is checked by who knows what it means. Any thread.
 */
#ifndef BASE_ARCHIVE_H
#define BASE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct archive {
	uint8_t *out;	   /* NULL: loading */
	const uint8_t *in; /* NULL: saving */
	size_t size;
	size_t at; /* bytes written or read */
	bool failed;
};

static inline struct archive archive_saver(void *buf, size_t size)
{
	return (struct archive){.out = buf, .size = size};
}

static inline struct archive archive_loader(const void *buf, size_t size)
{
	return (struct archive){.in = buf, .size = size};
}

static inline bool archive_loading(const struct archive *a)
{
	return !a->out;
}

/* Nothing failed and, when loading, nothing is left over. */
static inline bool archive_ok(const struct archive *a)
{
	return !a->failed && (a->out || a->at == a->size);
}

void archive_bytes(struct archive *a, void *p, size_t len);
void archive_u8(struct archive *a, uint8_t *v);
void archive_u16(struct archive *a, uint16_t *v);
void archive_u32(struct archive *a, uint32_t *v);
void archive_u64(struct archive *a, uint64_t *v);

/* One byte, 0 or 1: anything else fails. */
void archive_bool(struct archive *a, bool *v);

#endif
