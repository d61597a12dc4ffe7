/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/net.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "virtio/mmds/mmds.h"
#include "virtio/net_impl.h"
#include "virtio/tap.h"

#define NET_DEVICE_ID 1

/* Configuration space (section 5.1.4). */
struct net_space {
	uint8_t mac[6];
	uint16_t status;
	uint16_t max_virtqueue_pairs;
	uint16_t mtu;
};

_Static_assert(offsetof(struct net_space, mtu) == 10, "5.1.4");
_Static_assert(sizeof(struct net_space) <= VIRTIO_CONFIG_MAX, "fits");

/* What a driver lets a TAP leave to it. */
#define F_GUEST_OFFLOADS                                                       \
	(VIRTIO_FEATURE(NET_F_GUEST_CSUM) | VIRTIO_FEATURE(NET_F_GUEST_TSO4) | \
	 VIRTIO_FEATURE(NET_F_GUEST_TSO6) | VIRTIO_FEATURE(NET_F_GUEST_UFO))

static struct net *to_net(struct virtio_dev *d)
{
	return container_of(d, struct net, dev);
}

/* ---- a turn of the loop ---- */

/* One turn, one interrupt, however many frames there are. */
static void serve_soon(struct net *n)
{
	if (!n->serve_queued) {
		n->serve_queued = true;
		loop_defer(n->dev.loop, &n->serve_msg);
	}
}

/* Only the end waits for anything: all else happens at once. */
static void settle(struct net *n)
{
	bool busy = n->serve_queued || io_op_active(&n->poll_op);

	if (n->dev.draining && !(n->dev.stopped && busy))
		virtio_drained(&n->dev);
}

static void on_serve(struct loop_msg *m)
{
	struct net *n = container_of(m, struct net, serve_msg);
	bool more = false;

	n->serve_queued = false;
	if (virtio_active(&n->dev))
		more = net_tx_run(n);
	/* Its answers may be ready: the metadata service's above all. */
	if (virtio_active(&n->dev))
		more = net_rx_run(n) || more;
	virtio_signal_used(&n->dev, &n->dev.queue[NET_TX]);
	virtio_signal_used(&n->dev, &n->dev.queue[NET_RX]);
	if (more)
		serve_soon(n);
	settle(n);
}

static void on_tap(struct io_op *op, int res)
{
	struct net *n = container_of(op, struct net, poll_op);

	if (res >= 0) {
		n->counts.rx_tap_events++;
		n->rx.readable = true;
		serve_soon(n);
	} else if (res != -ECANCELED) {
		n->counts.event_fails++;
	}
	if (!io_op_active(op))
		settle(n);
}

static void on_rx_limiter(struct limiter *l)
{
	serve_soon(container_of(l, struct net, rx_limiter));
}

static void on_tx_limiter(struct limiter *l)
{
	serve_soon(container_of(l, struct net, tx_limiter));
}

/* The driver has had its time: it has no more buffers than we hold. */
static void on_patience(struct loop_timer *t)
{
	struct net *n = container_of(t, struct net, rx.patience);

	n->rx.most = n->rx.n_chains;
	serve_soon(n);
}

static void on_mmds(void *arg)
{
	struct net *n = arg;

	n->rx.mmds_ready = true;
	serve_soon(n);
}

/* ---- the device ---- */

static int net_activate(struct virtio_dev *d)
{
	struct net *n = to_net(d);
	int ret = tap_set_offload(n->tap, d->acked);

	if (ret < 0) {
		n->counts.activate_fails++;
		return ret;
	}
	/* Frames that the TAP has already are as they were asked for then. */
	n->rx.stale = n->offloads & ~d->acked;
	n->offloads = d->acked & F_GUEST_OFFLOADS;
	n->rx.most = 0;
	n->rx.want = NET_RX_MAX;
	if (!io_op_active(&n->poll_op))
		loop_poll(d->loop, &n->poll_op, n->tap, POLLIN);
	serve_soon(n);
	return 0;
}

static void net_notify(struct virtio_dev *d, unsigned int q)
{
	struct net *n = to_net(d);

	if (q == NET_TX)
		n->counts.tx_queue_events++;
	else
		n->counts.rx_queue_events++;
	n->tx.rung = n->tx.rung || q == NET_TX;
	/* This is how a pause ends. */
	limiter_resume(&n->rx_limiter);
	limiter_resume(&n->tx_limiter);
	if (n->mmds)
		mmds_net_resume(n->mmds);
	serve_soon(n);
}

