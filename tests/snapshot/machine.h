/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h: a machine with every kind of device on the stand-in for KVM, made
 * of a snapshot as a load makes it, and taken down again.
 */
#ifndef TESTS_SNAPSHOT_MACHINE_H
#define TESTS_SNAPSHOT_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/worker.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "tests/snapshot/fake_kvm.h"
#include "tests/virtio/driver.h"
#include "virtio/blk.h"
#include "virtio/net.h"
#include "virtio/pause.h"
#include "virtio/vsock.h"
#include "vmm/saved.h"
#include "vmm/vm.h"

#define MEM_BYTES  (2 * MIB)
#define DISK_BYTES (64 * KIB)
#define N_VCPUS	   2
#define N_DRIVES   2
#define RINGS(n)                                                    \
	(0x100000 + (uint64_t)(n)*0x8000) /* of queue n of them all \
					   */
#define QUEUE_SIZE 8

/* What all machines of the program share. */
struct host {
	struct worker *worker;
	struct loop *loop;
	int disk_fd, mem_fd;
};

struct machine {
	struct vm *vm;
	struct blk *blk[N_DRIVES];
	struct net *net;
	struct vsock *vsock;
	int peer; /* the other end of the TAP */
};

static inline void host_init(struct host *h)
{
	struct err e;

	log_set_level(LOG_OFF);
	/* As fds_init(), but what the test runner left open stays open. */
	for (int fd = FDS_END - 1; fd >= FDS_FIRST; fd--)
		fds_release(fd);
	assert_int_equal(worker_new(&h->worker, &e), 0);
	assert_int_equal(loop_new(&h->loop, LOOP_EPOLL, h->worker, &e), 0);
	worker_attach(h->worker, h->loop);
	h->disk_fd = fake_memfd("disk", DISK_BYTES);
	h->mem_fd = fake_memfd("mem", MEM_BYTES);
}

static inline void host_exit(struct host *h)
{
	worker_free(h->worker);
	assert_int_equal(loop_turn(h->loop, 0), 0);
	loop_free(h->loop);
	(void)close(h->disk_fd);
	(void)close(h->mem_fd);
}

static inline int add_drive(struct machine *m, const struct host *h,
			    unsigned int i, struct err *e)
{
	const struct blk_config cfg = {
		.slot = i, .read_only = i > 0, .writeback = true};
	struct blk_file file = {.fd = fcntl(h->disk_fd, F_DUPFD_CLOEXEC, 0),
				.bytes = DISK_BYTES,
				.id = "drive"};

	return blk_new(&m->blk[i], m->vm, &cfg, &file, e);
}

static inline int add_net(struct machine *m, struct err *e)
{
	struct net_config cfg = {.has_mac = true, .mac = {2, 0, 0, 0, 0, 1}};
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX,
			   SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			   fds),
		0);
	m->peer = fds[1];
	cfg.tap = fds_move(fds[0], FD_TAP0, e);
	return net_new(&m->net, m->vm, &cfg, e);
}

static inline int add_vsock(struct machine *m, const struct host *h,
			    struct err *e)
{
	struct vsock_config cfg = {
		.guest_cid = 3,
		.uds_path = "/nowhere/vsock",
		.max_connections = 4,
		.pool_bytes = MIB,
		.credit_bytes = 64 * KIB,
		.worker = h->worker,
	};
	const sa_family_t any = AF_UNIX; /* the kernel finds a name */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&any, sizeof(any)),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	cfg.listener = fds_move(fd, FD_VSOCK, e);
	return vsock_new(&m->vsock, m->vm, &cfg, e);
}

/* As api/start.c: devices, machine, registers; -errno or 0. */
static inline int machine_build(struct machine *m, const struct host *h,
				struct saved *saved, struct err *e)
{
	const struct vm_config cfg = {
		.mem_bytes = MEM_BYTES,
		.cpu.n_vcpus = N_VCPUS,
		.kernel_fd = -1,
		.initrd_fd = -1,
		.saved = saved,
		.mem_fd = h->mem_fd,
	};
	int ret;

	*m = (struct machine){.peer = -1};
	ret = vm_new(&m->vm, h->loop, &cfg, e);
	for (unsigned int i = 0; ret == 0 && i < N_DRIVES; i++)
		ret = add_drive(m, h, i, e);
	if (ret == 0)
		ret = add_net(m, e);
	if (ret == 0)
		ret = add_vsock(m, h, e);
	assert_int_equal(ret, 0); /* nothing of the file was in it */
	return vm_build(m->vm, e);
}

/* After a failure, and after machine_stop(). */
static inline void machine_exit(struct machine *m)
{
	for (unsigned int i = 0; i < N_DRIVES; i++)
		blk_free(m->blk[i]);
	net_free(m->net);
	vsock_free(m->vsock);
	vm_free(m->vm);
	if (m->peer >= 0)
		(void)close(m->peer);
	*m = (struct machine){.peer = -1};
}

static inline void turns(const struct host *h, int n)
{
	while (n-- > 0)
		assert_int_equal(loop_turn(h->loop, 0), 0);
}

/* Go on: what the devices find in their queues is carried out. */
static inline void machine_resume(struct machine *m, const struct host *h)
{
	for (unsigned int i = 0; i < m->vm->n_devs; i++)
		virtio_listen(m->vm->dev[i]);
	vsock_reset_transport(m->vsock);
	virtio_resume_all(m->vm);
	turns(h, 4);
}

static unsigned int n_stopped;

static inline void on_stopped(struct virtio_dev *d)
{
	(void)d;
	n_stopped++;
}

static inline void machine_stop(struct machine *m, const struct host *h)
{
	uint64_t end = clock_now_ns() + 30 * NS_PER_S;

	n_stopped = 0;
	for (unsigned int i = 0; i < m->vm->n_devs; i++)
		virtio_stop(m->vm->dev[i], on_stopped);
	while (n_stopped < m->vm->n_devs) {
		assert_true(clock_now_ns() < end);
		assert_int_equal(loop_turn(h->loop, NS_PER_MS), 0);
	}
}

/* ---- the drivers ---- */

/* All queues of a device, each with one buffer of nothing in particular. */
static inline void start_driver(struct machine *m, unsigned int index,
				unsigned int *n_rings)
{
	struct driver d = {.mem = &m->vm->mem,
			   .dev = m->vm->dev[index],
			   .size = QUEUE_SIZE};

	reg_write(&d, 0x70, 1);
	reg_write(&d, 0x70, 3);
	write_features(&d, d.dev->features);
	reg_write(&d, 0x70, 11);
	for (uint32_t q = 0; q < d.dev->ops->n_queues; q++) {
		uint64_t at = RINGS((*n_rings)++);

		set_up_queue(&d, q, at);
		put_desc(&d, at, 0, at + DATA_GPA, 64, DESC_WRITE, 0);
		put16(&d, at + AVAIL_GPA + 2, 1);
	}
	reg_write(&d, 0x70, 15);
}

static inline void start_drivers(struct machine *m)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->vm->n_devs; i++)
		start_driver(m, i, &n);
}

#endif
