/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

static uint8_t table[3 * PATTERN_PERIOD];

const uint8_t *pattern_at(uint64_t position)
{
	if (table[0] == 0) {
		uint64_t x = 0x9e3779b97f4a7c15ULL;
		for (uint64_t i = 0; i < PATTERN_PERIOD; i += sizeof(x)) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(table + i, &x, sizeof(x));
		}
		for (uint64_t i = 1; i < 3; i++)
			memcpy(table + i * PATTERN_PERIOD, table,
			       PATTERN_PERIOD);
	}
	return table + position % PATTERN_PERIOD;
}
