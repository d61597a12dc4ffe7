/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdint.h>

/* What may follow a first byte: the number of bytes and the second's range. */
struct follow {
	uint8_t n, low, high;
};

static struct follow follow_of(uint8_t first)
{
	if (first < 0x80)
		return (struct follow){0, 0, 0};
	if (first >= 0xc2 && first <= 0xdf)
		return (struct follow){1, 0x80, 0xbf};
	if (first == 0xe0)
		return (struct follow){2, 0xa0, 0xbf};
	if (first == 0xed)
		return (struct follow){2, 0x80, 0x9f};
	if (first >= 0xe1 && first <= 0xef)
		return (struct follow){2, 0x80, 0xbf};
	if (first == 0xf0)
		return (struct follow){3, 0x90, 0xbf};
	if (first >= 0xf1 && first <= 0xf3)
		return (struct follow){3, 0x80, 0xbf};
	if (first == 0xf4)
		return (struct follow){3, 0x80, 0x8f};
	return (struct follow){UINT8_MAX, 0, 0};
}

size_t utf8_prefix(const char *s, size_t len, size_t *bad)
{
	size_t i = 0;

	while (i < len) {
		struct follow f = follow_of((uint8_t)s[i]);

		if (f.n == UINT8_MAX) {
			*bad = 1;
			return i;
		}
		for (size_t k = 1; k <= f.n; k++) {
			if (i + k == len) {
				*bad = 0;
				return i;
			}

			uint8_t c = (uint8_t)s[i + k];

			if (c < f.low || c > f.high) {
				*bad = k;
				return i;
			}
			f.low = 0x80;
			f.high = 0xbf;
		}
		i += f.n + (size_t)1;
	}
	return len;
}
