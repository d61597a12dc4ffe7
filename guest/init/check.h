/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h: write a known pattern to a file or drive, and read it back from the
 * device rather than from the page cache.
 *
 * The pattern is a function of seed and offset; results are reported with the
 * SHA-256 of what was read, for the host to compare with what it finds.
 */
#ifndef GUEST_INIT_CHECK_H
#define GUEST_INIT_CHECK_H

#include <stdint.h>

/*
 * Fill path with bytes of the pattern from its start and sync it. A file is
 * made if missing, and cut to that length. 0 or negative errno.
 */
int check_write(const char *path, uint64_t bytes, uint64_t seed);

/*
 * Read all of path and report size and SHA-256. With a seed, -EBADMSG and a
 * report of the first wrong 8 bytes unless all of it is the pattern.
 */
int check_read(const char *path, const uint64_t *seed);

/* As a program: check write PATH MIB SEED | check read PATH [SEED]. */
int check_main(int argc, char **argv);

#endif
