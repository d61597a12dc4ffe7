/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/file.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"

#define HEADER_BYTES 64
#define ENTRY_BYTES  24
#define CRC_AT	     48

static const char magic[8] = {'m', 'a', 'y', 'f', 'l', 'y', 'S', 'N'};

static size_t table_end(const struct state_file *f)
{
	return HEADER_BYTES + f->n_sections * (size_t)ENTRY_BYTES;
}

/* ---- both ways: see the table in file.h ---- */

static void header(struct archive *a, struct state_file *f, uint64_t *len,
		   uint32_t *crc)
{
	char text[sizeof(magic)];
	uint8_t zero[HEADER_BYTES - CRC_AT - 4 - 2] = {0};

	memcpy(text, magic, sizeof(text));
	archive_bytes(a, text, sizeof(text));
	archive_u16(a, &f->major);
	archive_u16(a, &f->minor);
	archive_u32(a, &f->n_sections);
	archive_u64(a, len);
	archive_bytes(a, f->id, sizeof(f->id));
	archive_u64(a, &f->mem_bytes);
	archive_u32(a, crc);
	archive_u16(a, &f->arch);
	archive_bytes(a, zero, sizeof(zero));
}

static void entry(struct archive *a, struct state_section *s)
{
	archive_u32(a, &s->tag);
	archive_u32(a, &s->index);
	archive_u32(a, &s->flags);
	archive_u32(a, &s->crc);
	archive_u32(a, &s->offset);
	archive_u32(a, &s->bytes);
}

/* ---- writing ---- */

int state_new(struct state_file *f, struct err *e)
{
	*f = (struct state_file){
		.major = STATE_MAJOR, .minor = STATE_MINOR, .arch = STATE_ARCH};
	f->data = malloc(STATE_MAX_BYTES);
	return f->data ? 0 : err_code(e, -ENOMEM, "State of the microVM");
}

void state_exit(struct state_file *f)
{
	free(f->data);
	*f = (struct state_file){0};
}

struct archive state_begin(struct state_file *f, uint32_t tag, uint32_t index,
			   uint32_t flags)
{
	if (f->n_sections == STATE_MAX_SECTIONS) {
		f->overflowed = true;
		return archive_saver(f->data, 0);
	}
	f->section[f->n_sections] = (struct state_section){
		.tag = tag,
		.index = index,
		.flags = flags,
		.offset = (uint32_t)f->len,
	};
	return archive_saver(f->data + f->len, STATE_MAX_BYTES - f->len);
}

void state_end(struct state_file *f, const struct archive *a)
{
	struct state_section *s = &f->section[f->n_sections];

	if (f->overflowed || !archive_ok(a)) {
		f->overflowed = true;
		return;
	}
	s->bytes = (uint32_t)a->at;
	s->crc = crc32c(0, f->data + f->len, a->at);
	f->len += a->at;
	f->n_sections++;
}

uint8_t *state_pack(const struct state_file *f, size_t *len, struct err *e)
{
	struct state_file copy = *f;
	size_t start = table_end(f);
	uint64_t total = start + f->len;
	struct archive a, patch;
	uint32_t crc = 0;
	uint8_t *out;

	if (f->overflowed || total > STATE_MAX_BYTES) {
		(void)err_set(e, -EFBIG,
			      "The state of the microVM is over %u bytes",
			      STATE_MAX_BYTES);
		return NULL;
	}
	out = malloc(total);
	if (!out) {
		(void)err_code(e, -ENOMEM, "State of the microVM");
		return NULL;
	}
	a = archive_saver(out, start);
	header(&a, &copy, &total, &crc);
	for (uint32_t i = 0; i < f->n_sections; i++) {
		copy.section[i].offset += (uint32_t)start;
		entry(&a, &copy.section[i]);
	}
	memcpy(out + start, f->data, f->len);
	crc = crc32c(0, out, start);
	patch = archive_saver(out + CRC_AT, sizeof(crc));
	archive_u32(&patch, &crc);
	*len = total;
	return out;
}

/* ---- reading ---- */

static int corrupt(struct err *e, const char *what)
{
	return err_set(e, -EBADMSG, "CRC32C validation failed: %s", what);
}

