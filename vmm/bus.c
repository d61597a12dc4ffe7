/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

int bus_add(struct bus *b, uint64_t start, uint64_t len, struct bus_dev *d)
{
	uint64_t end;

	if (len == 0 || !num_add(start, len, &end))
		return -EINVAL;
	for (unsigned int i = 0; i < b->n_regions; i++) {
		const struct bus_region *r = &b->region[i];

		if (start < r->start + r->len && r->start < end)
			return -EEXIST;
	}
	if (b->n_regions == BUS_MAX_REGIONS)
		return -ENOSPC;
	b->region[b->n_regions++] =
		(struct bus_region){.start = start, .len = len, .dev = d};
	return 0;
}

/* The region that holds all of [addr, addr + len), or NULL. */
static const struct bus_region *find(const struct bus *b, uint64_t addr,
				     uint32_t len)
{
	for (unsigned int i = 0; i < b->n_regions; i++) {
		const struct bus_region *r = &b->region[i];

		if (addr >= r->start &&
		    num_inside(addr - r->start, len, r->len))
			return r;
	}
	return NULL;
}

int bus_read(const struct bus *b, struct vcpu *vcpu, uint64_t addr, void *data,
	     uint32_t len)
{
	const struct bus_region *r = find(b, addr, len);

	if (!r) {
		memset(data, 0xff, len);
		return -ENODEV;
	}
	r->dev->ops->read(r->dev, vcpu, addr - r->start, data, len);
	return 0;
}

int bus_write(const struct bus *b, struct vcpu *vcpu, uint64_t addr,
	      const void *data, uint32_t len)
{
	const struct bus_region *r = find(b, addr, len);

	if (!r)
		return -ENODEV;
	r->dev->ops->write(r->dev, vcpu, addr - r->start, data, len);
	return 0;
}
