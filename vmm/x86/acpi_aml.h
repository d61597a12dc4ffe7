/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_aml.h: a writer of AML, the byte code of ACPI tables (ACPI 6.4, section
 * 20), into a buffer of fixed size: just what our DSDT needs.
 *
 * What does not fit sets `full` and is dropped; the caller checks once, at the
 * end. Names are segments of four characters.
 */
#ifndef VMM_X86_ACPI_AML_H
#define VMM_X86_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t size;
	size_t len;
	bool full;
};

void aml_bytes(struct aml *a, const void *bytes, size_t len);

/*
 * A block whose length stands in front of it: begin returns a mark, which end
 * takes. Blocks nest.
 */
size_t aml_begin_scope(struct aml *a, const char *name);
size_t aml_begin_device(struct aml *a, const char *name);
size_t aml_begin_package(struct aml *a, uint8_t n_elements);
size_t aml_begin_method(struct aml *a, const char *name, uint8_t n_args);
void aml_end(struct aml *a, size_t mark);

/* An object is a name and, after it, its value. */
void aml_name(struct aml *a, const char *name);
void aml_integer(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *text);

/* In a method: if its first argument is `value`, notify the device (0x80). */
void aml_notify_if(struct aml *a, uint64_t value, const char *device);

/* A resource template (section 6.4) between begin and end. */
size_t aml_begin_resources(struct aml *a);
void aml_memory32(struct aml *a, uint32_t base, uint32_t bytes);
void aml_io(struct aml *a, uint16_t port, uint8_t len);
void aml_interrupt(struct aml *a, uint32_t gsi); /* edge, active high */
void aml_end_resources(struct aml *a, size_t mark);

#endif
