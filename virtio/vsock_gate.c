/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport reset (virtio 1.2, section 5.10.6.7): until the driver has taken
 * the event it ends every socket, so nothing else may reach it before.
 *
 * It has taken the event when it offers the buffer again. A driver that does
 * not, or that has no buffer for it, is not waited for without end: who speaks
 * of a socket that is no more is answered by a reset. One that has no event
 * queue is not waited for at all.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/num.h"
#include "virtio/vsock_conn.h"

/*
 * How many event buffers there are. The doorbell is asked for beyond the last
 * of them: that is the one by which the driver shows what it has taken.
 */
static uint32_t count_events(struct vsock *v)
{
	struct virtq *q = &v->dev.queue[VSOCK_EVENT];
	struct virtq_chain c;
	uint16_t heads[VIRTQ_MAX_SIZE];
	uint32_t n = 0;

	do {
		c = (struct virtq_chain){.iov = v->iov,
					 .max_iov = VIRTQ_MAX_SIZE};
		while (n < VIRTQ_MAX_SIZE && virtq_pop(q, v->dev.mem, &c) > 0) {
			heads[n++] = c.head;
			c = (struct virtq_chain){.iov = v->iov,
						 .max_iov = VIRTQ_MAX_SIZE};
		}
	} while (n < VIRTQ_MAX_SIZE && virtq_enable_kick(q));
	for (uint32_t i = n; i > 0; i--)
		virtq_unpop(q, heads[i - 1]);
	return n;
}

static void tell_reset(struct vsock *v)
{
	struct virtq *q = &v->dev.queue[VSOCK_EVENT];
	const uint32_t event = VSOCK_EVENT_TRANSPORT_RESET;
	struct virtq_chain c = {.iov = v->iov, .max_iov = VIRTQ_MAX_SIZE};
	int ret = virtq_pop(q, v->dev.mem, &c);

	if (ret > 0 && !virtq_chain_fill(&c, &event, sizeof(event)))
		ret = -EPROTO;
	if (ret < 0) {
		v->counts.ev_queue_event_fails++;
		virtio_needs_reset(&v->dev, "a vsock event buffer breaks the "
					    "rules of virtio");
	} else if (ret > 0) {
		virtq_push(q, c.head, sizeof(event));
		v->gate = GATE_TOLD;
		vsock_gate_resume(v);
	} else if (!v->gate_timer.armed) {
		vsock_gate_resume(v);
	}
	v->n_events = count_events(v);
}

void vsock_gate_open(struct vsock *v)
{
	v->gate = GATE_OPEN;
	loop_timer_stop(v->dev.loop, &v->gate_timer);
}

void vsock_gate_run(struct vsock *v)
{
	if (v->gate == GATE_OPEN)
		return;
	if (v->gate == GATE_RESET && v->dev.queue[VSOCK_EVENT].desc)
		tell_reset(v);
	else if (v->gate == GATE_RESET || count_events(v) > v->n_events)
		vsock_gate_open(v);
}

void vsock_gate_pause(struct vsock *v)
{
	loop_timer_stop(v->dev.loop, &v->gate_timer);
}

void vsock_gate_resume(struct vsock *v)
{
	if (v->gate != GATE_OPEN)
		loop_timer_set(v->dev.loop, &v->gate_timer,
			       clock_now_ns() + VSOCK_TIMEOUT_NS);
}

static void timed_out(struct loop_timer *t)
{
	struct vsock *v = container_of(t, struct vsock, gate_timer);

	v->counts.ev_queue_event_fails += v->gate == GATE_RESET;
	vsock_gate_open(v);
	vsock_serve_soon(v);
}

void vsock_gate_init(struct vsock *v)
{
	v->gate_timer.fn = timed_out;
}

void vsock_reset_transport(struct vsock *v)
{
	vsock_conn_close_all(v);
	vsock_gate_open(v);
	if (v->dev.status & VIRTIO_STATUS_DRIVER_OK)
		v->gate = GATE_RESET;
	vsock_serve_soon(v);
}
