/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h: the state file of a snapshot: a header, a table of sections, the
 * sections, nothing else; every byte is under a CRC32C.
 *
 *	offset bytes
 *	 0	 8	"mayflySN"
 *	 8	 2 + 2	version: major, minor
 *	12	 4	number of sections
 *	16	 8	bytes of the file
 *	24	16	id of the snapshot, random
 *	40	 8	bytes of the memory file
 *	48	 4	CRC32C of header and table, taken with 0 here
 *	52	 2	architecture, as ELF numbers machines
 *	54	10	0
 *	64	24 n	the table: tag, index, flags, CRC32C, offset, bytes
 *
 * Where RAM lies, and windows and lines of devices, goes by their number alone
 * (vmm/x86/layout.h) and is a part of the major version.
 *
 * All numbers are little-endian. Sections follow one another in the order of
 * the table, without gaps. A reader skips a section that it does not know,
 * unless it is marked as required. So a newer program reads older files, and an
 * older one reads newer files of its major version that need nothing new.
 *
 * The file is untrusted. Any thread.
 */
#ifndef SNAPSHOT_FILE_H
#define SNAPSHOT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/archive.h"

struct err;

#define STATE_MAX_BYTES	   (1u << 20)
#define STATE_MAX_SECTIONS 128
#define STATE_ID_BYTES	   16
#define STATE_MAJOR	   1
#define STATE_MINOR	   0
#define STATE_ARCH	   62 /* EM_X86_64 */

/* Tags are four letters. */
#define STATE_TAG(a, b, c, d)                                       \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | \
	 (uint32_t)(d) << 24)

enum {
	STATE_REQUIRED = 1, /* flag of a section */
};

struct state_section {
	uint32_t tag;
	uint32_t index; /* which of several: vCPU, device */
	uint32_t flags;
	uint32_t crc;
	uint32_t offset;
	uint32_t bytes;
};

struct state_file {
	uint8_t id[STATE_ID_BYTES];
	uint64_t mem_bytes;
	uint16_t major, minor, arch;
	struct state_section section[STATE_MAX_SECTIONS];
	uint32_t n_sections;
	uint8_t *data;	 /* of the file when read; the sections when written */
	size_t len;	 /* of data */
	bool overflowed; /* writing: more than the file may hold */
};

/* Write: begin, fields, end, for each section; then pack. */
int state_new(struct state_file *f, struct err *e);
struct archive state_begin(struct state_file *f, uint32_t tag, uint32_t index,
			   uint32_t flags);
void state_end(struct state_file *f, const struct archive *a);

/* The whole file; free() it. NULL: memory, or more than the limits. */
uint8_t *state_pack(const struct state_file *f, size_t *len, struct err *e);

/*
 * Check a file of len bytes, which f->data borrows: layout, version and every
 * checksum. Texts are those of Firecracker where it has one.
 */
int state_parse(struct state_file *f, const uint8_t *data, size_t len,
		struct err *e);

/* -ENOTSUP if a required section is not in the list of known tags. */
int state_check_known(const struct state_file *f, const uint32_t *tags,
		      size_t n, struct err *e);

/*
 * A section for loading. One that is not there is empty and has failed, so that
 * the first archive_ok() tells.
 */
struct archive state_find(const struct state_file *f, uint32_t tag,
			  uint32_t index);

/* The number by which target.h connects the two files, out of the id. */
uint64_t state_number(const struct state_file *f);

void state_exit(struct state_file *f); /* after state_new() */

#endif
