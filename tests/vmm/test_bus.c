/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"
#include "vmm/bus.h"

struct dev {
	struct bus_dev bus;
	uint64_t offset;
	uint32_t len;
	unsigned int calls;
};

static void dev_read(struct bus_dev *b, struct vcpu *vcpu, uint64_t offset,
		     void *data, uint32_t len)
{
	struct dev *d = container_of(b, struct dev, bus);

	(void)vcpu;
	d->offset = offset;
	d->len = len;
	d->calls++;
	memset(data, 0x42, len);
}

static void dev_write(struct bus_dev *b, struct vcpu *vcpu, uint64_t offset,
		      const void *data, uint32_t len)
{
	uint8_t scratch[8];

	(void)data;
	dev_read(b, vcpu, offset, scratch, len);
}

static const struct bus_ops ops = {.read = dev_read, .write = dev_write};

static void handlers_get_offset_and_length(void **state)
{
	struct dev d = {.bus.ops = &ops};
	struct bus b = {0};
	uint64_t v = 0;

	(void)state;
	assert_int_equal(bus_add(&b, 0x1000, 0x100, &d.bus), 0);
	assert_int_equal(bus_read(&b, NULL, 0x1010, &v, 4), 0);
	assert_int_equal(d.offset, 0x10);
	assert_int_equal(d.len, 4);
	assert_int_equal(v, 0x42424242);
	assert_int_equal(bus_write(&b, NULL, 0x10f8, &v, 8), 0);
	assert_int_equal(d.offset, 0xf8);
}

static void accesses_across_an_edge_belong_to_nobody(void **state)
{
	struct dev d = {.bus.ops = &ops};
	struct bus b = {0};
	uint64_t v = 0;

	(void)state;
	assert_int_equal(bus_add(&b, 0x1000, 0x100, &d.bus), 0);
	assert_int_equal(bus_read(&b, NULL, 0xfff, &v, 2), -ENODEV);
	assert_int_equal(v, 0xffff);
	assert_int_equal(bus_read(&b, NULL, 0x10ff, &v, 2), -ENODEV);
	assert_int_equal(bus_write(&b, NULL, 0x1100, &v, 1), -ENODEV);
	assert_int_equal(bus_read(&b, NULL, UINT64_MAX, &v, 8), -ENODEV);
	assert_int_equal(v, UINT64_MAX);
	assert_int_equal(d.calls, 0);
}

static void overlapping_regions_are_refused(void **state)
{
	struct dev d = {.bus.ops = &ops};
	struct bus b = {0};

	(void)state;
	assert_int_equal(bus_add(&b, 0x1000, 0x100, &d.bus), 0);
	assert_int_equal(bus_add(&b, 0x10ff, 1, &d.bus), -EEXIST);
	assert_int_equal(bus_add(&b, 0xf00, 0x101, &d.bus), -EEXIST);
	assert_int_equal(bus_add(&b, 0xf00, 0x1000, &d.bus), -EEXIST);
	assert_int_equal(bus_add(&b, 0xf00, 0x100, &d.bus), 0);
	assert_int_equal(bus_add(&b, 0x1100, 1, &d.bus), 0);
	assert_int_equal(bus_add(&b, 0x2000, 0, &d.bus), -EINVAL);
	assert_int_equal(bus_add(&b, UINT64_MAX, 2, &d.bus), -EINVAL);
}

static void a_full_bus_says_so(void **state)
{
	struct dev d = {.bus.ops = &ops};
	struct bus b = {0};

	(void)state;
	for (uint64_t i = 0; i < BUS_MAX_REGIONS; i++)
		assert_int_equal(bus_add(&b, i * 16, 16, &d.bus), 0);
	assert_int_equal(bus_add(&b, 0x100000, 16, &d.bus), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handlers_get_offset_and_length),
		cmocka_unit_test(accesses_across_an_edge_belong_to_nobody),
		cmocka_unit_test(overlapping_regions_are_refused),
		cmocka_unit_test(a_full_bus_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
