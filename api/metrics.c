/* SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/log.h"
#include "base/num.h"
#include "virtio/limiter.h"

/* The part of the counters that belongs to a machine. */
#define MACHINE_BYTES                      \
	(sizeof(struct metrics_counters) - \
	 offsetof(struct metrics_counters, vcpu))

void metrics_init(struct metrics *m)
{
	/* Not the line: its pages are untouched so far. */
	memset(m, 0, offsetof(struct metrics, line));
	m->fd = -1;
}

void metrics_exit(struct metrics *m)
{
	fd_close(&m->fd);
	metrics_detach_all(m);
}

bool metrics_has_target(const struct metrics *m)
{
	return m->fd >= 0;
}

void metrics_set_fd(struct metrics *m, int fd)
{
	fd_close(&m->fd);
	m->fd = fd;
	m->len = 0;
	m->sent = 0;
}

void metrics_attach_uart(struct metrics *m, const struct serial_counts *c)
{
	m->uart = c;
}

void metrics_attach_i8042(struct metrics *m, const struct i8042_counts *c)
{
	m->i8042 = c;
}

int metrics_attach_vcpu(struct metrics *m, const struct vcpu_counts *c)
{
	if (m->n_vcpus == ARRAY_LEN(m->vcpu))
		return -ENOSPC;
	m->vcpu[m->n_vcpus++] = c;
	return 0;
}

void metrics_attach_vsock(struct metrics *m, const struct vsock_counts *c)
{
	m->vsock = c;
}

void metrics_attach_mmds(struct metrics *m, const struct mmds_counts *c)
{
	m->mmds = c;
}

/* Move items [at, n) of an array up by one. */
#define MAKE_ROOM(array, at, n)                   \
	memmove(&(array)[(at) + 1], &(array)[at], \
		((n) - (unsigned int)(at)) * sizeof((array)[0]))

/*
 * The line lists devices by id, whatever order they came in. Returns the place
 * of this one, or -ENOSPC.
 */
static int insert_name(struct metrics_names *names, const char *id)
{
	unsigned int at = names->n;

	if (at == METRICS_DEVS)
		return -ENOSPC;
	while (at > 0 && strcmp(names->name[at - 1], id) > 0)
		at--;
	MAKE_ROOM(names->name, at, names->n);
	names->name[at] = id;
	names->n++;
	return (int)at;
}

int metrics_attach_drive(struct metrics *m, const char *id,
			 const struct blk_counts *c)
{
	unsigned int n = m->names[METRICS_DRIVES].n;
	int at = insert_name(&m->names[METRICS_DRIVES], id);

	if (at < 0)
		return at;
	MAKE_ROOM(m->drive, at, n);
	MAKE_ROOM(m->prev.drive, at, n);
	m->drive[at] = (struct metrics_drive){c};
	m->prev.drive[at] = (struct blk_counts){0};
	return 0;
}

int metrics_attach_net(struct metrics *m, const char *id,
		       const struct net_counts *c, const struct limiter *rx,
		       const struct limiter *tx)
{
	unsigned int n = m->names[METRICS_IFACES].n;
	int at = insert_name(&m->names[METRICS_IFACES], id);

	if (at < 0)
		return at;
	MAKE_ROOM(m->iface, at, n);
	MAKE_ROOM(m->prev.iface, at, n);
	m->iface[at] = (struct metrics_iface){c, rx, tx};
	m->prev.iface[at] = (struct metrics_net){0};
	return 0;
}

void metrics_detach_all(struct metrics *m)
{
	m->uart = NULL;
	m->i8042 = NULL;
	m->vsock = NULL;
	m->n_vcpus = 0;
	m->names[METRICS_DRIVES].n = 0;
	m->names[METRICS_IFACES].n = 0;
	memset(&m->now.vcpu, 0, MACHINE_BYTES);
	memset(&m->prev.vcpu, 0, MACHINE_BYTES);
}

