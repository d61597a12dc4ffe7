/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diskfloor.c: what the host gives: the requests that nano makes of its drive,
 * made of the file directly, through io_uring and a fixed file, and nothing
 * else.
 *
 *	diskfloor FILE read|write DEPTH SEGMENTS BYTES COUNT
 *
 * COUNT requests of BYTES in SEGMENTS of equal size, DEPTH of them in flight,
 * one after another from the start of the file, over again at its end. Prints
 * "n=COUNT ns=TIME"; exit code 1 and a line on standard error where something
 * did not work.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 128
#define SEGS_MAX  128

struct slot {
	struct iovec iov[SEGS_MAX];
};

struct job {
	struct io_uring ring;
	bool write;
	unsigned int depth, segs;
	size_t bytes;
	uint64_t count, blocks; /* requests, and how many the file holds */
	uint64_t issued, done;
	struct slot *slot;
	unsigned int free_slot[DEPTH_MAX], n_free;
};

static _Noreturn void die(const char *what, int err)
{
	(void)fprintf(stderr, "diskfloor: %s: %s\n", what, strerror(err));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void open_file(struct job *j, const char *path)
{
	int fd = open(path, (j->write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path, errno);
	j->blocks = (uint64_t)st.st_size / j->bytes;
	if (j->blocks == 0)
		die(path, EINVAL);
	ret = io_uring_queue_init(DEPTH_MAX, &j->ring, 0);
	if (ret == 0)
		ret = io_uring_register_files(&j->ring, &fd, 1);
	if (ret < 0)
		die("io_uring", -ret);
}

static void make_slots(struct job *j)
{
	size_t all = j->depth * j->bytes;
	char *p = mmap(NULL, all, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	j->slot = calloc(j->depth, sizeof(*j->slot));
	if (p == MAP_FAILED || !j->slot)
		die("memory", ENOMEM);
	for (unsigned int i = 0; i < j->depth; i++) {
		for (unsigned int k = 0; k < j->segs;
		     k++, p += j->bytes / j->segs)
			j->slot[i].iov[k] =
				(struct iovec){p, j->bytes / j->segs};
		j->free_slot[j->n_free++] = i;
	}
}

static void issue(struct job *j)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&j->ring);
	unsigned int at = j->free_slot[--j->n_free];
	uint64_t offset = j->issued++ % j->blocks * j->bytes;

	if (j->write)
		io_uring_prep_writev(sqe, 0, j->slot[at].iov, j->segs, offset);
	else
		io_uring_prep_readv(sqe, 0, j->slot[at].iov, j->segs, offset);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data64(sqe, at);
}

static void reap(struct job *j)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&j->ring, &cqe) == 0) {
		if (cqe->res != (int)j->bytes)
			die("a request", cqe->res < 0 ? -cqe->res : EIO);
		j->free_slot[j->n_free++] =
			(unsigned int)io_uring_cqe_get_data64(cqe);
		io_uring_cqe_seen(&j->ring, cqe);
		j->done++;
	}
}

static void run(struct job *j)
{
	int ret;

	while (j->done < j->count) {
		while (j->n_free && j->issued < j->count)
			issue(j);
		ret = io_uring_submit_and_wait(&j->ring, 1);
		if (ret < 0)
			die("io_uring_enter", -ret);
		reap(j);
	}
}

int main(int argc, char **argv)
{
	struct job j = {0};
	uint64_t start;

	if (argc != 7)
		die("see the head of diskfloor.c for its use", EINVAL);
	j.write = strcmp(argv[2], "write") == 0;
	j.depth = (unsigned int)strtoul(argv[3], NULL, 10);
	j.segs = (unsigned int)strtoul(argv[4], NULL, 10);
	j.bytes = strtoul(argv[5], NULL, 10);
	j.count = strtoull(argv[6], NULL, 10);
	if (j.depth < 1 || j.depth > DEPTH_MAX || j.segs < 1 ||
	    j.segs > SEGS_MAX || j.bytes == 0 || j.bytes % j.segs)
		die("DEPTH, SEGMENTS or BYTES", EINVAL);
	open_file(&j, argv[1]);
	make_slots(&j);
	start = now_ns();
	run(&j);
	(void)printf("n=%llu ns=%llu\n", (unsigned long long)j.done,
		     (unsigned long long)(now_ns() - start));
	return 0;
}
