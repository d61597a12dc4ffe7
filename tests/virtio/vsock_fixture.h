/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_fixture.h: a socket device on a real Unix socket, a guest's driver for
 * its three queues, and the host's programs; on either backend of the loop.
 */
#ifndef TESTS_VIRTIO_VSOCK_FIXTURE_H
#define TESTS_VIRTIO_VSOCK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/worker.h"
#include "tests/virtio/driver.h"
#include "tests/virtio/vcpu_thread.h"
#include "virtio/vsock.h"
#include "virtio/vsock_packet.h"

#define RAM_BYTES  (32 * MIB)
#define QUEUE_SIZE 256
#define CID	   42
#define BUF_ALLOC  (64 * 1024u) /* the device's, unless credit is set */

/* Queue q's rings; receive buffers; where packets to send are built. */
#define RINGS_GPA(q) ((uint64_t)(q)*0x10000)
#define RX_GPA	     0x100000
#define RX_BYTES     0x11000 /* a buffer's place */
#define TX_GPA	     0x1800000
#define TX_BYTES     0x80000

enum { RX, TX, EVENT, QUEUES };

#define F_ALL                                      \
	(VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |      \
	 VIRTIO_FEATURE(VIRTIO_F_RING_EVENT_IDX) | \
	 VIRTIO_FEATURE(VIRTIO_F_RING_INDIRECT_DESC) | VIRTIO_FEATURE(35))

struct fixture {
	enum loop_backend backend;
	struct worker *worker;
	struct loop *loop;
	struct vm *vm;
	struct vsock *vsock;
	struct gmem view[QUEUES]; /* RAM from the queue's rings on */
	struct driver q[QUEUES];
	char dir[32], path[108];
	uint32_t credit;      /* credit_bytes of the device */
	uint32_t rx_bytes;    /* size of the buffers that are posted */
	struct vsock_hdr hdr; /* of the packet received last */
	uint8_t data[RX_BYTES];
	int paused;
};

/* A guest's end of a connection. */
struct peer {
	uint32_t guest_port, host_port;
	uint32_t buf_alloc, fwd_cnt;
};

static inline struct virtio_dev *dev(struct fixture *f)
{
	return vsock_dev(f->vsock);
}

static inline const struct vsock_counts *counts(struct fixture *f)
{
	return vsock_counts(f->vsock);
}

static inline void turn(struct fixture *f)
{
	assert_int_equal(loop_turn(f->loop, 5 * NS_PER_MS), 0);
}

static inline void turns(struct fixture *f, int n)
{
	while (n-- > 0)
		assert_int_equal(loop_turn(f->loop, NS_PER_MS), 0);
}

/*
 * Turn the loop until cond holds: what the helper or the kernel has a part in
 * takes any number of turns.
 */
#define until(f, cond)                                          \
	do {                                                    \
		uint64_t end_ = clock_now_ns() + 30 * NS_PER_S; \
                                                                \
		while (!(cond)) {                               \
			assert_true(clock_now_ns() < end_);     \
			turn(f);                                \
		}                                               \
	} while (0)

static inline void turn_for(struct fixture *f, uint64_t ms)
{
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < end)
		turn(f);
}

/* ---- the guest's driver ---- */

static inline void kick_queue(struct fixture *f, uint32_t q)
{
	reg_write(&f->q[q], 0x50, q);
}

static inline void post_rx_at(struct fixture *f, uint16_t head, uint32_t bytes)
{
	desc(&f->q[RX], head, RX_GPA + (uint64_t)head * RX_BYTES, bytes,
	     DESC_WRITE, 0);
	offer(&f->q[RX], head);
}

static inline void post_rx(struct fixture *f, uint16_t first, uint16_t n)
{
	for (uint16_t i = first; i < first + n; i++)
		post_rx_at(f, i, f->rx_bytes);
	kick_queue(f, RX);
}

static inline void post_event(struct fixture *f, uint16_t head)
{
	desc(&f->q[EVENT], head, RINGS_GPA(EVENT) + DATA_GPA + head * 8u, 8,
	     DESC_WRITE, 0);
	offer(&f->q[EVENT], head);
	kick_queue(f, EVENT);
}

