/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <nmmintrin.h>
#include <string.h>

__attribute__((target("sse4.2"))) uint32_t crc32c(uint32_t crc, const void *p,
						  size_t len)
{
	const uint8_t *at = p;
	uint64_t c = ~crc;

	for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		c = _mm_crc32_u64(c, word);
		at += sizeof(word);
	}
	for (; len > 0; len--)
		c = _mm_crc32_u8((uint32_t)c, *at++);
	return ~(uint32_t)c;
}