static void forget(struct net *n)
{
	n->counts.rx_fails += n->rx.len > 0 && !n->rx.is_mmds;
	n->rx.len = 0;
	n->rx.mmds_ready = false;
	limiter_forget(&n->rx_limiter);
	limiter_forget(&n->tx_limiter);
	if (n->mmds)
		mmds_net_reset(n->mmds);
}

/*
 * A frame on its way is neither in flight nor lost: one to the guest waits in
 * our memory, one from it in the queue.
 */
static void net_drain(struct virtio_dev *d)
{
	struct net *n = to_net(d);

	net_rx_withdraw(n);
	if (d->reset_wanted || d->stopped) {
		forget(n);
	} else if (d->status == VIRTIO_STATUS_RUNNING) {
		limiter_pause(&n->rx_limiter);
		limiter_pause(&n->tx_limiter);
		if (n->mmds)
			mmds_net_pause(n->mmds);
	}
	if (d->stopped)
		loop_cancel(d->loop, &n->poll_op);
	settle(n);
}

static struct limiter *net_limiters(struct virtio_dev *d, unsigned int i)
{
	struct net *n = to_net(d);
	struct limiter *const all[] = {&n->rx_limiter, &n->tx_limiter};

	return i < ARRAY_LEN(all) ? all[i] : NULL;
}

static const struct virtio_dev_ops net_ops = {
	.id = NET_DEVICE_ID,
	.n_queues = 2,
	.activate = net_activate,
	.notify = net_notify,
	.drain = net_drain,
	.limiter = net_limiters,
};

static void offer(struct net *n, const struct net_config *cfg)
{
	struct virtio_dev *d = &n->dev;
	struct net_space space = {0};

	d->features |= VIRTIO_FEATURE(NET_F_CSUM) | F_GUEST_OFFLOADS |
		       VIRTIO_FEATURE(NET_F_HOST_TSO4) |
		       VIRTIO_FEATURE(NET_F_HOST_TSO6) |
		       VIRTIO_FEATURE(NET_F_HOST_UFO) |
		       VIRTIO_FEATURE(NET_F_MRG_RXBUF);
	if (cfg->has_mac) {
		d->features |= VIRTIO_FEATURE(NET_F_MAC);
		memcpy(space.mac, cfg->mac, sizeof(space.mac));
	}
	if (cfg->has_mtu) {
		d->features |= VIRTIO_FEATURE(NET_F_MTU);
		space.mtu = cfg->mtu;
	}
	d->config_len = sizeof(space);
	memcpy(d->config, &space, sizeof(space));
}

int net_new(struct net **out, struct vm *vm, const struct net_config *cfg,
	    struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));
	int ret = 0;

	if (!n)
		return err_code(e, -ENOMEM, "Network device");
	n->tap = -1;
	n->has_mac = cfg->has_mac;
	memcpy(n->mac, cfg->mac, sizeof(n->mac));
	n->poll_op.done = on_tap;
	n->serve_msg.fn = on_serve;
	n->rx.patience.fn = on_patience;
	n->offloads = F_GUEST_OFFLOADS;
	limiter_init(&n->rx_limiter, vm->loop, on_rx_limiter);
	limiter_init(&n->tx_limiter, vm->loop, on_tx_limiter);
	if (cfg->mmds)
		ret = mmds_net_new(&n->mmds, cfg->mmds, vm->loop, on_mmds, n,
				   e);
	if (ret < 0) {
		free(n);
		return ret;
	}
	ret = virtio_init(&n->dev, &net_ops, vm, e);
	if (ret < 0) {
		net_free(n);
		return ret;
	}
	offer(n, cfg);
	n->tap = cfg->tap;
	*out = n;
	return 0;
}

void net_free(struct net *n)
{
	if (!n)
		return;
	virtio_exit(&n->dev);
	mmds_net_free(n->mmds);
	limiter_exit(&n->rx_limiter);
	limiter_exit(&n->tx_limiter);
	if (n->tap >= 0)
		fds_release(n->tap);
	free(n);
}

struct virtio_dev *net_dev(struct net *n)
{
	return &n->dev;
}

const struct net_counts *net_counts(const struct net *n)
{
	return &n->counts;
}

struct limiter *net_rx_limiter(struct net *n)
{
	return &n->rx_limiter;
}

struct limiter *net_tx_limiter(struct net *n)
{
	return &n->tx_limiter;
}
