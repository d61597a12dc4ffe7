/* SPDX-License-Identifier: Apache-2.0 */
#include "base/archive.h"

#include <endian.h>
#include <string.h>

#include "base/num.h"

void archive_bytes(struct archive *a, void *p, size_t len)
{
	if (a->failed || !num_inside(a->at, len, a->size)) {
		a->failed = true;
		return;
	}
	if (a->out)
		memcpy(a->out + a->at, p, len);
	else
		memcpy(p, a->in + a->at, len);
	a->at += len;
}

void archive_u8(struct archive *a, uint8_t *v)
{
	archive_bytes(a, v, sizeof(*v));
}

void archive_u16(struct archive *a, uint16_t *v)
{
	uint16_t le = htole16(*v);

	archive_bytes(a, &le, sizeof(le));
	*v = le16toh(le);
}

void archive_u32(struct archive *a, uint32_t *v)
{
	uint32_t le = htole32(*v);

	archive_bytes(a, &le, sizeof(le));
	*v = le32toh(le);
}

void archive_u64(struct archive *a, uint64_t *v)
{
	uint64_t le = htole64(*v);

	archive_bytes(a, &le, sizeof(le));
	*v = le64toh(le);
}

void archive_bool(struct archive *a, bool *v)
{
	uint8_t byte = *v;

	archive_u8(a, &byte);
	if (byte > 1)
		a->failed = true;
	else
		*v = byte;
}
