/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/init/report.h"
#include "guest/init/sha256.h"

#define CHUNK	   (256U << 10)
#define PAGE_BYTES 4096

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* offset is a multiple of 8. */
static void fill(uint8_t *buf, size_t len, uint64_t offset, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t n = (offset + i) / 8 + 1;
		uint64_t word = mix((seed << 40) + n * 0x9e3779b97f4a7c15);
		size_t left = len - i;

		memcpy(buf + i, &word, left < 8 ? left : 8);
	}
}

static int write_pattern(int fd, uint8_t *buf, uint64_t bytes, uint64_t seed)
{
	uint64_t at = 0;

	while (at < bytes) {
		uint64_t left = bytes - at;
		size_t want = left < CHUNK ? (size_t)left : CHUNK;
		size_t done = 0;

		fill(buf, want, at, seed);
		while (done < want) {
			ssize_t n = write(fd, buf + done, want - done);

			if (n < 0)
				return -errno;
			done += (size_t)n;
		}
		at += want;
	}
	return fsync(fd) ? -errno : 0;
}

static int same(const char *path, const uint8_t *got, const uint8_t *want,
		size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i++) {
		if (got[i] == want[i])
			continue;
		report("%s differs from byte %llu", path,
		       (unsigned long long)(at + i));
		return -EBADMSG;
	}
	return 0;
}

/* buf holds two chunks: what is there and what should be. */
static int read_all(int fd, const char *path, uint8_t *buf,
		    const uint64_t *seed, struct sha256 *sum)
{
	uint64_t at = 0;

	for (;;) {
		ssize_t n = read(fd, buf, CHUNK);

		if (n < 0)
			return -errno;
		sha256_add(sum, buf, (size_t)n);
		if (seed) {
			fill(buf + CHUNK, (size_t)n, at, *seed);
			int r = same(path, buf, buf + CHUNK, (size_t)n, at);

			if (r)
				return r;
		}
		at += (uint64_t)n;
		/* Past a short read O_DIRECT would object to the offset. */
		if (n < (ssize_t)CHUNK)
			return 0;
	}
}

int check_write(const char *path, uint64_t bytes, uint64_t seed)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	uint8_t *buf = malloc(CHUNK);
	int r = buf ? write_pattern(fd, buf, bytes, seed) : -ENOMEM;

	free(buf);
	if (close(fd) && !r)
		r = -errno;
	if (!r)
		report("wrote %s %llu bytes, synced", path,
		       (unsigned long long)bytes);
	return r;
}

/* tmpfs has no O_DIRECT, and no device that could be bypassed. */
static int open_direct(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int check_read(const char *path, const uint64_t *seed)
{
	int fd = open_direct(path);

	if (fd < 0)
		return fd;
	uint8_t *buf = aligned_alloc(PAGE_BYTES, 2 * (size_t)CHUNK);
	struct sha256 sum;

	sha256_init(&sum);
	int r = buf ? read_all(fd, path, buf, seed, &sum) : -ENOMEM;

	free(buf);
	(void)close(fd);
	if (r)
		return r;
	unsigned long long bytes = sum.bytes;
	char hex[SHA256_HEX];

	sha256_hex(&sum, hex);
	report("read %s %llu bytes%s sha256 %s", path, bytes,
	       seed ? ", verified," : "", hex);
	return 0;
}

static int run(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "write")) {
		uint64_t seed = strtoull(argv[4], NULL, 0);
		uint64_t bytes = strtoull(argv[3], NULL, 0) << 20;
		int r = check_write(argv[2], bytes, seed);

		return r ? r : check_read(argv[2], &seed);
	}
	if (argc == 3 && !strcmp(argv[1], "read"))
		return check_read(argv[2], NULL);
	if (argc == 4 && !strcmp(argv[1], "read")) {
		uint64_t seed = strtoull(argv[3], NULL, 0);

		return check_read(argv[2], &seed);
	}
	report("usage: check write PATH MIB SEED | check read PATH [SEED]");
	return -EINVAL;
}

int check_main(int argc, char **argv)
{
	int r = run(argc, argv);

	if (r)
		report("check: %s", strerror(-r));
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