/* All structures of counters hold nothing but uint64_t. */
static void read_counts(void *dst, const void *src, size_t bytes)
{
	const uint64_t *from = src;
	uint64_t *to = dst;

	for (size_t i = 0; i < bytes / sizeof(*to); i++)
		to[i] = count_get(&from[i]);
}

#define READ_COUNTS(dst, src) read_counts((dst), (src), sizeof(*(dst)))

static void add_vcpu(struct vcpu_counts *all, const struct vcpu_counts *one)
{
	all->io_in += count_get(&one->io_in);
	all->io_out += count_get(&one->io_out);
	all->mmio_read += count_get(&one->mmio_read);
	all->mmio_write += count_get(&one->mmio_write);
	all->failures += count_get(&one->failures);
}

static void read_net(struct metrics_net *to, const struct metrics_iface *f)
{
	READ_COUNTS(&to->dev, f->counts);
	to->rx_limiter_events = count_get(&f->rx->events);
	to->rx_throttled = count_get(&f->rx->throttled);
	to->tx_limiter_events = count_get(&f->tx->events);
	to->tx_throttled = count_get(&f->tx->throttled);
}

static void gather(struct metrics *m)
{
	struct metrics_counters *now = &m->now;
	struct log_counts log = log_counts();

	m->api.logger.missed_log = log.missed;
	m->api.logger.rate_limited_log = log.rate_limited;
	READ_COUNTS(&now->api, &m->api);
	now->vcpu = (struct vcpu_counts){0};
	for (unsigned int i = 0; i < m->n_vcpus; i++)
		add_vcpu(&now->vcpu, m->vcpu[i]);
	if (m->uart)
		READ_COUNTS(&now->uart, m->uart);
	if (m->i8042)
		READ_COUNTS(&now->i8042, m->i8042);
	if (m->vsock)
		READ_COUNTS(&now->vsock, m->vsock);
	if (m->mmds)
		READ_COUNTS(&now->mmds, m->mmds);
	for (unsigned int i = 0; i < m->names[METRICS_DRIVES].n; i++)
		READ_COUNTS(&now->drive[i], m->drive[i].counts);
	for (unsigned int i = 0; i < m->names[METRICS_IFACES].n; i++)
		read_net(&now->iface[i], &m->iface[i]);
	metrics_line_sum(now, m->names);
}

static size_t print_line(struct metrics *m)
{
	struct timespec wall = clock_wall();

	return metrics_line_print(m->line, sizeof(m->line),
				  (uint64_t)wall.tv_sec * 1000 +
					  (uint64_t)wall.tv_nsec / NS_PER_MS,
				  &m->now, &m->prev, m->names);
}

/* Returns 0 when nothing of the line is due any more. */
static int send_line(struct metrics *m)
{
	while (m->sent < m->len) {
		ssize_t n = write(m->fd, m->line + m->sent, m->len - m->sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		m->sent += (size_t)n;
	}
	return 0;
}

static int flush(struct metrics *m)
{
	int ret;

	if (m->fd < 0)
		return 0;
	ret = send_line(m);
	if (ret < 0) {
		m->api.logger.missed_metrics++;
		return ret;
	}
	gather(m);
	m->sent = 0;
	m->len = print_line(m);
	if (m->len == 0) {
		m->api.logger.metrics_fails++;
		return -EMSGSIZE;
	}
	ret = send_line(m);
	if (m->sent > 0) {
		/* On its way: what is due of it goes before the next one. */
		m->prev = m->now;
		return 0;
	}
	m->len = 0;
	m->api.logger.missed_metrics++;
	return ret;
}

void metrics_hold(struct metrics *m)
{
	/* Not for long: no target blocks. */
	while (__atomic_test_and_set(&m->busy, __ATOMIC_ACQUIRE))
		;
}

void metrics_release(struct metrics *m)
{
	__atomic_clear(&m->busy, __ATOMIC_RELEASE);
}

int metrics_flush(struct metrics *m)
{
	int ret;

	if (__atomic_test_and_set(&m->busy, __ATOMIC_ACQUIRE))
		return -EBUSY;
	ret = flush(m);
	metrics_release(m);
	return ret;
}
