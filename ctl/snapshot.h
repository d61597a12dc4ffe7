/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h: mayflyctl's commands on the files of snapshots.
 *
 * Exit codes: 0; 1: the files are not what they should be, or this host is not
 * for them; 2: wrong arguments, or what cannot be told (no file, no KVM).
 */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include "snapshot/snapshot.h"

enum {
	CTL_GOOD = 0,
	CTL_BAD = 1,
	CTL_UNKNOWN = 2,
};

/* Arguments from the command's name on. */
int snapshot_main(int argc, char **argv);

/* Behind the word of each. */
int snapshot_info(int argc, char **argv);
int snapshot_verify(int argc, char **argv);
int snapshot_merge(int argc, char **argv);
int snapshot_host(int argc, char **argv);

/* How to call them; returns CTL_UNKNOWN. */
int snapshot_usage(void);

/* Print the error; returns whether it is the file's fault or another. */
int snapshot_failed(const char *path, const struct err *e);

/* Open and check a state file, or print why not and return the exit code. */
int snapshot_load(struct snapshot *s, const char *path);

/*
 * The digests of the memory file, memfile_chunks(s->file.mem_bytes) of them, in
 * memory that the caller frees; NULL and an error if they are not there.
 */
uint32_t *snapshot_digests(const struct snapshot *s, struct err *e);

#endif
