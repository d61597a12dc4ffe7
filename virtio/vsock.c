/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/archive.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "virtio/vsock_conn.h"

#define VSOCK_DEVICE_ID 19

/* Buffers are given back in the order in which the driver offered them. */
#define F_IN_ORDER 35

/*
 * What one turn may move each way before others have theirs, and the driver
 * hears of it: it refills the queues while we go on.
 */
#define TURN_PACKETS VIRTQ_MAX_SIZE
#define TURN_BYTES   (MIB / 4)

static struct vsock *to_vsock(struct virtio_dev *d)
{
	return container_of(d, struct vsock, dev);
}

/* ---- time-outs ---- */

/* The device's clock stands still while the guest is paused. */
static uint64_t now(const struct vsock *v)
{
	return (v->suspended ? v->suspended_ns : clock_now_ns()) - v->still_ns;
}

static void arm_expiry(struct vsock *v)
{
	struct vsock_conn *c =
		container_of(v->expiring.next, struct vsock_conn, expiry);

	if (vsock_link_empty(&v->expiring) || v->suspended)
		loop_timer_stop(v->dev.loop, &v->expiry_timer);
	else
		loop_timer_set(v->dev.loop, &v->expiry_timer,
			       c->deadline_ns + v->still_ns);
}

void vsock_expire(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	vsock_link_remove(&c->expiry);
	c->deadline_ns = now(v) + VSOCK_TIMEOUT_NS;
	vsock_link_add(&v->expiring, &c->expiry);
	if (!v->expiry_timer.armed)
		arm_expiry(v);
}

static void on_expiry(struct loop_timer *t)
{
	struct vsock *v = container_of(t, struct vsock, expiry_timer);

	while (!vsock_link_empty(&v->expiring)) {
		struct vsock_conn *c = container_of(v->expiring.next,
						    struct vsock_conn, expiry);

		if (c->deadline_ns > now(v))
			break;
		vsock_conn_close(c, true);
	}
	arm_expiry(v);
}

/* ---- guest to host ---- */

/*
 * The ring of refusals is bounded: one that finds no room is lost, and the
 * guest's request times out instead. Nobody answers a reset. While the driver
 * is to take a transport reset, packets of connections that it ends are late.
 */
void vsock_reject(struct vsock *v, const struct vsock_hdr *h)
{
	if (h->op == VSOCK_RST || v->n_rsts == VSOCK_RSTS ||
	    (v->gate != GATE_OPEN && h->op != VSOCK_REQUEST))
		return;
	v->rsts[(v->rst_first + v->n_rsts++) % VSOCK_RSTS] = (struct vsock_rst){
		.host_port = h->dst_port,
		.guest_port = h->src_port,
		.type = h->type,
	};
}

static void take_packet(struct vsock *v, struct virtq_chain *chain)
{
	struct vsock_conn *c;
	struct vsock_hdr h;

	if (!virtq_chain_take(chain, &h, sizeof(h))) {
		v->counts.tx_queue_event_fails++;
		return;
	}
	v->counts.tx_packets++;
	if (h.src_cid != v->guest_cid || h.dst_cid != VSOCK_HOST_CID)
		return;
	if (h.type != VSOCK_TYPE_STREAM) {
		vsock_reject(v, &h);
		return;
	}
	c = vsock_find(v, h.dst_port, h.src_port);
	if (c)
		vsock_conn_packet(c, &h, chain);
	else if (h.op == VSOCK_REQUEST)
		vsock_host_dial(v, &h);
	else
		vsock_reject(v, &h);
}

/*
 * Returns whether to look again in the next turn: as long as there was
 * something, doorbells stay off.
 */
static bool run_tx(struct vsock *v)
{
	struct virtq *q = &v->dev.queue[VSOCK_TX];
	uint64_t bytes = 0;
	bool found = false;

	virtq_disable_kick(q);
	for (int n = 0; n < TURN_PACKETS && bytes < TURN_BYTES; n++) {
		struct virtq_chain c = {.iov = v->iov,
					.max_iov = VIRTQ_MAX_SIZE};
		int ret = virtq_pop(q, v->dev.mem, &c);

		if (ret < 0) {
			virtio_needs_reset(&v->dev, "a vsock packet breaks the "
						    "rules of virtio");
			return false;
		}
		if (ret == 0 && found)
			return true;
		if (ret == 0 && !virtq_enable_kick(q))
			return false;
		if (ret == 0)
			continue;
		found = true;
		bytes += c.out_bytes;
		take_packet(v, &c);
		virtq_push(q, c.head, 0);
	}
	return true;
}

