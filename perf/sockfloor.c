/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sockfloor.c: both ends of streams over Unix sockets: the host's end of what
 * nano does over vsock, and, one against the other, what the host itself gives.
 *
 *	sockfloor listen PATH JOB ARGUMENT	says "ready" when it listens
 *	sockfloor connect PATH JOB ARGUMENT [PORT]
 *
 * With a PORT, the connection is one through a vsock device to that port of
 * the guest. JOB is one of
 *
 *	send BYTES	send as much, then no more, and wait for the peer's end
 *	recv 0		take all until the peer's end
 *	ping COUNT	COUNT times 64 bytes there and back
 *	echo 0		return all until the peer's end
 *	open COUNT	(connect) that many connections, 64 at a time
 *	open COUNT	(listen) accept as many, and close each after its peer
 *
 * Prints "n=BYTES-OR-COUNT ns=TIME"; the time of ping is the median of one.
 * Exit code 1 and a line on standard error where something did not work.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK	   65536
#define MEMORY	   (256 * CHUNK) /* as the buffers of a ring of nano's */
#define PING_BYTES 64
#define PINGS_MAX  100000
#define WINDOW	   64 /* as nano has */

struct end {
	struct sockaddr_un at;
	int listener; /* or -1 */
	const char *port;
	uint64_t argument;
	char buf[MEMORY];
	size_t next;
};

struct result {
	uint64_t n, ns;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "sockfloor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int make_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* What recv() says, 0 at the end, also if that is a reset. */
static size_t take(int fd, void *to, size_t bytes)
{
	ssize_t n = recv(fd, to, bytes, 0);

	if (n < 0 && errno != ECONNRESET)
		die("recv");
	return n < 0 ? 0 : (size_t)n;
}

static void give(int fd, const char *from, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL);

		if (n < 0)
			die("send");
		from += n;
		bytes -= (size_t)n;
	}
}

/* The first half of a connection: nothing is waited for. */
static int begin(const struct end *e)
{
	int fd = make_socket();

	if (connect(fd, (const struct sockaddr *)&e->at, sizeof(e->at)) < 0)
		die(e->at.sun_path);
	if (e->port) {
		give(fd, "CONNECT ", 8);
		give(fd, e->port, strlen(e->port));
		give(fd, "\n", 1);
	}
	return fd;
}

/* The other half. */
static void complete(const struct end *e, int fd)
{
	char c = e->port ? 0 : '\n';

	while (c != '\n') {
		if (take(fd, &c, 1) == 0) {
			errno = ECONNREFUSED;
			die(e->at.sun_path);
		}
	}
}

static int open_one(const struct end *e)
{
	int fd;

	if (e->listener < 0) {
		fd = begin(e);
		complete(e, fd);
	} else {
		fd = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			die("accept");
	}
	return fd;
}

/* A stream's next piece is not in the cache, in neither end. */
static char *next_chunk(struct end *e)
{
	e->next = (e->next + CHUNK) % MEMORY;
	return e->buf + e->next;
}

static struct result do_send(struct end *e)
{
	struct result r = {0};
	int fd = open_one(e);
	const uint64_t start = now_ns();

	for (; r.n < e->argument; r.n += CHUNK)
		give(fd, next_chunk(e), CHUNK);
	if (shutdown(fd, SHUT_WR) < 0)
		die("shutdown");
	while (take(fd, e->buf, CHUNK) > 0)
		;
	r.ns = now_ns() - start;
	(void)close(fd);
	return r;
}

static struct result do_recv(struct end *e)
{
	struct result r = {0};
	int fd = open_one(e);
	const uint64_t start = now_ns();
	size_t n;

	while ((n = take(fd, next_chunk(e), CHUNK)) > 0)
		r.n += n;
	r.ns = now_ns() - start;
	(void)close(fd);
	return r;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static struct result do_ping(struct end *e)
{
	static uint64_t ns[PINGS_MAX];
	int fd = open_one(e);

	if (e->argument == 0 || e->argument > PINGS_MAX) {
		errno = EINVAL;
		die("COUNT");
	}
	for (uint64_t i = 0; i < e->argument; i++) {
		const uint64_t start = now_ns();
		size_t got = 0, n;

		give(fd, e->buf, PING_BYTES);
		while (got < PING_BYTES &&
		       (n = take(fd, e->buf, PING_BYTES - got)) > 0)
			got += n;
		if (got < PING_BYTES) {
			errno = ECONNRESET;
			die("ping");
		}
		ns[i] = now_ns() - start;
	}
	(void)close(fd);
	qsort(ns, e->argument, sizeof(ns[0]), compare);
	return (struct result){e->argument, ns[e->argument / 2]};
}

static struct result do_echo(struct end *e)
{
	struct result r = {0};
	int fd = open_one(e);
	size_t n;

	while ((n = take(fd, e->buf, CHUNK)) > 0) {
		give(fd, e->buf, n);
		r.n += n;
	}
	(void)close(fd);
	return r;
}

/* Returns when the first one came. */
static uint64_t accept_all(struct end *e)
{
	uint64_t start = 0;

	for (uint64_t i = 0; i < e->argument; i++) {
		int fd = open_one(e);

		if (i == 0)
			start = now_ns();
		while (take(fd, e->buf, CHUNK) > 0)
			;
		(void)close(fd);
	}
	return start;
}

static void connect_all(const struct end *e)
{
	int open_fd[WINDOW];

	for (uint64_t i = 0; i < e->argument + WINDOW; i++) {
		int *fd = &open_fd[i % WINDOW];

		if (i >= WINDOW && i - WINDOW < e->argument) {
			complete(e, *fd);
			(void)close(*fd);
		}
		if (i < e->argument)
			*fd = begin(e);
	}
}

static struct result do_open(struct end *e)
{
	uint64_t start = now_ns();

	if (e->listener >= 0)
		start = accept_all(e);
	else
		connect_all(e);
	return (struct result){e->argument, now_ns() - start};
}

static void start_end(struct end *e, bool listens, const char *path)
{
	e->listener = -1;
	e->at.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(e->at.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(e->at.sun_path, path, strlen(path));
	if (!listens)
		return;
	e->listener = make_socket();
	if (bind(e->listener, (const struct sockaddr *)&e->at, sizeof(e->at)) <
		    0 ||
	    listen(e->listener, 2 * WINDOW) < 0)
		die(path);
	(void)puts("ready");
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		struct result (*run)(struct end *e);
	} jobs[] = {
		{"send", do_send}, {"recv", do_recv}, {"ping", do_ping},
		{"echo", do_echo}, {"open", do_open},
	};
	static struct end e;
	struct result r;

	memset(e.buf, 1, sizeof(e.buf)); /* no page faults while it runs */
	errno = EINVAL;
	if (argc != 5 && argc != 6)
		die("see the head of sockfloor.c for its use");
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
		if (strcmp(argv[3], jobs[i].name) != 0)
			continue;
		start_end(&e, strcmp(argv[1], "listen") == 0, argv[2]);
		e.argument = strtoull(argv[4], NULL, 10);
		e.port = argv[5];
		r = jobs[i].run(&e);
		(void)printf("n=%llu ns=%llu\n", (unsigned long long)r.n,
			     (unsigned long long)r.ns);
		return 0;
	}
	die(argv[3]);
}