/* Take the next packet, if there is one; its buffer is offered again. */
static inline bool poll_packet(struct fixture *f)
{
	uint32_t head, len;
	const uint8_t *p;

	if (!take_used(&f->q[RX], &head, &len))
		return false;
	p = gmem_ptr(&f->vm->mem, RX_GPA + (uint64_t)head * RX_BYTES, len);
	assert_true(p && len >= sizeof(f->hdr));
	memcpy(&f->hdr, p, sizeof(f->hdr));
	assert_int_equal(f->hdr.len, len - sizeof(f->hdr));
	memcpy(f->data, p + sizeof(f->hdr), f->hdr.len);
	assert_int_equal(f->hdr.src_cid, VSOCK_HOST_CID);
	assert_int_equal(f->hdr.dst_cid, CID);
	if (f->rx_bytes)
		post_rx(f, (uint16_t)head, 1);
	return true;
}

static inline void no_packet(struct fixture *f)
{
	turns(f, 8);
	assert_false(used_waits(&f->q[RX]));
}

static inline void packet(struct fixture *f, enum vsock_op op)
{
	until(f, poll_packet(f));
	assert_int_equal(f->hdr.op, op);
	if (op != VSOCK_RST && !f->credit)
		assert_int_equal(f->hdr.buf_alloc, BUF_ALLOC);
}

static inline void packet_for(struct fixture *f, enum vsock_op op,
			      const struct peer *p)
{
	packet(f, op);
	assert_int_equal(f->hdr.src_port, p->host_port);
	assert_int_equal(f->hdr.dst_port, p->guest_port);
}

static inline struct vsock_hdr header(const struct peer *p, enum vsock_op op,
				      uint32_t len)
{
	return (struct vsock_hdr){
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = p->guest_port,
		.dst_port = p->host_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = p->buf_alloc,
		.fwd_cnt = p->fwd_cnt,
	};
}

static inline void collect_tx(struct fixture *f)
{
	uint32_t head, len;

	while (take_used(&f->q[TX], &head, &len))
		assert_int_equal(len, 0);
}

/* Send a packet in one descriptor, and wait until it has been taken. */
static inline void send_packet(struct fixture *f, const struct vsock_hdr *h,
			       const void *data, uint32_t len)
{
	uint16_t head = f->q[TX].avail_idx % QUEUE_SIZE;
	uint64_t gpa = TX_GPA;

	assert_int_equal(gmem_write(&f->vm->mem, gpa, h, sizeof(*h)), 0);
	if (len)
		assert_int_equal(
			gmem_write(&f->vm->mem, gpa + sizeof(*h), data, len),
			0);
	desc(&f->q[TX], head, gpa, (uint32_t)sizeof(*h) + len, 0, 0);
	offer(&f->q[TX], head);
	kick_queue(f, TX);
	until(f, get16(&f->q[TX], USED_GPA + 2) == f->q[TX].avail_idx);
	collect_tx(f);
}

static inline void tell(struct fixture *f, const struct peer *p,
			enum vsock_op op)
{
	struct vsock_hdr h = header(p, op, 0);

	send_packet(f, &h, NULL, 0);
}

static inline void tell_shut(struct fixture *f, const struct peer *p,
			     uint32_t flags)
{
	struct vsock_hdr h = header(p, VSOCK_SHUTDOWN, 0);

	h.flags = flags;
	send_packet(f, &h, NULL, 0);
}

static inline void tell_data(struct fixture *f, const struct peer *p,
			     const void *data, uint32_t len)
{
	struct vsock_hdr h = header(p, VSOCK_RW, len);

	send_packet(f, &h, data, len);
}

static inline bool needs_reset(struct fixture *f)
{
	return reg_read(&f->q[RX], 0x70) == (15 | 64);
}

