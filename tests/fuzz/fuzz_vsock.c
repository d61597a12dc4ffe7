/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket device whose driver, clients, listeners, timers, pauses and resets
 * all come from the input. Sockets are real; time, the helper and what the host
 * listens on are not.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/worker.h"
#include "tests/fuzz/driver_input.h"
#include "tests/fuzz/fake_loop.h"
#include "virtio/vsock_conn.h"

#define CID	   3
#define CONNS	   8
#define POOL_BYTES (24 * 4096)
#define HOSTS	   16
#define JOBS	   VSOCK_CONNECTS

/* Queue q's rings; packets are built behind them. */
#define RINGS_GPA(q) ((uint64_t)(q)*0x3000)
#define PACKET_GPA   0x9000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct loop loop;
	struct vm vm; /* as far as a device needs it */
	struct gmem view[VSOCK_QUEUES];
	struct driver q[VSOCK_QUEUES];
	struct vsock *v;
	int host[HOSTS]; /* the programs' ends, -1: none */
	bool pausing, paused;
};

static struct {
	uint64_t now_ns;
	struct job *jobs[JOBS + 1];
	unsigned int n_jobs;
	struct state *s;
} world;

/* ---- what the device finds outside of it ---- */

uint64_t clock_now_ns(void)
{
	return world.now_ns;
}

struct timespec clock_wall(void)
{
	return (struct timespec){0};
}

uint64_t clock_process_cpu_us(void)
{
	return 0;
}

void worker_submit(struct worker *w, struct job *j)
{
	(void)w;
	check(world.n_jobs < JOBS);
	world.jobs[world.n_jobs++] = j;
}

static int *free_host(void)
{
	for (int i = 0; i < HOSTS; i++)
		if (world.s->host[i] < 0)
			return &world.s->host[i];
	return NULL;
}

static int new_pair(int *theirs)
{
	const int small = 1; /* the least there is */
	int fd[2];

	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
	for (int i = 0; i < 2; i++)
		check(setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &small,
				 sizeof(small)) == 0);
	*theirs = fd[1];
	return fd[0];
}

/* The connect that follows says whether there was a listener. */
int socket(int domain, int type, int protocol)
{
	int *h = free_host();

	check(domain == AF_UNIX && (type & SOCK_NONBLOCK) && protocol == 0);
	if (!h) {
		errno = EMFILE;
		return -1;
	}
	return new_pair(h);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_un a;
	unsigned long port;

	(void)fd;
	check(len == sizeof(a));
	memcpy(&a, addr, sizeof(a));
	check(strncmp(a.sun_path, "v_", 2) == 0);
	port = strtoul(a.sun_path + 2, NULL, 10);
	errno = port == 1 ? EAGAIN : ECONNREFUSED;
	return port == 0 ? 0 : -1;
}

/* ---- the driver ---- */

static struct virtio_dev *dev(struct state *s)
{
	return vsock_dev(s->v);
}

static void put_head(struct driver *d, uint16_t head)
{
	if (d->size == 0)
		return;
	put16(d, AVAIL_GPA + 4 + 2 * (uint64_t)(d->avail_idx % d->size), head);
	d->avail_idx++;
	put16(d, AVAIL_GPA + 2, d->avail_idx);
}

static uint32_t some_port(struct input *in)
{
	uint32_t n = below(in, 12);

	return n < 4 ? n : VSOCK_LOCAL_PORT0 + n - 4;
}

static void write_packet(struct state *s, struct input *in)
{
	struct driver *d = &s->q[VSOCK_TX];
	uint16_t at = (uint16_t)(below(in, 4) * 4);
	uint64_t gpa = PACKET_GPA + at * 0x80;
	uint32_t len = below(in, 4) ? below(in, 200) : 4096;
	uint32_t cut = 1 + below(in, 60);
	struct vsock_hdr h = {
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = below(in, 4),
		.dst_port = some_port(in),
		.len = below(in, 16) ? len : (uint32_t)number(in, 4),
		.type = below(in, 16) ? VSOCK_TYPE_STREAM : 2,
		.op = (uint16_t)below(in, 9),
		.flags = below(in, 4),
		.buf_alloc = below(in, 4) ? 65536 : (uint32_t)number(in, 4),
		.fwd_cnt = below(in, 4) ? 0 : (uint32_t)number(in, 4),
	};

	len = MIN(len + (uint32_t)sizeof(h), LOW_BYTES - (uint32_t)gpa);
	check(gmem_write(&s->vm.mem, gpa, &h, sizeof(h)) == 0);
	desc(d, at, gpa, cut, DESC_NEXT, (uint16_t)(at + 1));
	desc(d, at + 1u, gpa + cut, len - MIN(cut, len - 1), 0, 0);
	put_head(d, at);
}

