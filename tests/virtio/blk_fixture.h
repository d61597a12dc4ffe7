/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk_fixture.h: a drive on a real file and a driver for it, on either backend
 * of the loop.
 */
#ifndef TESTS_VIRTIO_BLK_FIXTURE_H
#define TESTS_VIRTIO_BLK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/virtio/both_loops.h"
#include "tests/virtio/vcpu_thread.h"
#include "virtio/blk.h"

#define RAM_BYTES  (16 * MIB)
#define DISK_BYTES (1 * MIB)
#define QUEUE_SIZE 256

/* Header and status of a request whose first descriptor is i. */
#define HEADER_GPA(i) (0x10000 + (uint64_t)(i)*32)
#define STATUS_GPA(i) (HEADER_GPA(i) + 24)
#define BUFFER_GPA    0x100000

enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZERO = 13 };
enum { S_OK, S_IOERR, S_UNSUPP, S_NONE = 0xee };

#define F_VERSION VIRTIO_FEATURE(VIRTIO_F_VERSION_1)
#define F_ALL                                                  \
	(F_VERSION | VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) | \
	 VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC))

struct fixture {
	enum loop_backend backend;
	struct worker *worker;
	struct loop *loop;
	struct vm *vm;
	struct blk *blk;
	struct blk *other; /* a second drive, of the few tests that have it */
	struct driver drv;
	int fd; /* of the drive's file, the test's own */
	uint32_t used_len;
	/* A file operation that does not end: see attach_blocked(). */
	int pipe[2];
	struct job job;
	bool job_ended;
	struct blk_swap swap;
	int swap_ret; /* 1: not called */
	uint64_t swap_ns;
};

static inline uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + at / 512 * 3 + at / 65536);
}

static inline int new_file(uint64_t bytes)
{
	int fd = memfd_create("drive", MFD_CLOEXEC);
	uint8_t *data = malloc(bytes);

	assert_true(fd >= 0 && data);
	for (uint64_t i = 0; i < bytes; i++)
		data[i] = pattern(i);
	assert_int_equal(pwrite(fd, data, bytes, 0), (ssize_t)bytes);
	free(data);
	return fd;
}

