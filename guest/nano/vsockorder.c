/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsockorder.c: the orders vsock=OP...
 *
 *	connect:PORT:COUNT:MODE:LIMIT[:OPTION...]	COUNT connections in all
 *	listen:PORT:COUNT:MODE:LIMIT[:OPTION...]	the same, accepted
 *	bad:PORT[:CASE]		break rules, see vsockbad.c
 *	event:SECONDS		wait for a transport reset
 *
 * MODE is what is done on each connection:
 *	echo	return all, until the peer sends no more
 *	send	send LIMIT bytes (5s: for 5 seconds) of the pattern of nano.h,
 *		then no more, and wait for the peer's end; what comes is
 *		checked as by recv
 *	recv	check for that pattern, until the peer sends no more
 *	hold	take nothing, so that the peer's credit ends; until it closes,
 *		or, with a LIMIT of 5s, for 5 seconds
 *	ping	send a packet and wait for as much, LIMIT times
 *	close	close at once
 *	reset	RST once LIMIT has happened: 0 we asked (connect), 1 it is open,
 *		2 the answer to a byte came, 3 we said that we send no more, 4
 *		the peer said that it sends or takes no more
 *
 * OPTION: wN at most N at once (connect; 64); oN at most N that are not open
 * yet; cN bytes of credit that we give (262144); pN bytes a packet (65536, ping
 * 64); bN bytes of a receive buffer; split receive buffers into header and
 * data; inline what is sent with its header; blank: the data do not matter; tN
 * fail after N seconds (60).
 */
#include "guest/nano/vsock.h"

static const char *const modes[] = {
	[ECHO] = "echo", [SEND] = "send",   [RECV] = "recv",   [HOLD] = "hold",
	[PING] = "ping", [CLOSE] = "close", [RESET] = "reset",
};

#define N_MODES (sizeof(modes) / sizeof(modes[0]))

static struct vsock_job read_job(struct piece args)
{
	struct vsock_job j = {
		.window = 64, .asked = ~0u, .credit = 262144, .seconds = 60};
	const struct option options[] = {
		{"split", &j.setup.split, NULL},
		{"inline", &j.setup.inlined, NULL},
		{"blank", &j.blank, NULL},
		{"b", NULL, &j.setup.rx_bytes},
		{"c", NULL, &j.credit},
		{"o", NULL, &j.asked},
		{"p", NULL, &j.packet},
		{"t", NULL, &j.seconds},
		{"w", NULL, &j.window},
	};
	j.listen = piece_is(piece_cut(&args, ':'), "listen");
	j.port = (uint32_t)piece_next(&args, 0);
	j.count = piece_next(&args, 1);
	struct piece mode = piece_cut(&args, ':');
	while (j.mode < N_MODES && !piece_is(mode, modes[j.mode]))
		j.mode++;
	j.limit = piece_limit(&args, &j.ns);
	piece_options(args, options, sizeof(options) / sizeof(options[0]));
	if (j.packet == 0)
		j.packet = j.mode == PING ? 64 : 65536;
	return j;
}

static const char *run_streams(struct vdev *dev, struct piece args)
{
	struct vsock_job j = read_job(args);
	struct vsock_result r = {0};
	struct vsock v;
	if (j.mode >= N_MODES || j.packet > PATTERN_MAX || j.credit == 0)
		return "no such mode, packet or credit";
	const char *wrong = vsock_open(&v, dev, &j.setup);
	if (*wrong)
		return wrong;
	print("nano: vsock cid=%lu\n", v.cid);
	wrong = vsock_run(&v, &j, &r);
	if (j.mode == PING)
		print("nano: vsock ping n=%lu median=%lu\n", r.pings,
		      clock_median(r.ping_ns, r.pings));
	print("nano: vsock %s opened=%lu closed=%lu refused=%lu reset=%lu "
	      "sent=%lu got=%lu bad=%lu ns=%lu kicks=%u irqs=%u\n",
	      modes[j.mode], r.opened, r.closed, r.refused, r.reset, r.sent,
	      r.got, r.bad, r.end_ns - r.start_ns, v.rx.kicks + v.tx.kicks,
	      dev->irqs);
	return *wrong ? wrong : r.bad ? "wrong data, or more than allowed" : "";
}

static const char *run_event(struct vdev *dev, struct piece args)
{
	struct vsock_setup setup = {0};
	struct vsock v;
	(void)piece_cut(&args, ':');
	uint64_t ns = piece_next(&args, 10) * NS_PER_S;
	const char *wrong = vsock_open(&v, dev, &setup);
	if (*wrong)
		return wrong;
	print("nano: vsock waits for an event\n");
	for (uint64_t start = clock_ns(); clock_ns() - start < ns;) {
		(void)vsock_wait(&v, false, NS_PER_S);
		if (vsock_events(&v))
			return "";
	}
	return "no event";
}

const char *order_vsock(struct piece args)
{
	struct vdev *dev = virtio_find(VIRTIO_ID_VSOCK, 0);
	struct piece rest = args;
	struct piece op = piece_cut(&rest, ':');
	if (!dev)
		return "no vsock device";
	if (piece_is(op, "bad"))
		return vsock_bad(dev, rest);
	const char *wrong = piece_is(op, "event") ? run_event(dev, args)
						  : run_streams(dev, args);
	if (vdev_status(dev) & VIRTIO_NEEDS_RESET && !*wrong)
		wrong = "the device needs a reset";
	vdev_reset(dev);
	return wrong;
}
