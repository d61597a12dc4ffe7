/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sha256.h: SHA-256 (FIPS 180-4), so that guest and host can compare what each
 * of them sees in a drive.
 */
#ifndef GUEST_INIT_SHA256_H
#define GUEST_INIT_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BLOCK 64
#define SHA256_HEX   65 /* digits and NUL */

struct sha256 {
	uint32_t h[8];
	uint64_t bytes;
	uint8_t block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);

/* Finish; s must be initialised again before it is used again. */
void sha256_hex(struct sha256 *s, char hex[SHA256_HEX]);

#endif