static inline int sparse_file(uint64_t bytes)
{
	int fd = memfd_create("drive", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static inline int dup_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	assert_true(copy >= 0);
	return copy;
}

/* A second open file of the same contents. */
static inline int reopen(int fd, int flags)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline struct virtio_dev *dev(struct fixture *f)
{
	return blk_dev(f->blk);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	assert_non_null(f);
	f->backend = *(const enum loop_backend *)*state;
	f->fd = -1;
	f->swap_ret = 1;
	assert_int_equal(pipe(f->pipe), 0);
	assert_int_equal(worker_new(&f->worker, &e), 0);
	open_machine(&f->loop, &f->vm, f->backend, f->worker, RAM_BYTES);
	*state = f;
	return 0;
}

static inline struct blk *new_blk(struct fixture *f, int fd, uint64_t bytes,
				  const struct blk_config *cfg)
{
	struct blk_file file = {.fd = fd, .bytes = bytes, .id = "an identity"};
	struct err e = {0};
	struct blk *b;

	assert_int_equal(blk_new(&b, f->vm, cfg, &file, &e), 0);
	virtio_listen(blk_dev(b));
	return b;
}

/* Attach the file fd, which stays the test's. */
static inline void attach(struct fixture *f, int fd, uint64_t bytes,
			  const struct blk_config *cfg, uint64_t features)
{
	f->fd = fd;
	f->blk = new_blk(f, dup_fd(fd), bytes, cfg);
	f->drv = (struct driver){
		.mem = &f->vm->mem, .dev = dev(f), .size = QUEUE_SIZE};
	bring_up(&f->drv, features & dev(f)->features);
	assert_int_equal(reg_read(&f->drv, 0x70), 15);
}

static inline void attach_usual(struct fixture *f)
{
	attach(f, new_file(DISK_BYTES), DISK_BYTES,
	       &(struct blk_config){.writeback = true}, F_ALL);
}

/* A reset ends when the drive has nothing under way: a vCPU waits for it. */
static inline void reset(struct fixture *f)
{
	struct vcpu_thread t;

	start_write(&f->drv, f->vm, &t, 0x70, 0);
	until(f, ended(&t));
	assert_int_equal(pthread_join(t.thread, NULL), 0);
}

static inline void bring_up_again(struct fixture *f)
{
	reset(f);
	bring_up(&f->drv, F_ALL);
}

static inline void blk_stopped(struct virtio_dev *d)
{
	(void)d;
}

static inline void stop_blk(struct fixture *f, struct blk *b)
{
	struct virtio_dev *d = blk_dev(b);

	virtio_stop(d, blk_stopped);
	until(f, d->stop_queued);
	turn(f);
	blk_free(b);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	/* Whatever a test that failed has left in the pipe's way ends now. */
	(void)close(f->pipe[1]);
	if (f->blk)
		stop_blk(f, f->blk);
	if (f->other)
		stop_blk(f, f->other);
	worker_free(f->worker);
	turns(f, 1);
	close_machine(f->loop, f->vm);
	if (f->fd >= 0)
		(void)close(f->fd);
	(void)close(f->pipe[0]);
	free(f);
	return 0;
}

/* ---- requests ---- */

static inline void put_header(struct fixture *f, uint64_t gpa, uint32_t type,
			      uint64_t sector)
{
	const struct {
		uint32_t type, reserved;
		uint64_t sector;
	} h = {type, 0, sector};

	assert_int_equal(gmem_write(f->drv.mem, gpa, &h, sizeof(h)), 0);
}

/* A request of three descriptors from i on (two if len is 0), not offered. */
static inline void build(struct fixture *f, uint16_t i, uint32_t type,
			 uint64_t sector, uint64_t gpa, uint32_t len, bool in)
{
	const uint8_t none = S_NONE;
	uint16_t last = (uint16_t)(len ? i + 2 : i + 1);

	put_header(f, HEADER_GPA(i), type, sector);
	desc(&f->drv, i, HEADER_GPA(i), 16, DESC_NEXT, (uint16_t)(i + 1));
	if (len)
		desc(&f->drv, i + 1u, gpa, len,
		     (uint16_t)(DESC_NEXT | (in ? DESC_WRITE : 0)), last);
	desc(&f->drv, last, STATUS_GPA(i), 1, DESC_WRITE, 0);
	assert_int_equal(gmem_write(f->drv.mem, STATUS_GPA(i), &none, 1), 0);
}

/* Wait for the next answer; returns its head. */
static inline uint32_t wait_used(struct fixture *f)
{
	uint32_t head;

	until(f, take_used(&f->drv, &head, &f->used_len));
	return head;
}

/* Offer head, wait, and return its status byte at gpa. */
static inline uint8_t run_at(struct fixture *f, uint16_t head, uint64_t gpa)
{
	offer(&f->drv, head);
	kick(&f->drv);
	assert_int_equal(wait_used(f), head);
	return get8(&f->drv, gpa);
}

static inline uint8_t request(struct fixture *f, uint32_t type, uint64_t sector,
			      uint64_t gpa, uint32_t len)
{
	build(f, 0, type, sector, gpa, len, type == T_IN || type == T_GET_ID);
	return run_at(f, 0, STATUS_GPA(0));
}

static inline bool has_pattern(struct fixture *f, uint64_t gpa, uint64_t at,
			       uint64_t len)
{
	const uint8_t *p = ram(&f->drv, gpa, len);

	for (uint64_t i = 0; i < len; i++)
		if (p[i] != pattern(at + i))
			return false;
	return true;
}

static inline uint64_t irqs(struct fixture *f)
{
	return irqs_of(dev(f));
}

#endif
