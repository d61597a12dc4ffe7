/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.h: what a snapshot was made of that is not in it: the host, and the
 * files of its drives. To warn by, not to refuse.
 *
 * What was read from a snapshot is untrusted. Any thread.
 */
#ifndef SNAPSHOT_ORIGIN_H
#define SNAPSHOT_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct archive;
struct err;

#define ORIGIN_RELEASE_MAX 64

struct origin_host {
	char release[ORIGIN_RELEASE_MAX + 1]; /* of the kernel */
};

void origin_host_set(struct origin_host *h, const char *release);
/* This host's: uname(2). */
int origin_host_read(struct origin_host *h, struct err *e);
/* Loaded: printable ASCII without spaces. */
void origin_host_describe(struct origin_host *h, struct archive *a);

/* By the numbers of "6.1.0-37-cloud"; what is no number is 0. */
bool origin_host_is_older(const struct origin_host *h,
			  const struct origin_host *than);

struct origin_file {
	uint64_t bytes;
	uint64_t inode;
	uint64_t mtime_s;
	uint32_t mtime_ns;
};

int origin_file_read(struct origin_file *f, int fd, struct err *e);
void origin_file_describe(struct origin_file *f, struct archive *a);

/*
 * What is different now, as "4096 bytes, were 8192; inode 7, was 5", cut to n
 * bytes; only of the size if it is meant to be another file. False: nothing.
 */
bool origin_file_differs(const struct origin_file *was,
			 const struct origin_file *now, bool size_only,
			 char *text, size_t n);

#endif
