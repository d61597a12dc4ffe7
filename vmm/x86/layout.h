/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h: where things are in guest-physical memory and on the irq lines.
 *
 * Guests, their command lines and their snapshots depend on these numbers.
 */
#ifndef VMM_X86_LAYOUT_H
#define VMM_X86_LAYOUT_H

/* Boot data, below the kernel. */
#define GPA_GDT		   0x500
#define GPA_IDT		   0x520
#define GPA_PVH_START_INFO 0x6000
#define GPA_PVH_MODLIST	   0x6040
#define GPA_ZERO_PAGE	   0x7000
#define GPA_PVH_MEMMAP	   0x7000
#define GPA_BOOT_STACK	   0x8ff0
#define GPA_PML4	   0x9000
#define GPA_PDPT	   0xa000
#define GPA_PD		   0xb000
#define GPA_CMDLINE	   0x20000
#define CMDLINE_MAX	   2048 /* with the NUL */

/* MP table, VMGenID, VMClock and ACPI tables; reserved in the e820 map. */
#define GPA_SYSTEM     0x9fc00
#define GPA_SYSTEM_END 0xe0000
#define GPA_RSDP       0xe0000
#define GPA_MPTABLE    GPA_SYSTEM
#define GPA_VMGENID    0xa1000 /* 16 bytes, page of its own */
#define GPA_VMCLOCK    0xa2000 /* one page */
#define GPA_ACPI       0xa3000 /* DSDT, FADT, MADT, XSDT */

#define GPA_KERNEL 0x100000 /* 1 MiB: kernels are loaded from here up */

/* What the page tables at a 64-bit entry map, one to one. */
#define BOOT_MAPPED_BYTES 0x40000000

/* RAM stops here and goes on at 4 GiB. */
#define GPA_GAP	    0xc0000000ULL
#define GPA_GAP_END 0x100000000ULL

#define GPA_BOOT_TIMER 0xc0000000ULL
#define GPA_VIRTIO_MMIO                                      \
	0xc0001000ULL /* first window; one 4 KiB window each \
		       */
#define GPA_IOAPIC   0xfec00000ULL
#define GPA_LAPIC    0xfee00000ULL
#define GPA_TSS	     0xfffbd000ULL /* three pages, for KVM on VT-x */
#define GPA_IDENTITY 0xfffbc000ULL /* one page, for KVM on VT-x */

#define MMIO_WINDOW_BYTES 0x1000
#define MMIO_QUEUE_NOTIFY 0x50 /* virtio 1.2, section 4.2.2 */

/* I/O ports. */
#define PIO_I8042     0x60 /* 0x60 and 0x64 */
#define PIO_I8042_LEN 5
#define PIO_COM1      0x3f8
#define PIO_COM1_LEN  8
#define PIO_SLEEP     0x600 /* ACPI sleep control, then sleep status */
#define PIO_SLEEP_LEN 2

/*
 * Interrupt lines. Virtio devices take 5..21 in the order they are attached;
 * the last two are reserved, so that no number changes later.
 */
#define GSI_I8042	1
#define GSI_COM1	4
#define GSI_FIRST	5
#define GSI_VMGENID	22
#define GSI_VMCLOCK	23
#define MAX_VIRTIO_DEVS 17
#define IOAPIC_PINS	24
#define MAX_VCPUS	32

#endif
