/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/acpi_aml.h"

#include <string.h>

#define OP_ZERO	   0x00
#define OP_ONE	   0x01
#define OP_NAME	   0x08
#define OP_BYTE	   0x0a
#define OP_WORD	   0x0b
#define OP_DWORD   0x0c
#define OP_STRING  0x0d
#define OP_QWORD   0x0e
#define OP_SCOPE   0x10
#define OP_BUFFER  0x11
#define OP_PACKAGE 0x12
#define OP_METHOD  0x14
#define OP_EXT	   0x5b
#define OP_ARG0	   0x68
#define OP_NOTIFY  0x86
#define OP_EQUAL   0x93
#define OP_IF	   0xa0
#define OP_DEVICE  0x82 /* after OP_EXT */

#define RES_IO	      0x47 /* small resource, 7 bytes */
#define RES_END	      0x79
#define RES_MEMORY32  0x86
#define RES_INTERRUPT 0x89

#define SEGMENT_LEN 4

#define METHOD_SERIALIZED 0x08
#define NOTIFY_CHANGE	  0x80

void aml_bytes(struct aml *a, const void *bytes, size_t len)
{
	if (len > a->size - a->len) {
		a->full = true;
		return;
	}
	memcpy(a->buf + a->len, bytes, len);
	a->len += len;
}

static void byte(struct aml *a, uint8_t b)
{
	aml_bytes(a, &b, 1);
}

/* Put bytes before what was written since `at`. */
static void insert(struct aml *a, size_t at, const uint8_t *bytes, size_t len)
{
	if (a->full || len > a->size - a->len) {
		a->full = true;
		return;
	}
	memmove(a->buf + at + len, a->buf + at, a->len - at);
	memcpy(a->buf + at, bytes, len);
	a->len += len;
}

size_t aml_begin_scope(struct aml *a, const char *name)
{
	size_t mark;

	byte(a, OP_SCOPE);
	mark = a->len;
	aml_bytes(a, name, SEGMENT_LEN);
	return mark;
}

size_t aml_begin_device(struct aml *a, const char *name)
{
	size_t mark;

	byte(a, OP_EXT);
	byte(a, OP_DEVICE);
	mark = a->len;
	aml_bytes(a, name, SEGMENT_LEN);
	return mark;
}

size_t aml_begin_package(struct aml *a, uint8_t n_elements)
{
	size_t mark;

	byte(a, OP_PACKAGE);
	mark = a->len;
	byte(a, n_elements);
	return mark;
}

size_t aml_begin_method(struct aml *a, const char *name, uint8_t n_args)
{
	size_t mark;

	byte(a, OP_METHOD);
	mark = a->len;
	aml_bytes(a, name, SEGMENT_LEN);
	byte(a, n_args | METHOD_SERIALIZED);
	return mark;
}

/*
 * PkgLength (20.2.4): 6 bits in one byte, or 4 bits and up to three more bytes
 * whose number stands in the two highest bits. It counts itself.
 */
void aml_end(struct aml *a, size_t mark)
{
	size_t body = a->len - mark;
	uint8_t enc[3];
	size_t total, n;

	if (body + 1 < 1U << 6)
		n = 1;
	else if (body + 2 < 1U << 12)
		n = 2;
	else
		n = 3;
	total = body + n;
	if (total >= 1U << 20) {
		a->full = true;
		return;
	}
	if (n == 1) {
		enc[0] = (uint8_t)total;
	} else {
		enc[0] = (uint8_t)((n - 1) << 6 | (total & 0xf));
		enc[1] = (uint8_t)(total >> 4);
		enc[2] = (uint8_t)(total >> 12);
	}
	insert(a, mark, enc, n);
}

void aml_name(struct aml *a, const char *name)
{
	byte(a, OP_NAME);
	aml_bytes(a, name, SEGMENT_LEN);
}

static void little_endian(struct aml *a, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		byte(a, (uint8_t)(value >> 8 * i));
}

void aml_integer(struct aml *a, uint64_t value)
{
	if (value == 0) {
		byte(a, OP_ZERO);
	} else if (value == 1) {
		byte(a, OP_ONE);
	} else if (value <= UINT8_MAX) {
		byte(a, OP_BYTE);
		little_endian(a, value, 1);
	} else if (value <= UINT16_MAX) {
		byte(a, OP_WORD);
		little_endian(a, value, 2);
	} else if (value <= UINT32_MAX) {
		byte(a, OP_DWORD);
		little_endian(a, value, 4);
	} else {
		byte(a, OP_QWORD);
		little_endian(a, value, 8);
	}
}

void aml_string(struct aml *a, const char *text)
{
	byte(a, OP_STRING);
	aml_bytes(a, text, strlen(text) + 1);
}

void aml_notify_if(struct aml *a, uint64_t value, const char *device)
{
	size_t mark;

	byte(a, OP_IF);
	mark = a->len;
	byte(a, OP_EQUAL);
	byte(a, OP_ARG0);
	aml_integer(a, value);
	byte(a, OP_NOTIFY);
	aml_bytes(a, device, SEGMENT_LEN);
	aml_integer(a, NOTIFY_CHANGE);
	aml_end(a, mark);
}

/* A buffer: its length, its size as an integer, its bytes. */
size_t aml_begin_resources(struct aml *a)
{
	byte(a, OP_BUFFER);
	return a->len;
}

void aml_end_resources(struct aml *a, size_t mark)
{
	uint8_t size[3] = {OP_WORD};
	size_t bytes;

	byte(a, RES_END);
	byte(a, 0); /* no checksum */
	bytes = a->len - mark;
	size[1] = (uint8_t)bytes;
	size[2] = (uint8_t)(bytes >> 8);
	insert(a, mark, size, sizeof(size));
	aml_end(a, mark);
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t bytes)
{
	byte(a, RES_MEMORY32);
	little_endian(a, 9, 2);
	byte(a, 1); /* writable */
	little_endian(a, base, 4);
	little_endian(a, bytes, 4);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
	byte(a, RES_IO);
	byte(a, 1); /* decodes 16 bits */
	little_endian(a, port, 2);
	little_endian(a, port, 2);
	byte(a, 1); /* alignment */
	byte(a, len);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
	byte(a, RES_INTERRUPT);
	little_endian(a, 6, 2);
	byte(a, 0x3); /* consumer, edge, active high, exclusive */
	byte(a, 1);
	little_endian(a, gsi, 4);
}