/* ---- host to guest ---- */

static uint32_t put_rst(struct vsock *v, const struct virtq_chain *to)
{
	const struct vsock_rst *r = &v->rsts[v->rst_first];
	const struct vsock_hdr h = {
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = v->guest_cid,
		.src_port = r->host_port,
		.dst_port = r->guest_port,
		.type = r->type,
		.op = VSOCK_RST,
	};

	v->rst_first = (v->rst_first + 1) % VSOCK_RSTS;
	v->n_rsts--;
	v->counts.rx_packets++;
	(void)virtq_chain_fill(to, &h, sizeof(h));
	return sizeof(h);
}

/* One packet of the next connection that has something: 0 if it had not. */
static uint32_t fill(struct vsock *v, const struct virtq_chain *to)
{
	if (v->n_rsts > 0)
		return put_rst(v, to);
	return vsock_conn_fill(
		container_of(v->ready.next, struct vsock_conn, work), to);
}

/* 1, 0 if the driver has to ring the doorbell first, -EPROTO. */
static int pop_rx(struct vsock *v, struct virtq_chain *c)
{
	struct virtq *q = &v->dev.queue[VSOCK_RX];
	int ret;

	do {
		*c = (struct virtq_chain){.iov = v->iov,
					  .max_iov = VIRTQ_MAX_SIZE};
		ret = virtq_pop(q, v->dev.mem, c);
	} while (ret == 0 && virtq_enable_kick(q));
	if (ret > 0 && (c->n_out > 0 || c->in_bytes < sizeof(struct vsock_hdr)))
		ret = -EPROTO;
	if (ret < 0)
		virtio_needs_reset(&v->dev, "a vsock receive buffer breaks the "
					    "rules of virtio");
	return ret;
}

/* Returns whether there is more for the next turn. */
static bool run_rx(struct vsock *v)
{
	struct virtq *q = &v->dev.queue[VSOCK_RX];
	struct virtq_chain c;
	uint64_t bytes = 0;
	bool have = false;
	int n = 0;

	virtq_disable_kick(q);
	while (v->n_rsts > 0 || !vsock_link_empty(&v->ready)) {
		uint32_t part;

		if (n++ == TURN_PACKETS || bytes >= TURN_BYTES)
			break;
		if (!have && pop_rx(v, &c) <= 0)
			return false;
		part = fill(v, &c);
		have = part == 0;
		bytes += part;
		if (part)
			virtq_push(q, c.head, part);
	}
	if (have)
		virtq_unpop(q, c.head);
	return v->n_rsts > 0 || !vsock_link_empty(&v->ready);
}

/* ---- the device ---- */

void vsock_serve_soon(struct vsock *v)
{
	if (!v->serve_queued) {
		v->serve_queued = true;
		loop_defer(v->dev.loop, &v->serve_msg);
	}
}

static void suspend(struct vsock *v)
{
	if (v->suspended)
		return;
	v->suspended_ns = clock_now_ns();
	v->suspended = true;
	arm_expiry(v);
	vsock_gate_pause(v);
}

/* After a pause: events of sockets were only noted meanwhile. */
static void wake(struct vsock *v)
{
	v->still_ns += clock_now_ns() - v->suspended_ns;
	v->suspended = false;
	arm_expiry(v);
	vsock_gate_resume(v);
	for (uint32_t i = 0; i < v->n_fresh; i++)
		vsock_conn_step(&v->conns[i]);
}

static void forget(struct vsock *v)
{
	vsock_conn_close_all(v);
	vsock_gate_open(v);
	loop_timer_stop(v->dev.loop, &v->expiry_timer);
}

/*
 * Complete a drain. A pause and a reset wait for nothing: what the helper still
 * connects is closed when it comes. The end waits for all.
 */
static void settle(struct vsock *v)
{
	struct virtio_dev *d = &v->dev;

	if (!d->draining || v->serve_queued)
		return;
	if (d->stopped && !v->closing) {
		v->closing = true;
		vsock_host_stop(v);
		forget(v);
	} else if (d->reset_wanted) {
		forget(v);
	} else if (!d->stopped) {
		suspend(v);
	}
	if (v->closing && (v->serve_queued || v->n_used > 0 ||
			   v->n_connects > 0 || io_op_active(&v->accept_op)))
		return;
	virtio_drained(d);
}

