/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT is not interpreted: what is looked for after each "LNRO0005" are the
 * templates of resource descriptors.
 */
#include "guest/nano/nano.h"

#define RSDP_START   0xe0000UL
#define RSDP_END     0x100000UL
#define MPTABLE_EBDA 0x9fc00UL

#define SDT_HEADER   36
#define FADT_X_DSDT  140
#define MADT_ENTRIES 44
#define AML_REACH    256 /* a _CRS is this close to its _HID */

static uint8_t sum(const uint8_t *p, uint32_t n)
{
	uint8_t s = 0;
	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static uint64_t search(uint64_t start, uint64_t end, const char *signature,
		       size_t n)
{
	for (uint64_t gpa = start; gpa + n <= end; gpa += 16) {
		if (memcmp((const void *)gpa, signature, n) == 0)
			return gpa;
	}
	return 0;
}

/* A table of at least `bytes` with a right checksum, or NULL. */
static const uint8_t *check_table(uint64_t gpa, const char *signature,
				  uint32_t bytes)
{
	const uint8_t *t = (const uint8_t *)gpa;
	if (gpa == 0 || memcmp(t, signature, 4) != 0 || get32(t + 4) < bytes ||
	    sum(t, get32(t + 4)))
		return NULL;
	return t;
}

static const uint8_t *find_table(const char *signature, uint32_t bytes)
{
	uint64_t rsdp = search(RSDP_START, RSDP_END, "RSD PTR ", 8);
	const uint8_t *root = (const uint8_t *)rsdp;
	if (rsdp == 0 || sum(root, 20) || root[15] < 2 || sum(root, 36))
		return NULL;
	const uint8_t *xsdt = check_table(get64(root + 24), "XSDT", SDT_HEADER);
	for (uint32_t i = SDT_HEADER; xsdt && i + 8 <= get32(xsdt + 4);
	     i += 8) {
		const uint8_t *t =
			check_table(get64(xsdt + i), signature, bytes);
		if (t)
			return t;
	}
	return NULL;
}

static const uint8_t *find_dsdt(void)
{
	const uint8_t *fadt = find_table("FACP", FADT_X_DSDT + 8);
	return fadt ? check_table(get64(fadt + FADT_X_DSDT), "DSDT", SDT_HEADER)
		    : NULL;
}

const uint8_t *acpi_dsdt(const uint8_t **end)
{
	const uint8_t *dsdt = find_dsdt();
	*end = dsdt ? dsdt + get32(dsdt + 4) : NULL;
	return dsdt;
}

void acpi_list_virtio(void (*found)(uint64_t gpa, uint32_t gsi))
{
	static const uint8_t memory32[] = {0x86, 0x09, 0x00};
	const uint8_t *dsdt = find_dsdt();
	uint64_t window = 0;
	uint32_t since = AML_REACH;
	for (uint32_t i = SDT_HEADER; dsdt && i + 12 <= get32(dsdt + 4); i++) {
		const uint8_t *p = dsdt + i;
		if (memcmp(p, "LNRO0005", 8) == 0) {
			since = 0;
			window = 0;
		}
		if (since >= AML_REACH)
			continue;
		since++;
		if (!window && memcmp(p, memory32, sizeof(memory32)) == 0)
			window = get32(p + 4);
		/* Extended interrupt: length, flags, one number. */
		if (!window || p[0] != 0x89 || p[1] != 6 || p[2] || p[4] != 1)
			continue;
		found(window, get32(p + 5));
		since = AML_REACH;
	}
}

uint32_t acpi_count_by_madt(void)
{
	const uint8_t *madt = find_table("APIC", MADT_ENTRIES);
	uint32_t n = 0;
	uint32_t i = MADT_ENTRIES;
	while (madt && i + 8 <= get32(madt + 4) && madt[i + 1]) {
		n += madt[i] == 0 && (madt[i + 4] & 1);
		i += madt[i + 1];
	}
	return n;
}

uint32_t acpi_count_by_mptable(void)
{
	uint64_t gpa = search(MPTABLE_EBDA, MPTABLE_EBDA + 1024, "_MP_", 4);
	const uint8_t *pointer = (const uint8_t *)gpa;
	if (gpa == 0 || sum(pointer, 16))
		return 0;
	const uint8_t *t = (const uint8_t *)(uint64_t)get32(pointer + 4);
	uint32_t bytes = get32(t + 4) & 0xffff;
	if (memcmp(t, "PCMP", 4) != 0 || sum(t, bytes))
		return 0;
	uint32_t n = 0;
	/* A processor entry is 20 bytes, every other kind is 8. */
	for (uint32_t i = 44; i + 8 <= bytes; i += t[i] ? 8 : 20)
		n += t[i] == 0 && (t[i + 3] & 1);
	return n;
}
