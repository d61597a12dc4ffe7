/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.h: the Castagnoli CRC, by the instruction that every CPU which can run
 * KVM has (SSE4.2). It finds accidents, not attackers. Any thread.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Go on from `crc`, 0 at the start: crc32c(crc32c(0, a), b) is that of ab. */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);

#endif
