/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patched_state.h: a device's saved state whose last two numbers, an index and
 * a length, are others than it would ever save.
 */
#ifndef TESTS_VMM_PATCHED_STATE_H
#define TESTS_VMM_PATCHED_STATE_H

#include "base/archive.h"

/* The state of len bytes in buf, to be loaded from the start. */
static inline struct archive patched_state(uint8_t *buf, size_t len, uint32_t a,
					   uint32_t b)
{
	struct archive tail = archive_saver(buf + len - 8, 8);

	archive_u32(&tail, &a);
	archive_u32(&tail, &b);
	return archive_loader(buf, len);
}

#endif