static void write_buffer(struct state *s, struct input *in)
{
	struct driver *d = &s->q[VSOCK_RX];
	uint16_t at = (uint16_t)(below(in, 8) * 2);
	uint32_t cut = 1 + below(in, 100);

	desc(d, at, HIGH_GPA + at * 0x400u, cut, DESC_WRITE | DESC_NEXT,
	     (uint16_t)(at + 1));
	desc(d, at + 1u, HIGH_GPA + at * 0x400u + cut, 44 + 4 * below(in, 250),
	     DESC_WRITE, 0);
	put_head(d, at);
}

static void write_event(struct state *s, struct input *in)
{
	uint16_t at = (uint16_t)below(in, 4);

	desc(&s->q[VSOCK_EVENT], at, HIGH_GPA + 0x3f00 + at * 8u, 8, DESC_WRITE,
	     0);
	put_head(&s->q[VSOCK_EVENT], at);
}

/* ---- the host's programs ---- */

static void new_client(struct state *s)
{
	int *h = free_host();

	for (unsigned int i = 0; h && i < s->loop.n_polls; i++) {
		struct io_op *op = s->loop.poll[i];

		if (op->kind != FAKE_ACCEPT)
			continue;
		op->done(op, new_pair(h));
		return;
	}
}

static void host_event(struct state *s, struct input *in)
{
	static const char *const lines[] = {
		"CONNECT 1\n", "CONNECT 2\nxyz",      "CONN", "ECT 3", "\n",
		"nonsense\n",  "CONNECT 4294967296\n"};
	int *h = &s->host[below(in, HOSTS)];
	char data[8192] = {0};
	const char *line;

	if (*h < 0)
		return;
	switch (below(in, 8)) {
	case 0:
		(void)close(*h);
		*h = -1;
		break;
	case 1:
		(void)shutdown(*h, (int)below(in, 3));
		break;
	case 2:
	case 3:
		line = lines[below(in, ARRAY_LEN(lines))];
		(void)!send(*h, line, strlen(line), MSG_NOSIGNAL);
		break;
	case 4:
	case 5:
		(void)!send(*h, data, 32 * below(in, 256), MSG_NOSIGNAL);
		break;
	default:
		(void)!recv(*h, data, sizeof(data), 0);
	}
}

static void deliver(struct state *s, unsigned int i)
{
	struct io_op *op = s->loop.poll[i];
	struct pollfd p = {.fd = op->fd, .events = (short)op->arg};

	if (op->kind == FAKE_POLL && poll(&p, 1, 0) == 1 &&
	    !(p.revents & POLLNVAL))
		op->done(op, p.revents);
}

static void run_job(void)
{
	struct job *j = world.jobs[0];

	if (world.n_jobs == 0)
		return;
	world.n_jobs--;
	for (unsigned int i = 0; i < world.n_jobs; i++)
		world.jobs[i] = world.jobs[i + 1];
	j->work(j);
	j->done(j);
}

/* ---- time, pauses, resets ---- */

static void fire(struct state *s, struct input *in)
{
	world.now_ns += below(in, 4) * 600 * NS_PER_MS;
	if (s->loop.timer && s->loop.timer->deadline_ns <= world.now_ns)
		fake_fire(&s->loop);
}

static void paused(struct virtio_dev *d)
{
	(void)d;
	world.s->pausing = false;
}

static void pause_or_resume(struct state *s)
{
	if (s->pausing)
		return;
	s->paused = !s->paused;
	if (s->paused) {
		s->pausing = true;
		virtio_pause(dev(s), paused);
	} else {
		virtio_resume(dev(s));
	}
}

static void quiesce(struct state *s)
{
	for (int i = 0; i < 100000; i++) {
		if (world.n_jobs > 0)
			run_job();
		else if (s->loop.deferred)
			fake_run_deferred(&s->loop);
		else
			return;
	}
	abort();
}

