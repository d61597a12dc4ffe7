/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver_input.h: what a hostile driver does, read from a fuzzer's bytes.
 *
 * RAM is 64 KiB in two regions that are allocated separately, so that an access
 * past either end of one is seen.
 */
#ifndef TESTS_FUZZ_DRIVER_INPUT_H
#define TESTS_FUZZ_DRIVER_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "tests/virtio/driver.h"

#define LOW_BYTES  0xc000
#define HIGH_GPA   0x100000000
#define HIGH_BYTES 0x4000

struct input {
	const uint8_t *p;
	size_t left;
};

/* Bytes past the end are 0. */
static inline uint64_t number(struct input *in, size_t bytes)
{
	uint64_t v = 0;
	size_t n = MIN(bytes, in->left);

	memcpy(&v, in->p, n);
	in->p += n;
	in->left -= n;
	return v;
}

static inline uint32_t below(struct input *in, uint32_t n)
{
	return (uint32_t)number(in, 1) % n;
}

static inline void new_ram(struct gmem *m)
{
	*m = (struct gmem){
		.region = {{0, LOW_BYTES, calloc(1, LOW_BYTES)},
			   {HIGH_GPA, HIGH_BYTES, calloc(1, HIGH_BYTES)}},
		.n_regions = 2,
		.bytes = LOW_BYTES + HIGH_BYTES,
	};
	if (!m->region[0].hva || !m->region[1].hva)
		abort();
}

/* An address that is likely to be of interest. */
static inline uint64_t address(struct input *in, uint32_t len)
{
	switch (below(in, 8)) {
	case 0:
		return LOW_BYTES - len;
	case 1:
		return LOW_BYTES - len + 1;
	case 2:
		return HIGH_GPA + HIGH_BYTES - len;
	case 3:
		return HIGH_GPA - 8;
	case 4:
		return number(in, 8);
	default:
		return DATA_GPA + number(in, 1) * 64;
	}
}

static inline uint32_t length(struct input *in)
{
	switch (below(in, 8)) {
	case 0:
		return (uint32_t)number(in, 4);
	case 1:
		return 0;
	case 2:
		return 512 * (1 + below(in, 8));
	case 3:
		return 16 * below(in, 8);
	default:
		return 1 + (uint32_t)number(in, 1);
	}
}

/* A descriptor of the ring, or of a table in RAM. */
static inline void write_desc(struct driver *d, struct input *in, uint64_t ring)
{
	uint64_t table = below(in, 4) ? ring : DATA_GPA + below(in, 8) * 256;
	uint32_t i = below(in, 16);
	uint32_t len = length(in);
	uint64_t gpa = address(in, len);
	uint16_t flags = (uint16_t)below(in, 8);
	uint16_t next = (uint16_t)below(in, 17);

	if (gmem_valid(d->mem, table + i * 16ULL, 16))
		put_desc(d, table, i, gpa, len, flags, next);
}

static inline void write_avail(struct driver *d, struct input *in)
{
	put16(d, AVAIL_GPA + 4 + 2 * (uint64_t)below(in, 17),
	      (uint16_t)below(in, 18));
}

/* Change one thing of the ring: a descriptor, an entry or the index. */
static inline void write_ring(struct driver *d, struct input *in,
			      uint32_t which)
{
	if (which == 0)
		write_desc(d, in, DESC_GPA);
	else if (which == 1)
		write_avail(d, in);
	else
		put16(d, AVAIL_GPA + 2, (uint16_t)below(in, 20));
}

static inline bool in_region(const struct gmem *m, const struct iovec *v)
{
	const uint8_t *p = v->iov_base;

	for (unsigned int i = 0; i < m->n_regions; i++) {
		const struct gmem_region *r = &m->region[i];

		if (p >= r->hva &&
		    num_inside((uint64_t)(p - r->hva), v->iov_len, r->bytes))
			return true;
	}
	return false;
}

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

#endif
