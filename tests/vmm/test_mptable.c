/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the table as a kernel does: by the offsets of the specification. */
#include "tests/vmm/images.h"

#include <errno.h>

#include "base/num.h"
#include "vmm/x86/boot.h"

#define TABLE (GPA_MPTABLE + 16)

static unsigned int sum(const uint8_t *p, size_t len)
{
	unsigned int s = 0;

	for (size_t i = 0; i < len; i++)
		s += p[i];
	return s & 0xff;
}

struct seen {
	unsigned int cpus, bsps, buses, ioapics, lines, local;
	uint8_t ioapic_id;
};

/* Walk the entries; returns the address behind the last. */
static const uint8_t *walk(const uint8_t *p, unsigned int n, struct seen *s)
{
	*s = (struct seen){0};
	for (unsigned int i = 0; i < n; i++) {
		switch (p[0]) {
		case 0:
			assert_int_equal(p[1], s->cpus++);
			assert_int_equal(p[3] & 1, 1);
			s->bsps += p[3] >> 1 & 1;
			p += 12;
			break;
		case 1:
			assert_int_equal(p[1], 0);
			assert_memory_equal(p + 2, "ISA   ", 6);
			s->buses++;
			break;
		case 2:
			s->ioapic_id = p[1];
			assert_int_equal(p[3], 1);
			assert_memory_equal(p + 4, "\0\0\xc0\xfe", 4);
			s->ioapics++;
			break;
		case 3:
			assert_int_equal(p[1], 0); /* vectored */
			assert_int_equal(p[2] | p[3], 0);
			assert_int_equal(p[5], s->lines);
			assert_int_equal(p[6], s->ioapic_id);
			assert_int_equal(p[7], s->lines++);
			break;
		default:
			assert_int_equal(p[0], 4);
			/* ExtINT at LINT0, NMI at LINT1. */
			assert_int_equal(p[1], s->local == 0 ? 3 : 1);
			assert_int_equal(p[7], s->local++);
			break;
		}
		p += 8;
	}
	return p;
}

static void table_lists_everything(void **state)
{
	struct gmem m;
	struct err e;

	(void)state;
	for (unsigned int n = 1; n <= MAX_VCPUS; n++) {
		const uint8_t *f, *t;
		struct seen s;
		size_t len;

		ram_init(&m, MIB);
		assert_int_equal(mptable_write(&m, n, &e), 0);
		f = gmem_ptr(&m, GPA_MPTABLE, 16);
		assert_memory_equal(f, "_MP_", 4);
		assert_int_equal(f[8], 1);
		assert_int_equal(f[9], 4);
		assert_int_equal(sum(f, 16), 0);
		assert_int_equal(f[4] | f[5] << 8 | f[6] << 16, TABLE);

		t = gmem_ptr(&m, TABLE, 44);
		len = (size_t)(t[4] | t[5] << 8);
		assert_true(TABLE + len <= 0xa0000);
		assert_memory_equal(t, "PCMP", 4);
		assert_int_equal(t[6], 4);
		assert_int_equal(sum(t, len), 0);
		assert_memory_equal(t + 36, "\0\0\xe0\xfe", 4);
		assert_ptr_equal(walk(t + 44, t[34], &s), t + len);
		assert_int_equal(s.cpus, n);
		assert_int_equal(s.bsps, 1);
		assert_int_equal(s.buses, 1);
		assert_int_equal(s.ioapics, 1);
		assert_int_equal(s.ioapic_id, n); /* no CPU's */
		assert_int_equal(s.lines, 24);
		assert_int_equal(s.local, 2);
		gmem_exit(&m);
	}
}

static void impossible_requests_are_errors(void **state)
{
	struct gmem m;
	struct err e;

	(void)state;
	ram_init(&m, MIB);
	assert_int_equal(mptable_write(&m, MAX_VCPUS + 1, &e), -EINVAL);
	gmem_exit(&m);
	ram_init(&m, 0x9f000);
	assert_int_equal(mptable_write(&m, 1, &e), -ENOMEM);
	assert_string_equal(e.text, "No room for the MP table");
	gmem_exit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_lists_everything),
		cmocka_unit_test(impossible_requests_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
