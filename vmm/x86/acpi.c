/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.c: the ACPI tables (ACPI 6.4): RSDP -> XSDT -> FADT (-> DSDT), MADT. The
 * platform is hardware-reduced: no fixed hardware but the sleep registers, and
 * no PCI, since a kernel without PCI support refuses a DSDT that mentions it.
 */
#include "vmm/x86/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/power.h"
#include "vmm/x86/acpi_aml.h"

#define OEM_ID	     "MAYFLY"
#define OEM_TABLE_ID "MAYFLYVM"
#define CREATOR_ID   "MFLY"

/* DSDT and MADT are the longest: 17 devices, 32 processors. */
#define TABLE_MAX 2048

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_gpa;
	uint32_t length;
	uint64_t xsdt_gpa;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

/* A generic address (5.2.3.2). */
struct gas {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));

#define GAS_SYSTEM_IO 1
#define GAS_BYTE      1

struct fadt {
	struct header head;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t pm_profile;
	uint16_t sci_int;
	uint8_t fixed_hardware[61]; /* none, from SMI_CMD to CENTURY */
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct gas fixed_blocks[8];
	struct gas sleep_control;
	struct gas sleep_status;
	char hypervisor_vendor[8];
} __attribute__((packed));

#define FADT_BOOT_8042	 (1U << 1)
#define FADT_BOOT_NO_VGA (1U << 2)
#define FADT_BOOT_NO_RTC (1U << 5)
#define FADT_PWR_BUTTON	 (1U << 4) /* not as fixed hardware */
#define FADT_SLP_BUTTON	 (1U << 5) /* likewise */
#define FADT_HW_REDUCED	 (1U << 20)
#define FADT_REVISION	 6
#define FADT_MINOR	 4
#define DSDT_REVISION	 2 /* 64-bit integers */
#define MADT_REVISION	 5
#define XSDT_REVISION	 1

struct madt {
	struct header head;
	uint32_t lapic_gpa;
	uint32_t flags;
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length;
	uint8_t processor_uid;
	uint8_t apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length;
	uint8_t ioapic_id;
	uint8_t reserved;
	uint32_t gpa;
	uint32_t gsi_base;
} __attribute__((packed));

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t processor_uid; /* 0xff: all */
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

#define MADT_LAPIC	   0
#define MADT_IOAPIC	   1
#define MADT_LAPIC_NMI	   4
#define MADT_LAPIC_ENABLED 1

_Static_assert(sizeof(struct header) == 36, "ACPI table header");
_Static_assert(sizeof(struct rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct fadt) == 276, "FADT");
_Static_assert(offsetof(struct fadt, iapc_boot_arch) == 109, "FADT");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "FADT");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "FADT");
_Static_assert(sizeof(struct madt_lapic_nmi) == 6, "MADT");

/* Where the next table goes. */
struct tables {
	const struct gmem *m;
	uint64_t next_gpa;
};

static struct header header(const char signature[4], uint8_t revision)
{
	struct header h = {.revision = revision, .oem_revision = 1};

	memcpy(h.signature, signature, sizeof(h.signature));
	memcpy(h.oem_id, OEM_ID, sizeof(h.oem_id));
	memcpy(h.oem_table_id, OEM_TABLE_ID, sizeof(h.oem_table_id));
	memcpy(h.creator_id, CREATOR_ID, sizeof(h.creator_id));
	h.creator_revision = 1;
	return h;
}

/* Complete the header in front of a table and write it; *gpa is its place. */
static int put(struct tables *t, void *table, size_t len, uint64_t *gpa,
	       struct err *e)
{
	struct header h;

	memcpy(&h, table, sizeof(h));
	h.length = (uint32_t)len;
	memcpy(table, &h, sizeof(h));
	h.checksum = boot_checksum(table, len);
	memcpy(table, &h, sizeof(h));
	if (!num_inside(t->next_gpa, len, GPA_SYSTEM_END) ||
	    gmem_write(t->m, t->next_gpa, table, len) < 0)
		return err_set(e, -ENOMEM, "No room for the ACPI tables");
	*gpa = t->next_gpa;
	t->next_gpa = ALIGN_UP(t->next_gpa + len, (uint64_t)8);
	return 0;
}

static void add_string(struct aml *a, const char *name, const char *value)
{
	aml_name(a, name);
	aml_string(a, value);
}

static void add_integer(struct aml *a, const char *name, uint64_t value)
{
	aml_name(a, name);
	aml_integer(a, value);
}