static void on_serve(struct loop_msg *m)
{
	struct vsock *v = container_of(m, struct vsock, serve_msg);
	bool more = false;

	if (virtio_active(&v->dev)) {
		if (v->suspended)
			wake(v);
		more = run_tx(v);
		vsock_gate_run(v);
		if (v->gate == GATE_OPEN)
			more = run_rx(v) || more;
		for (int i = 0; i < VSOCK_QUEUES; i++)
			virtio_signal_used(&v->dev, &v->dev.queue[i]);
	}
	/* What all this has made ready has been served. */
	v->serve_queued = false;
	if (more && virtio_active(&v->dev))
		vsock_serve_soon(v);
	settle(v);
}

static int vsock_activate(struct virtio_dev *d)
{
	/* One that was restored starts when it is resumed. */
	if (d->paused)
		suspend(to_vsock(d));
	vsock_host_listen(to_vsock(d));
	return 0;
}

static void vsock_notify(struct virtio_dev *d, unsigned int q)
{
	struct vsock *v = to_vsock(d);

	if (q == VSOCK_RX)
		v->counts.rx_queue_events++;
	else if (q == VSOCK_TX)
		v->counts.tx_queue_events++;
	vsock_serve_soon(v);
}

static void vsock_drain(struct virtio_dev *d)
{
	settle(to_vsock(d));
}

static void vsock_describe(struct virtio_dev *d, struct archive *a)
{
	archive_u32(a, &to_vsock(d)->n_ports);
}

static const struct virtio_dev_ops vsock_ops = {
	.id = VSOCK_DEVICE_ID,
	.n_queues = VSOCK_QUEUES,
	.activate = vsock_activate,
	.notify = vsock_notify,
	.drain = vsock_drain,
	.describe = vsock_describe,
};

static int init(struct vsock *v, struct vm *vm, const struct vsock_config *cfg,
		struct err *e)
{
	int ret = vsock_table_init(v, cfg->max_connections);

	if (ret == 0)
		ret = vsock_pool_init(&v->pool, cfg->pool_bytes);
	if (ret < 0)
		return err_code(e, ret, "Memory for vsock connections");
	ret = virtio_init(&v->dev, &vsock_ops, vm, e);
	if (ret < 0)
		return ret;
	v->dev.features |= VIRTIO_FEATURE(F_IN_ORDER);
	v->dev.config_len = sizeof(v->guest_cid);
	memcpy(v->dev.config, &v->guest_cid, sizeof(v->guest_cid));
	v->listener = cfg->listener;
	return 0;
}

int vsock_new(struct vsock **out, struct vm *vm, const struct vsock_config *cfg,
	      struct err *e)
{
	const size_t len = strlen(cfg->uds_path);
	struct vsock *v;
	int ret;

	if (cfg->max_connections == 0 ||
	    cfg->max_connections > VSOCK_CONNECTIONS_MAX ||
	    cfg->pool_bytes < VSOCK_CHUNK_BYTES)
		return err_set(e, -EINVAL,
			       "A vsock device needs room for 1 to "
			       "65535 connections and their data");
	if (len >= sizeof(v->path))
		return err_set(e, -ENAMETOOLONG,
			       "The path of a vsock socket is too long");
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_code(e, -ENOMEM, "Vsock device");
	memcpy(v->path, cfg->uds_path, len);
	v->guest_cid = cfg->guest_cid;
	v->worker = cfg->worker;
	v->pool_bytes = cfg->pool_bytes;
	v->max_credit = cfg->credit_bytes;
	v->listener = -1;
	v->serve_msg.fn = on_serve;
	v->expiry_timer.fn = on_expiry;
	vsock_gate_init(v);
	vsock_link_init(&v->ready);
	vsock_link_init(&v->expiring);
	vsock_host_init(v);
	ret = init(v, vm, cfg, e);
	if (ret < 0) {
		vsock_free(v);
		return ret;
	}
	*out = v;
	return 0;
}

void vsock_free(struct vsock *v)
{
	if (!v)
		return;
	if (v->dev.ops) /* virtio_init() was called */
		virtio_exit(&v->dev);
	if (v->listener >= 0)
		fds_release(v->listener);
	vsock_pool_exit(&v->pool);
	vsock_table_exit(v);
	free(v);
}

struct virtio_dev *vsock_dev(struct vsock *v)
{
	return &v->dev;
}

const struct vsock_counts *vsock_counts(const struct vsock *v)
{
	return &v->counts;
}