static inline void bring_up_vsock(struct fixture *f, uint64_t features)
{
	reg_write(&f->q[RX], 0x70, 1);
	reg_write(&f->q[RX], 0x70, 3);
	write_features(&f->q[RX], features);
	reg_write(&f->q[RX], 0x70, 11);
	for (uint32_t i = 0; i < QUEUES; i++) {
		clear_rings(&f->q[i]);
		set_up_queue(&f->q[i], i, RINGS_GPA(i));
	}
	reg_write(&f->q[RX], 0x70, 15);
	assert_int_equal(reg_read(&f->q[RX], 0x70), 15);
}

static inline void reset_vsock(struct fixture *f)
{
	struct vcpu_thread t;

	start_write(&f->q[RX], f->vm, &t, 0x70, 0);
	until(f, ended(&t));
	assert_int_equal(pthread_join(t.thread, NULL), 0);
}

/* ---- the host's programs ---- */

static inline int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static inline struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	assert_true(strlen(path) < sizeof(a.sun_path));
	memcpy(a.sun_path, path, strlen(path));
	return a;
}

static inline int listen_at(const char *path, int backlog)
{
	struct sockaddr_un a = address_of(path);
	int fd = open_socket();

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* A listener for the guest's connections to `port`. */
static inline int listen_port(struct fixture *f, uint32_t port, int backlog)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s_%u", f->path, port);
	return listen_at(path, backlog);
}

/* A client of the device's socket; non-blocking. */
static inline int client(struct fixture *f)
{
	struct sockaddr_un a = address_of(f->path);
	int fd = open_socket();

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
}

/* Read until there is nothing more for a while or buf is full. */
static inline size_t hear(struct fixture *f, int fd, void *buf, size_t size)
{
	uint8_t *to = buf;
	size_t got = 0;

	for (int i = 0; i < 20 && got < size; i++) {
		ssize_t n = read(fd, to + got, size - got);

		if (n > 0) {
			got += (size_t)n;
			i = 0;
		}
		turns(f, 1);
	}
	return got;
}

static inline void hears(struct fixture *f, int fd, const char *text)
{
	char got[64] = {0};

	until(f,
	      recv(fd, got, strlen(text), MSG_PEEK) == (ssize_t)strlen(text));
	assert_int_equal(read(fd, got, strlen(text)), (ssize_t)strlen(text));
	assert_string_equal(got, text);
}

/* Whether the other end was closed, with nothing left to read. */
static inline bool is_closed(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t byte;

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) &&
	       recv(fd, &byte, 1, MSG_PEEK) <= 0;
}

static inline bool is_eof(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_PEEK) == 0;
}

static inline void refused(struct fixture *f, int fd)
{
	char byte;

	until(f, is_closed(fd));
	assert_int_equal(read(fd, &byte, 1), 0); /* and no ECONNRESET */
	(void)close(fd);
}

/* ---- connections ---- */

/* From a client to guest_port; returns the client's socket. */
static inline int connect_guest(struct fixture *f, struct peer *p,
				uint32_t guest_port)
{
	char line[32];
	int fd = client(f);

	(void)snprintf(line, sizeof(line), "CONNECT %u\n", guest_port);
	say(fd, line);
	packet(f, VSOCK_REQUEST);
	assert_int_equal(f->hdr.dst_port, guest_port);
	*p = (struct peer){.guest_port = guest_port,
			   .host_port = f->hdr.src_port,
			   .buf_alloc = 256 * 1024};
	tell(f, p, VSOCK_RESPONSE);
	(void)snprintf(line, sizeof(line), "OK %u\n", p->host_port);
	hears(f, fd, line);
	return fd;
}

/* From the guest to a listener's port; returns the accepted socket. */
static inline int connect_host(struct fixture *f, struct peer *p, int lfd,
			       uint32_t guest_port, uint32_t host_port)
{
	int fd;

	*p = (struct peer){.guest_port = guest_port,
			   .host_port = host_port,
			   .buf_alloc = 256 * 1024};
	tell(f, p, VSOCK_REQUEST);
	packet_for(f, VSOCK_RESPONSE, p);
	fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + at / 251 * 3 + at / 65536);
}

static inline void fill_pattern(uint8_t *to, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = pattern(at + i);
}

static inline bool is_pattern(const uint8_t *p, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(at + i))
			return false;
	return true;
}

