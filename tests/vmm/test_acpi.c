/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows the tables as a kernel does, and parses the AML of the DSDT far
 * enough to see that every block ends where it should and what each device
 * says.
 */
#include "tests/vmm/images.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/num.h"
#include "vmm/cmdline.h"
#include "vmm/kernel.h"
#include "vmm/power.h"
#include "vmm/x86/acpi_aml.h"
#include "vmm/x86/boot.h"

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

/* A table, checked: signature, revision, checksum, place. */
static const uint8_t *table(const struct gmem *m, uint64_t gpa,
			    const char *signature, uint8_t revision)
{
	const uint8_t *p = gmem_ptr(m, gpa, 36);
	uint32_t len;

	assert_non_null(p);
	assert_memory_equal(p, signature, 4);
	len = le32(p + 4);
	assert_true(gpa >= GPA_ACPI && gpa + len <= GPA_SYSTEM_END);
	assert_int_equal(gpa % 8, 0);
	assert_int_equal(p[8], revision);
	assert_memory_equal(p + 10, "MAYFLY", 6);
	assert_int_equal(boot_checksum(p, len), 0);
	return p;
}

struct tables {
	struct gmem m;
	const uint8_t *fadt, *madt, *dsdt;
};

static void tables_init(struct tables *t, unsigned int n_vcpus,
			unsigned int n_devs)
{
	struct boot_dev dev[MAX_VIRTIO_DEVS];
	const struct boot_info b = {
		.n_vcpus = n_vcpus, .n_devs = n_devs, .dev = dev};
	const uint8_t *rsdp, *xsdt;
	struct err e;

	for (unsigned int i = 0; i < n_devs; i++)
		dev[i] = (struct boot_dev){GPA_VIRTIO_MMIO + i * 0x1000ULL,
					   GSI_FIRST + i};
	ram_init(&t->m, MIB);
	assert_int_equal(acpi_write(&t->m, &b, &e), 0);
	rsdp = gmem_ptr(&t->m, 0xe0000, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(boot_checksum(rsdp, 20), 0);
	assert_int_equal(boot_checksum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(le32(rsdp + 20), 36);
	xsdt = table(&t->m, le64(rsdp + 24), "XSDT", 1);
	assert_int_equal(le32(xsdt + 4), 36 + 16);
	t->fadt = table(&t->m, le64(xsdt + 36), "FACP", 6);
	t->madt = table(&t->m, le64(xsdt + 44), "APIC", 5);
	t->dsdt = table(&t->m, le64(t->fadt + 140), "DSDT", 2);
}

static void fadt_is_hardware_reduced(void **state)
{
	struct tables t;
	const uint8_t *f;

	(void)state;
	tables_init(&t, 1, 0);
	f = t.fadt;
	assert_int_equal(le32(f + 4), 276);
	assert_int_equal(f[109] | f[110] << 8, 1 << 1 | 1 << 2 | 1 << 5);
	assert_int_equal(le32(f + 112), 1 << 4 | 1 << 5 | 1 << 20);
	/* The sleep registers: I/O space, one byte. */
	assert_memory_equal(f + 244, "\x01\x08\x00\x01", 4);
	assert_int_equal(le64(f + 248), PIO_SLEEP);
	assert_memory_equal(f + 256, "\x01\x08\x00\x01", 4);
	assert_int_equal(le64(f + 260), PIO_SLEEP + 1);
	assert_memory_equal(f + 268, "MAYFLY\0\0", 8);
	gmem_exit(&t.m);
}

static void madt_lists_processors_and_ioapic(void **state)
{
	(void)state;
	for (unsigned int n = 1; n <= MAX_VCPUS; n++) {
		unsigned int cpus = 0, ioapics = 0, nmis = 0;
		struct tables t;
		const uint8_t *p, *end;

		tables_init(&t, n, 0);
		end = t.madt + le32(t.madt + 4);
		assert_int_equal(le32(t.madt + 36), 0xfee00000);
		for (p = t.madt + 44; p < end; p += p[1]) {
			if (p[0] == 0) {
				assert_int_equal(p[1], 8);
				assert_int_equal(p[3], cpus++);
				assert_int_equal(le32(p + 4), 1);
			} else if (p[0] == 1) {
				assert_int_equal(p[1], 12);
				assert_int_equal(p[2], n);
				assert_int_equal(le32(p + 4), 0xfec00000);
				assert_int_equal(le32(p + 8), 0);
				ioapics++;
			} else {
				assert_int_equal(p[0], 4);
				assert_int_equal(p[1], 6);
				assert_int_equal(p[5], 1);
				nmis++;
			}
		}
		assert_ptr_equal(p, end);
		assert_int_equal(cpus, n);
		assert_int_equal(ioapics, 1);
		assert_int_equal(nmis, 1);
		gmem_exit(&t.m);
	}
}

/* Decode a PkgLength; *end is where its block ends. */
static const uint8_t *block(const uint8_t *p, const uint8_t **end)
{
	unsigned int more = p[0] >> 6;
	size_t len = more ? p[0] & 0xf : p[0] & 0x3f;

	for (unsigned int i = 0; i < more; i++)
		len |= (size_t)p[1 + i] << (4 + 8 * i);
	*end = p + len;
	return p + 1 + more;
}

static const uint8_t *integer(const uint8_t *p, uint64_t *v)
{
	unsigned int width = p[0] == 0x0a   ? 1
			     : p[0] == 0x0b ? 2
			     : p[0] == 0x0c ? 4
					    : 0;

	*v = p[0];
	if (!width)
		assert_in_range(p[0], 0, 1);
	else
		*v = 0;
	for (unsigned int i = 0; i < width; i++)
		*v |= (uint64_t)p[1 + i] << 8 * i;
	return p + 1 + width;
}

#define LEGACY_DEVS 5 /* beside those of virtio */

struct event {
	uint64_t gsi;
	char notified[5];
};

struct device {
	char name[5];
	char hid[16], cid[16], ddn[16];
	uint64_t uid, addr;
	uint32_t base, bytes;
	uint32_t gsi[2];
	unsigned int n_gsis;
	struct event event[2];
	unsigned int n_events;
	uint32_t port[2], ports[2];
	unsigned int n_ports;
};

static void read_resources(const uint8_t *p, const uint8_t *end,
			   struct device *d)
{
	while (p[0] != 0x79) {
		if (p[0] == 0x86) {
			assert_int_equal(p[1] | p[2] << 8, 9);
			assert_int_equal(p[3], 1);
			d->base = le32(p + 4);
			d->bytes = le32(p + 8);
			p += 12;
		} else if (p[0] == 0x89) {
			assert_int_equal(p[1] | p[2] << 8, 6);
			assert_int_equal(p[3], 3);
			assert_int_equal(p[4], 1);
			assert_in_range(d->n_gsis, 0, 1);
			d->gsi[d->n_gsis++] = le32(p + 5);
			p += 9;
		} else {
			assert_int_equal(p[0], 0x47);
			assert_in_range(d->n_ports, 0, 1);
			assert_memory_equal(p + 2, p + 4, 2);
			d->port[d->n_ports] = (uint32_t)(p[2] | p[3] << 8);
			d->ports[d->n_ports++] = p[7];
			p += 8;
		}
	}
	assert_ptr_equal(p + 2, end);
}

static const uint8_t *text(const uint8_t *p, char *to, size_t size)
{
	assert_int_equal(*p++, 0x0d);
	(void)snprintf(to, size, "%s", (const char *)p);
	return p + strlen((const char *)p) + 1;
}

/* If (Arg0 == gsi) { Notify (name, 0x80) }, as often as it stands there. */
static void read_event(const uint8_t *p, const uint8_t *end, struct device *d)
{
	assert_memory_equal(p, "_EVT\x09", 5); /* one argument, serialized */
	for (p += 5; p < end; d->n_events++) {
		struct event *v = &d->event[d->n_events];
		const uint8_t *if_end;
		uint64_t value;

		assert_in_range(d->n_events, 0, 1);
		assert_int_equal(*p++, 0xa0);
		p = block(p, &if_end);
		assert_memory_equal(p, "\x93\x68", 2);
		p = integer(p + 2, &v->gsi);
		assert_int_equal(*p++, 0x86);
		memcpy(v->notified, p, 4);
		p = integer(p + 4, &value);
		assert_int_equal(value, 0x80);
		assert_ptr_equal(p, if_end);
	}
	assert_ptr_equal(p, end);
}

/* The value behind a Name; returns where it ends. */
static const uint8_t *read_value(const char *name, const uint8_t *p,
				 struct device *d)
{
	const uint8_t *end;
	uint64_t v;

	if (memcmp(name, "_HID", 4) == 0)
		return text(p, d->hid, sizeof(d->hid));
	if (memcmp(name, "_CID", 4) == 0)
		return text(p, d->cid, sizeof(d->cid));
	if (memcmp(name, "_DDN", 4) == 0)
		return text(p, d->ddn, sizeof(d->ddn));
	if (memcmp(name, "_UID", 4) == 0)
		return integer(p, &d->uid);
	if (memcmp(name, "ADDR", 4) == 0) {
		assert_int_equal(*p++, 0x12);
		p = block(p, &end);
		assert_int_equal(*p++, 2);
		p = integer(integer(p, &d->addr), &v);
		assert_int_equal(v, 0);
	} else {
		assert_memory_equal(name, "_CRS", 4);
		assert_int_equal(*p++, 0x11);
		p = integer(block(p, &end), &v);
		assert_int_equal(end - p, v);
		read_resources(p, end, d);
		p = end;
	}
	assert_ptr_equal(p, end);
	return p;
}

static void read_device(const uint8_t *p, const uint8_t *end, struct device *d)
{
	*d = (struct device){0};
	memcpy(d->name, p, 4);
	for (p += 4; p < end;) {
		if (p[0] == 0x14) { /* a method */
			const uint8_t *method_end;

			p = block(p + 1, &method_end);
			read_event(p, method_end, d);
			p = method_end;
		} else {
			assert_int_equal(p[0], 0x08);
			p = read_value((const char *)p + 1, p + 5, d);
		}
	}
	assert_ptr_equal(p, end);
}

/* \_S5, then \_SB with all devices; returns their number. */
static unsigned int read_dsdt(const uint8_t *p, struct device *d)
{
	const uint8_t *table_end = p + le32(p + 4), *end;
	unsigned int n = 0;
	uint64_t v = 0;

	p += 36;
	assert_memory_equal(p, "\x08_S5_\x12", 6);
	p = block(p + 6, &end);
	assert_int_equal(*p++, 4);
	(void)integer(p, &v);
	assert_int_equal(v, ACPI_S5_SLP_TYP);
	p = end;
	assert_int_equal(*p++, 0x10);
	p = block(p, &end);
	assert_ptr_equal(end, table_end);
	assert_memory_equal(p, "_SB_", 4);
	for (p += 4; p < end; n++) {
		const uint8_t *dev_end;

		assert_int_equal(p[0], 0x5b);
		assert_int_equal(p[1], 0x82);
		p = block(p + 2, &dev_end);
		assert_in_range(n, 0, MAX_VIRTIO_DEVS + LEGACY_DEVS - 1);
		read_device(p, dev_end, &d[n]);
		p = dev_end;
	}
	assert_ptr_equal(p, end);
	return n;
}

static void check_virtio(const struct device *d, unsigned int i)
{
	char name[5];

	(void)snprintf(name, sizeof(name), "V%03u", i % 1000);
	assert_string_equal(d->name, name);
	assert_string_equal(d->hid, "LNRO0005");
	assert_int_equal(d->uid, i);
	assert_int_equal(d->base, 0xc0001000 + i * 0x1000);
	assert_int_equal(d->bytes, 0x1000);
	assert_int_equal(d->gsi[0], 5 + i);
	assert_int_equal(d->n_ports, 0);
}

static void check_ports(const struct device *com1, const struct device *ps2)
{
	assert_string_equal(com1->name, "COM1");
	assert_string_equal(com1->hid, "PNP0501");
	assert_int_equal(com1->port[0], 0x3f8);
	assert_int_equal(com1->ports[0], 8);
	assert_int_equal(com1->gsi[0], 4);
	assert_string_equal(ps2->name, "PS2_");
	assert_string_equal(ps2->hid, "PNP0303");
	assert_int_equal(ps2->port[0], 0x60);
	assert_int_equal(ps2->port[1], 0x64);
	assert_int_equal(ps2->gsi[0], 1);
}

/* Linux finds them by _CID; the event device tells it of a new generation. */
static void check_generation(const struct device *vgen,
			     const struct device *vclk,
			     const struct device *ged)
{
	assert_string_equal(vgen->name, "VGEN");
	assert_string_equal(vgen->cid, "VM_Gen_Counter");
	assert_string_equal(vgen->ddn, "VM_Gen_Counter");
	assert_int_equal(vgen->addr, GPA_VMGENID);
	assert_int_equal(vgen->n_gsis, 0);
	assert_string_equal(vclk->name, "VCLK");
	assert_string_equal(vclk->hid, "AMZNC10C");
	assert_string_equal(vclk->cid, "VMCLOCK");
	assert_int_equal(vclk->base, GPA_VMCLOCK);
	assert_int_equal(vclk->bytes, 0x1000);
	assert_string_equal(ged->name, "GED_");
	assert_string_equal(ged->hid, "ACPI0013");
	assert_int_equal(ged->n_gsis, 2);
	assert_int_equal(ged->n_events, 2);
	assert_int_equal(ged->gsi[0], 22);
	assert_int_equal(ged->event[0].gsi, 22);
	assert_string_equal(ged->event[0].notified, "VGEN");
	assert_int_equal(ged->gsi[1], 23);
	assert_int_equal(ged->event[1].gsi, 23);
	assert_string_equal(ged->event[1].notified, "VCLK");
}

static void dsdt_names_every_device(void **state)
{
	struct device d[MAX_VIRTIO_DEVS + LEGACY_DEVS] = {0};

	(void)state;
	for (unsigned int n = 0; n <= MAX_VIRTIO_DEVS; n++) {
		struct tables t;

		tables_init(&t, 1, n);
		assert_int_equal(read_dsdt(t.dsdt, d), n + LEGACY_DEVS);
		for (unsigned int i = 0; i < n; i++)
			check_virtio(&d[i], i);
		check_ports(&d[n], &d[n + 1]);
		check_generation(&d[n + 2], &d[n + 3], &d[n + 4]);
		gmem_exit(&t.m);
	}
}

static void aml_block_lengths_have_three_forms(void **state)
{
	const size_t bodies[] = {4, 62, 63, 4093, 4094, 5000, 60000};
	static uint8_t buf[70000], fill[70000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct aml a = {.buf = buf, .size = sizeof(buf)};
		const uint8_t *end, *p;
		size_t mark;

		mark = aml_begin_scope(&a, "_SB_");
		aml_bytes(&a, fill, bodies[i] - 4);
		aml_end(&a, mark);
		assert_false(a.full);
		p = block(buf + 1, &end);
		assert_ptr_equal(end, buf + a.len);
		assert_memory_equal(p, "_SB_", 4);
		assert_int_equal(end - p, bodies[i]);
	}
}

static void aml_stops_at_the_end_of_its_buffer(void **state)
{
	uint8_t buf[64];

	(void)state;
	for (size_t size = 0; size < 24; size++) {
		struct aml a = {.buf = buf, .size = size};
		size_t mark, res;

		memset(buf, 0x5a, sizeof(buf));
		mark = aml_begin_device(&a, "V000");
		aml_name(&a, "_CRS");
		res = aml_begin_resources(&a);
		aml_interrupt(&a, 5);
		aml_end_resources(&a, res);
		aml_end(&a, mark);
		assert_true(a.full);
		assert_true(a.len <= size);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x5a);
	}
}

static void integers_use_the_shortest_form(void **state)
{
	const uint64_t values[] = {
		0, 1, 2, 0xff, 0x100, 0xffff, 0x10000, 0xffffffff, 1ULL << 32};
	const size_t lens[] = {1, 1, 2, 2, 3, 3, 5, 5, 9};
	uint8_t buf[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct aml a = {.buf = buf, .size = sizeof(buf)};

		aml_integer(&a, values[i]);
		assert_int_equal(a.len, lens[i]);
	}
}

static void too_little_ram_is_an_error(void **state)
{
	const struct boot_info b = {.n_vcpus = 1};
	struct gmem m;
	struct err e;

	(void)state;
	ram_init(&m, 0xa3000);
	assert_int_equal(acpi_write(&m, &b, &e), -ENOMEM);
	gmem_exit(&m);
	ram_init(&m, 0xe0000);
	assert_int_equal(acpi_write(&m, &b, &e), -ENOMEM);
	assert_string_equal(e.text, "No room for the ACPI RSDP");
	gmem_exit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fadt_is_hardware_reduced),
		cmocka_unit_test(madt_lists_processors_and_ioapic),
		cmocka_unit_test(dsdt_names_every_device),
		cmocka_unit_test(aml_block_lengths_have_three_forms),
		cmocka_unit_test(aml_stops_at_the_end_of_its_buffer),
		cmocka_unit_test(integers_use_the_shortest_form),
		cmocka_unit_test(too_little_ram_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