static int parse_header(struct state_file *f, const uint8_t *data, size_t len,
			struct err *e)
{
	struct archive a = archive_loader(data, MIN(len, (size_t)HEADER_BYTES));
	uint64_t total = 0;
	uint32_t crc = 0, sum;
	uint8_t zero[4] = {0};

	if (len < sizeof(magic))
		return err_set(e, -EBADMSG,
			       "IO Error: File too short to contain CRC");
	if (memcmp(data, magic, sizeof(magic)) != 0)
		return err_set(e, -EBADMSG,
			       "An error occurred during bitcode "
			       "serialization: bitcode error");
	header(&a, f, &total, &crc);
	if (!archive_ok(&a))
		return corrupt(e, "the header is cut off");
	if (f->major != STATE_MAJOR)
		return err_set(e, -ENOTSUP,
			       "Invalid format version: %u.%u, this program "
			       "reads %u.x",
			       f->major, f->minor, STATE_MAJOR);
	if (f->arch != STATE_ARCH)
		return err_set(e, -ENOTSUP,
			       "Magic value does not match arch: %u, this "
			       "program reads %u",
			       f->arch, STATE_ARCH);
	if (total != len || f->n_sections > STATE_MAX_SECTIONS ||
	    table_end(f) > len)
		return corrupt(e, "the file is not as long as it says");
	sum = crc32c(0, data, CRC_AT);
	sum = crc32c(sum, zero, sizeof(zero));
	sum = crc32c(sum, data + CRC_AT + 4, table_end(f) - CRC_AT - 4);
	return sum == crc ? 0 : corrupt(e, "header");
}

static int parse_section(struct state_file *f, uint32_t i, size_t *at,
			 struct err *e)
{
	const struct state_section *s = &f->section[i];

	if (s->offset != *at || !num_inside(s->offset, s->bytes, f->len))
		return corrupt(e, "sections do not follow one another");
	if (crc32c(0, f->data + s->offset, s->bytes) != s->crc)
		return corrupt(e, "section");
	for (uint32_t j = 0; j < i; j++) {
		if (f->section[j].tag == s->tag &&
		    f->section[j].index == s->index)
			return corrupt(e, "a section is there twice");
	}
	*at += s->bytes;
	return 0;
}

int state_parse(struct state_file *f, const uint8_t *data, size_t len,
		struct err *e)
{
	struct archive table;
	size_t at;
	int ret;

	*f = (struct state_file){.data = (uint8_t *)(uintptr_t)data,
				 .len = len};
	ret = parse_header(f, data, len, e);
	if (ret < 0)
		return ret;
	at = table_end(f);
	table = archive_loader(data + HEADER_BYTES, at - HEADER_BYTES);
	for (uint32_t i = 0; ret == 0 && i < f->n_sections; i++) {
		entry(&table, &f->section[i]);
		ret = parse_section(f, i, &at, e);
	}
	if (ret == 0 && at != len)
		ret = corrupt(e, "there is more than the sections");
	return ret;
}

/* Whoever wrote the file chose it, and it goes into a message. */
static int unknown_tag(uint32_t tag, struct err *e)
{
	char text[5] = "";

	for (int i = 0; i < 4; i++) {
		char c = (char)(tag >> 8 * i);

		text[i] = (char)(c < ' ' || c > '~' ? '?' : c);
	}
	return err_set(e, -ENOTSUP,
		       "The snapshot needs what this program does not know: "
		       "section '%s'",
		       text);
}

int state_check_known(const struct state_file *f, const uint32_t *tags,
		      size_t n, struct err *e)
{
	for (uint32_t i = 0; i < f->n_sections; i++) {
		const struct state_section *s = &f->section[i];
		bool known = !(s->flags & STATE_REQUIRED);

		for (size_t j = 0; !known && j < n; j++)
			known = tags[j] == s->tag;
		if (!known)
			return unknown_tag(s->tag, e);
	}
	return 0;
}

struct archive state_find(const struct state_file *f, uint32_t tag,
			  uint32_t index)
{
	for (uint32_t i = 0; i < f->n_sections; i++) {
		const struct state_section *s = &f->section[i];

		if (s->tag == tag && s->index == index)
			return archive_loader(f->data + s->offset, s->bytes);
	}
	return (struct archive){.in = f->data, .failed = true};
}

uint64_t state_number(const struct state_file *f)
{
	uint64_t n;

	memcpy(&n, f->id, sizeof(n));
	return le64toh(n);
}
