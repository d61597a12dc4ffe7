/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A user's filter file: what is taken lies inside the file, whole. The checksum
 * is made right, or nothing would get past it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/filter.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t at = offsetof(struct filter_header, n);
	struct filter filter[FILTER_ROLES] = {{NULL, 0}};
	uint8_t *file = malloc(size + 1);
	size_t total = sizeof(struct filter_header);
	struct err e;

	check(file != NULL);
	memcpy(file, data, size);
	if (size >= sizeof(struct filter_header)) {
		uint32_t crc = crc32c(0, file + at, size - at);

		memcpy(file + offsetof(struct filter_header, crc), &crc,
		       sizeof(crc));
	}
	if (filter_parse(filter, file, size, &e) == 0) {
		for (int i = FILTER_MAIN; i <= FILTER_VCPU; i++) {
			check((const uint8_t *)filter[i].code == file + total);
			check(filter[i].n > 0 &&
			      filter[i].n <= FILTER_MAX_CODE);
			total += filter[i].n * sizeof(struct sock_filter);
		}
		check(total == size);
	}
	free(file);
	return 0;
}
