/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_fixture.h: a socket device on a real Unix socket, and the host's
 * programs, which a guest's end of a connection talks to.
 */
#ifndef TESTS_VIRTIO_VSOCK_FIXTURE_H
#define TESTS_VIRTIO_VSOCK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fds.h"
#include "tests/virtio/vsock_guest.h"

static inline void turn_for(struct fixture *f, uint64_t ms)
{
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < end)
		turn(f);
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

/* The other end goes; fd is done with. */
static inline void closed(struct fixture *f, int fd)
{
	until(f, is_closed(fd));
	(void)close(fd);
}

static inline void refused(struct fixture *f, int fd)
{
	char byte;

	until(f, is_closed(fd));
	assert_int_equal(read(fd, &byte, 1), 0); /* and no ECONNRESET */
	(void)close(fd);
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

static inline uint32_t ask_fwd_cnt(struct fixture *f, const struct peer *p)
{
	turns(f, 3);
	while (poll_packet(f))
		assert_int_equal(f->hdr.op, VSOCK_CREDIT_UPDATE);
	tell(f, p, VSOCK_CREDIT_REQUEST);
	packet_for(f, VSOCK_CREDIT_UPDATE, p);
	return f->hdr.fwd_cnt;
}

/* Send until no credit is left; returns the number of bytes sent. */
static inline uint32_t stuff(struct fixture *f, const struct peer *p)
{
	uint32_t sent = 0, room;

	while ((room = BUF_ALLOC - (sent - ask_fwd_cnt(f, p))) > 0) {
		uint8_t data[7000];
		uint32_t n = MIN(room, (uint32_t)sizeof(data));

		fill_pattern(data, sent, n);
		tell_data(f, p, data, n);
		sent += n;
	}
	return sent;
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

static inline int attach_and_connect(struct fixture *f, struct peer *p)
{
	attach(f);
	return connect_guest(f, p, 52);
}

static inline void start_again(struct fixture *f)
{
	bring_up_vsock(f, F_ALL);
	post_rx(f, 0, 32);
	turns(f, 2);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	assert_non_null(f);
	f->backend = *(const enum loop_backend *)*state;
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/vsock-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/v", f->dir);
	assert_int_equal(worker_new(&f->worker, &e), 0);
	open_machine(&f->loop, &f->vm, f->backend, f->worker, RAM_BYTES);
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
	close_machine(f->loop, f->vm);
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

#endif