static size_t begin_crs(struct aml *a)
{
	aml_name(a, "_CRS");
	return aml_begin_resources(a);
}

static void add_virtio(struct aml *a, unsigned int index,
		       const struct boot_dev *d)
{
	char name[8];
	size_t dev, res;

	(void)snprintf(name, sizeof(name), "V%03u", index % 1000);
	dev = aml_begin_device(a, name);
	add_string(a, "_HID", "LNRO0005");
	add_integer(a, "_UID", index);
	res = begin_crs(a);
	aml_memory32(a, (uint32_t)d->gpa, MMIO_WINDOW_BYTES);
	aml_interrupt(a, d->gsi);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

static void add_com1(struct aml *a)
{
	size_t dev = aml_begin_device(a, "COM1");
	size_t res;

	add_string(a, "_HID", "PNP0501");
	add_integer(a, "_UID", 0);
	res = begin_crs(a);
	aml_io(a, PIO_COM1, PIO_COM1_LEN);
	aml_interrupt(a, GSI_COM1);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

static void add_i8042(struct aml *a)
{
	size_t dev = aml_begin_device(a, "PS2_");
	size_t res;

	add_string(a, "_HID", "PNP0303");
	res = begin_crs(a);
	aml_io(a, PIO_I8042, 1);
	aml_io(a, PIO_I8042 + PIO_I8042_LEN - 1, 1);
	aml_interrupt(a, GSI_I8042);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

/* "Virtual Machine Generation ID" (Microsoft, 2012): ADDR says where it is. */
static void add_vmgenid(struct aml *a)
{
	size_t dev = aml_begin_device(a, "VGEN");
	size_t addr;

	add_string(a, "_HID", "VMGENCTR");
	add_string(a, "_CID", "VM_Gen_Counter");
	add_string(a, "_DDN", "VM_Gen_Counter");
	aml_name(a, "ADDR");
	addr = aml_begin_package(a, 2);
	aml_integer(a, GPA_VMGENID);
	aml_integer(a, 0);
	aml_end(a, addr);
	aml_end(a, dev);
}

static void add_vmclock(struct aml *a)
{
	size_t dev = aml_begin_device(a, "VCLK");
	size_t res;

	add_string(a, "_HID", "AMZNC10C");
	add_string(a, "_CID", "VMCLOCK");
	add_string(a, "_DDN", "VMCLOCK");
	res = begin_crs(a);
	aml_memory32(a, GPA_VMCLOCK, 0x1000);
	aml_end_resources(a, res);
	aml_end(a, dev);
}

/* The generic event device (5.6.9): lines that become notifications. */
static void add_events(struct aml *a)
{
	size_t dev = aml_begin_device(a, "GED_");
	size_t part;

	add_string(a, "_HID", "ACPI0013");
	part = begin_crs(a);
	aml_interrupt(a, GSI_VMGENID);
	aml_interrupt(a, GSI_VMCLOCK);
	aml_end_resources(a, part);
	part = aml_begin_method(a, "_EVT", 1);
	aml_notify_if(a, GSI_VMGENID, "VGEN");
	aml_notify_if(a, GSI_VMCLOCK, "VCLK");
	aml_end(a, part);
	aml_end(a, dev);
}

/* \_S5: what to write to the sleep control register to power off. */
static void add_s5(struct aml *a)
{
	size_t mark;

	aml_name(a, "_S5_");
	mark = aml_begin_package(a, 4);
	aml_integer(a, ACPI_S5_SLP_TYP);
	aml_integer(a, ACPI_S5_SLP_TYP);
	aml_integer(a, 0);
	aml_integer(a, 0);
	aml_end(a, mark);
}

static int put_dsdt(struct tables *t, const struct boot_info *b, uint64_t *gpa,
		    struct err *e)
{
	struct header h = header("DSDT", DSDT_REVISION);
	uint8_t buf[TABLE_MAX];
	struct aml a = {.buf = buf, .size = sizeof(buf)};
	size_t scope;

	aml_bytes(&a, &h, sizeof(h));
	add_s5(&a);
	scope = aml_begin_scope(&a, "_SB_");
	for (unsigned int i = 0; i < b->n_devs; i++)
		add_virtio(&a, i, &b->dev[i]);
	add_com1(&a);
	add_i8042(&a);
	add_vmgenid(&a);
	add_vmclock(&a);
	add_events(&a);
	aml_end(&a, scope);
	if (a.full)
		return err_set(e, -ENOMEM, "No room for the ACPI DSDT");
	return put(t, buf, a.len, gpa, e);
}

static int put_fadt(struct tables *t, uint64_t dsdt_gpa, uint64_t *gpa,
		    struct err *e)
{
	struct fadt f = {
		.head = header("FACP", FADT_REVISION),
		.iapc_boot_arch =
			FADT_BOOT_8042 | FADT_BOOT_NO_VGA | FADT_BOOT_NO_RTC,
		.flags = FADT_HW_REDUCED | FADT_PWR_BUTTON | FADT_SLP_BUTTON,
		.minor_version = FADT_MINOR,
		.x_dsdt = dsdt_gpa,
		.sleep_control = {.space = GAS_SYSTEM_IO,
				  .bit_width = 8,
				  .access_size = GAS_BYTE,
				  .address = PIO_SLEEP},
		.sleep_status = {.space = GAS_SYSTEM_IO,
				 .bit_width = 8,
				 .access_size = GAS_BYTE,
				 .address = PIO_SLEEP + 1},
		.hypervisor_vendor = OEM_ID,
	};

	return put(t, &f, sizeof(f), gpa, e);
}

static int put_madt(struct tables *t, unsigned int n_vcpus, uint64_t *gpa,
		    struct err *e)
{
	struct madt m = {.head = header("APIC", MADT_REVISION),
			 .lapic_gpa = GPA_LAPIC};
	struct madt_ioapic io = {.type = MADT_IOAPIC,
				 .length = sizeof(io),
				 .ioapic_id = (uint8_t)n_vcpus,
				 .gpa = GPA_IOAPIC};
	struct madt_lapic_nmi nmi = {.type = MADT_LAPIC_NMI,
				     .length = sizeof(nmi),
				     .processor_uid = 0xff,
				     .lint = 1};
	uint8_t buf[TABLE_MAX];
	struct aml a = {.buf = buf, .size = sizeof(buf)};

	aml_bytes(&a, &m, sizeof(m));
	for (unsigned int i = 0; i < n_vcpus; i++) {
		struct madt_lapic l = {.type = MADT_LAPIC,
				       .length = sizeof(l),
				       .processor_uid = (uint8_t)i,
				       .apic_id = (uint8_t)i,
				       .flags = MADT_LAPIC_ENABLED};

		aml_bytes(&a, &l, sizeof(l));
	}
	aml_bytes(&a, &io, sizeof(io));
	aml_bytes(&a, &nmi, sizeof(nmi));
	if (a.full)
		return err_set(e, -ENOMEM, "No room for the ACPI MADT");
	return put(t, buf, a.len, gpa, e);
}

static int put_xsdt(struct tables *t, const uint64_t entry[2], uint64_t *gpa,
		    struct err *e)
{
	struct {
		struct header head;
		uint64_t entry[2];
	} __attribute__((packed)) x = {.head = header("XSDT", XSDT_REVISION)};

	memcpy(x.entry, entry, sizeof(x.entry));
	return put(t, &x, sizeof(x), gpa, e);
}

static int put_rsdp(const struct gmem *m, uint64_t xsdt_gpa, struct err *e)
{
	struct rsdp r = {
		.oem_id = OEM_ID,
		.revision = 2,
		.length = sizeof(r),
		.xsdt_gpa = xsdt_gpa,
	};

	memcpy(r.signature, "RSD PTR ", sizeof(r.signature));
	r.checksum = boot_checksum(&r, offsetof(struct rsdp, length));
	r.extended_checksum = boot_checksum(&r, sizeof(r));
	if (gmem_write(m, GPA_RSDP, &r, sizeof(r)) < 0)
		return err_set(e, -ENOMEM, "No room for the ACPI RSDP");
	return 0;
}

int acpi_write(const struct gmem *m, const struct boot_info *b, struct err *e)
{
	struct tables t = {.m = m, .next_gpa = GPA_ACPI};
	uint64_t dsdt_gpa = 0, xsdt_gpa = 0, entry[2] = {0};
	int ret;

	ret = put_dsdt(&t, b, &dsdt_gpa, e);
	if (ret == 0)
		ret = put_fadt(&t, dsdt_gpa, &entry[0], e);
	if (ret == 0)
		ret = put_madt(&t, b->n_vcpus, &entry[1], e);
	if (ret == 0)
		ret = put_xsdt(&t, entry, &xsdt_gpa, e);
	if (ret == 0)
		ret = put_rsdp(m, xsdt_gpa, e);
	return ret;
}