/* A vCPU waits for its write: nothing may stand in its way here. */
static void restart(struct state *s, struct input *in)
{
	struct driver *d = &s->q[0];

	while (s->loop.deferred)
		fake_run_deferred(&s->loop);
	reg_write(d, 0x70, 0);
	reg_write(d, 0x70, 1);
	reg_write(d, 0x70, 3);
	write_features(d, below(in, 2) ? dev(s)->features
				       : VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	reg_write(d, 0x70, 11);
	for (uint32_t i = 0; i < VSOCK_QUEUES; i++) {
		s->q[i].size = 1u << below(in, 5);
		clear_rings(&s->q[i]);
		set_up_queue(&s->q[i], i, RINGS_GPA(i));
	}
	reg_write(d, 0x70, 15);
}

static void check_limits(struct state *s)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < s->v->n_fresh; i++) {
		struct vsock_conn *c = &s->v->conns[i];

		used += c->state != VSOCK_FREE;
		check(c->buf.bytes <= VSOCK_BUF_ALLOC);
		check(c->state != VSOCK_FREE ||
		      (c->fd < 0 && !c->poll.state && !c->work.next &&
		       !c->expiry.next && c->buf.first == 0));
	}
	check(used == s->v->n_used && used <= CONNS);
	check(s->v->n_rsts <= VSOCK_RSTS && s->v->n_connects <= JOBS);
}

static void one(struct state *s, struct input *in)
{
	switch (below(in, 20)) {
	case 0:
		write_desc(&s->q[below(in, VSOCK_QUEUES)], in, DESC_GPA);
		break;
	case 1:
		put_head(&s->q[below(in, VSOCK_QUEUES)],
			 (uint16_t)below(in, 18));
		break;
	case 2:
		fire(s, in);
		break;
	case 3:
		pause_or_resume(s);
		break;
	case 4:
		if (!s->paused && below(in, 4) == 0)
			restart(s, in);
		break;
	case 5:
		if (below(in, 4) == 0)
			vsock_reset_transport(s->v);
		break;
	case 6:
		write_event(s, in);
		break;
	case 7:
	case 8:
		new_client(s);
		break;
	case 9:
		run_job();
		break;
	case 10:
	case 11:
	case 12:
		host_event(s, in);
		break;
	case 13:
	case 14:
		deliver(s, below(in, s->loop.n_polls));
		break;
	case 15:
		write_buffer(s, in);
		break;
	default:
		write_packet(s, in);
		break;
	}
	fake_ring(&s->loop);
	if (below(in, 2))
		fake_run_deferred(&s->loop);
	check_limits(s);
}

static void stopped(struct virtio_dev *d)
{
	(void)d;
	world.s->paused = false;
}

static struct state *new_state(void)
{
	struct state *s = calloc(1, sizeof(*s));
	struct vsock_config cfg = {
		.guest_cid = CID,
		.uds_path = "v",
		.listener = -1,
		.max_connections = CONNS,
		.pool_bytes = POOL_BYTES,
	};
	struct err e;

	check(s != NULL);
	memset(&world, 0, sizeof(world));
	world.now_ns = NS_PER_S;
	world.s = s;
	log_set_level(LOG_OFF);
	fake_loop_init(&s->loop);
	s->vm.loop = &s->loop;
	new_ram(&s->vm.mem);
	memset(s->host, -1, sizeof(s->host));
	check(vsock_new(&s->v, &s->vm, &cfg, &e) == 0);
	s->v->seed[0] = 1; /* the same each time */
	s->v->seed[1] = 0;
	for (int i = 0; i < VSOCK_QUEUES; i++) {
		s->view[i] = s->vm.mem;
		s->view[i].region[0].hva += RINGS_GPA(i);
		s->view[i].region[0].bytes -= RINGS_GPA(i);
		s->q[i] = (struct driver){.mem = &s->view[i], .dev = dev(s)};
	}
	virtio_listen(dev(s));
	return s;
}

static void free_state(struct state *s)
{
	quiesce(s);
	check(!s->pausing);
	s->paused = true;
	virtio_stop(dev(s), stopped);
	quiesce(s);
	check(!s->paused && !s->loop.timer && s->loop.n_polls == 0);
	check(vsock_counts(s->v)->conns_added ==
	      vsock_counts(s->v)->conns_removed);
	irq_exit(&s->vm.slot[0].irq);
	vsock_free(s->v);
	for (int i = 0; i < HOSTS; i++)
		if (s->host[i] >= 0)
			(void)close(s->host[i]);
	ram_exit(&s->vm.mem);
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	int before = dup(0), after;
	struct state *s;

	(void)close(before);
	s = new_state();
	restart(s, &in);
	while (in.left > 0)
		one(s, &in);
	free_state(s);
	after = dup(0);
	(void)close(after);
	check(before == after); /* no descriptor is left open */
	return 0;
}