static inline unsigned int count_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 20000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static inline uint64_t rss_bytes(void)
{
	char text[64] = {0}, *at = text;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	(void)close(fd);
	(void)strtoul(at, &at, 10);
	return strtoul(at, &at, 10) * 4096;
}

/* ---- set-up ---- */

static inline void new_vsock(struct fixture *f, uint32_t max_connections,
			     uint64_t pool_bytes)
{
	struct err e = {0};
	struct vsock_config cfg = {
		.guest_cid = CID,
		.uds_path = f->path,
		.listener = FD_VSOCK,
		.max_connections = max_connections,
		.pool_bytes = pool_bytes,
		.credit_bytes = f->credit,
		.worker = f->worker,
	};

	assert_int_equal(fds_move(listen_at(f->path, 4096), FD_VSOCK, &e),
			 FD_VSOCK);
	assert_int_equal(vsock_new(&f->vsock, f->vm, &cfg, &e), 0);
	for (uint32_t i = 0; i < QUEUES; i++) {
		struct gmem_region *r = &f->vm->mem.region[0];

		f->view[i] = (struct gmem){
			.region[0] = {.bytes = r->bytes - RINGS_GPA(i),
				      .hva = r->hva + RINGS_GPA(i)},
			.n_regions = 1,
			.bytes = r->bytes - RINGS_GPA(i),
		};
		f->q[i] = (struct driver){
			.mem = &f->view[i], .dev = dev(f), .size = QUEUE_SIZE};
	}
	virtio_listen(dev(f));
}

/* With 32 receive buffers of 4 KiB. */
static inline void attach_with(struct fixture *f, uint32_t max_connections,
			       uint64_t pool_bytes)
{
	new_vsock(f, max_connections, pool_bytes);
	bring_up_vsock(f, F_ALL);
	f->rx_bytes = 4096;
	post_rx(f, 0, 32);
	turns(f, 2);
}

static inline void attach(struct fixture *f)
{
	attach_with(f, VSOCK_CONNECTIONS, VSOCK_POOL_BYTES);
}

static inline int setup(void **state)
{
	const struct vm_config cfg = {.kernel_fd = -1, .initrd_fd = -1};
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	assert_non_null(f);
	f->backend = *(const enum loop_backend *)*state;
	log_set_level(LOG_OFF);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/vsock-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/v", f->dir);
	assert_int_equal(worker_new(&f->worker, &e), 0);
	assert_int_equal(loop_new(&f->loop, f->backend, f->worker, &e), 0);
	worker_attach(f->worker, f->loop);
	assert_int_equal(vm_new(&f->vm, f->loop, &cfg, &e), 0);
	ram_init(&f->vm->mem, RAM_BYTES);
	*state = f;
	return 0;
}

static inline void vsock_stopped(struct virtio_dev *d)
{
	(void)d;
}

static inline void free_vsock(struct fixture *f)
{
	virtio_stop(dev(f), vsock_stopped);
	until(f, dev(f)->stop_queued);
	turn(f);
	assert_int_equal(counts(f)->conns_added, counts(f)->conns_removed);
	vsock_free(f->vsock);
	f->vsock = NULL;
}

static inline int remove_file(const char *path, const struct stat *st, int type,
			      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->vsock)
		free_vsock(f);
	worker_free(f->worker);
	turns(f, 1);
	ram_exit(&f->vm->mem);
	vm_free(f->vm);
	loop_free(f->loop);
	assert_int_equal(nftw(f->dir, remove_file, 8, FTW_DEPTH), 0);
	free(f);
	return 0;
}

static inline void vsock_paused(struct virtio_dev *d)
{
	(void)d;
}

static inline void pause_vsock(struct fixture *f)
{
	virtio_pause(dev(f), vsock_paused);
	until(f, !dev(f)->draining);
}

#define BOTH(fn)                                                  \
	{#fn " (io_uring)", fn, setup, teardown, &backends[0]},   \
	{                                                         \
#fn " (epoll)", fn, setup, teardown, &backends[1] \
	}

static enum loop_backend backends[] = {LOOP_URING, LOOP_EPOLL};

#endif
