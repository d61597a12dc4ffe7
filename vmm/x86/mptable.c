/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mptable.c: the table of the Intel MultiProcessor Specification 1.4, for
 * kernels without ACPI. It says what the ACPI MADT says.
 */
#include "vmm/x86/boot.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"

#define SPEC_1_4       4
#define LAPIC_VERSION  0x14
#define IOAPIC_VERSION 0x11

enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTSRC, ENTRY_LINTSRC };
enum { INT_VECTORED, INT_NMI, INT_SMI, INT_EXT };

#define CPU_ENABLED  1
#define CPU_BSP	     2
#define CPU_FAMILY_6 0x600
#define CPU_FEATURES 0x201 /* FPU, APIC */

#define ISA_BUS	 0
#define ALL_CPUS 0xff

struct floating {
	char signature[4];
	uint32_t table_gpa;
	uint8_t length; /* in 16 bytes */
	uint8_t spec;
	uint8_t checksum;
	uint8_t features[5];
};

struct config {
	char signature[4];
	uint16_t length;
	uint8_t spec;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table_gpa;
	uint16_t oem_table_bytes;
	uint16_t n_entries;
	uint32_t lapic_gpa;
	uint32_t reserved;
};

struct processor {
	uint8_t type;
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature;
	uint32_t features;
	uint32_t reserved[2];
};

struct isa_bus {
	uint8_t type;
	uint8_t id;
	char name[6];
};

struct ioapic {
	uint8_t type;
	uint8_t id;
	uint8_t version;
	uint8_t enabled;
	uint32_t gpa;
};

/* Flags 0: polarity and trigger as on the bus, for ISA high and edge. */
struct intsrc {
	uint8_t type;
	uint8_t kind;
	uint16_t flags;
	uint8_t bus;
	uint8_t bus_irq;
	uint8_t dest_id;
	uint8_t dest_pin;
};

#define N_FIXED (2 + IOAPIC_PINS + 2) /* entries that are not processors */

_Static_assert(sizeof(struct floating) == 16, "MP floating pointer");
_Static_assert(sizeof(struct config) == 44, "MP configuration table");
_Static_assert(sizeof(struct processor) == 20, "MP processor entry");
_Static_assert(sizeof(struct isa_bus) == 8, "MP bus entry");
_Static_assert(sizeof(struct ioapic) == 8, "MP I/O APIC entry");
_Static_assert(sizeof(struct intsrc) == 8, "MP interrupt entry");

struct table {
	struct floating floating;
	struct config config;
	uint8_t entries[MAX_VCPUS * sizeof(struct processor) +
			N_FIXED * sizeof(struct intsrc)];
};

/* Kernels look for the pointer in the last KiB below 640 KiB. */
_Static_assert(sizeof(struct table) <= 0xa0000 - GPA_MPTABLE,
	       "the MP table must fit");

static void add(struct table *t, const void *entry, size_t len)
{
	size_t at = t->config.length - sizeof(t->config);

	memcpy(t->entries + at, entry, len);
	t->config.length = (uint16_t)(t->config.length + len);
	t->config.n_entries++;
}

static void add_entries(struct table *t, unsigned int n_vcpus)
{
	struct isa_bus bus = {
		ENTRY_BUS, ISA_BUS, {'I', 'S', 'A', ' ', ' ', ' '}};
	struct ioapic io = {ENTRY_IOAPIC, (uint8_t)n_vcpus, IOAPIC_VERSION, 1,
			    GPA_IOAPIC};
	struct intsrc ext = {ENTRY_LINTSRC, INT_EXT, 0, ISA_BUS, 0, 0, 0};
	struct intsrc nmi = {ENTRY_LINTSRC, INT_NMI, 0, ISA_BUS, 0,
			     ALL_CPUS,	    1};

	for (unsigned int i = 0; i < n_vcpus; i++) {
		struct processor cpu = {
			.type = ENTRY_PROCESSOR,
			.apic_id = (uint8_t)i,
			.apic_version = LAPIC_VERSION,
			.flags = (uint8_t)(CPU_ENABLED | (i ? 0 : CPU_BSP)),
			.signature = CPU_FAMILY_6,
			.features = CPU_FEATURES,
		};

		add(t, &cpu, sizeof(cpu));
	}
	add(t, &bus, sizeof(bus));
	add(t, &io, sizeof(io));
	for (unsigned int i = 0; i < IOAPIC_PINS; i++) {
		struct intsrc line = {ENTRY_INTSRC, INT_VECTORED, 0,
				      ISA_BUS,	    (uint8_t)i,	  io.id,
				      (uint8_t)i};

		add(t, &line, sizeof(line));
	}
	add(t, &ext, sizeof(ext));
	add(t, &nmi, sizeof(nmi));
}

int mptable_write(const struct gmem *m, unsigned int n_vcpus, struct err *e)
{
	struct table t = {
		.floating = {.signature = {'_', 'M', 'P', '_'},
			     .table_gpa = GPA_MPTABLE + sizeof(t.floating),
			     .length = 1,
			     .spec = SPEC_1_4},
		.config = {.signature = {'P', 'C', 'M', 'P'},
			   .length = sizeof(t.config),
			   .spec = SPEC_1_4,
			   .oem_id = {'M', 'A', 'Y', 'F', 'L', 'Y', ' ', ' '},
			   .product_id = {'M', 'I', 'C', 'R', 'O', 'V', 'M',
					  ' ', ' ', ' ', ' ', ' '},
			   .lapic_gpa = GPA_LAPIC},
	};

	if (n_vcpus > MAX_VCPUS)
		return err_set(e, -EINVAL, "%u vCPUs are more than %d", n_vcpus,
			       MAX_VCPUS);
	add_entries(&t, n_vcpus);
	t.floating.checksum = boot_checksum(&t.floating, sizeof(t.floating));
	t.config.checksum = boot_checksum(&t.config, t.config.length);
	if (gmem_write(m, GPA_MPTABLE, &t,
		       sizeof(t.floating) + t.config.length) < 0)
		return err_set(e, -ENOMEM, "No room for the MP table");
	return 0;
}
