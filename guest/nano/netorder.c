/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netorder.c: the orders net=N:OP... for the N-th interface. While they run,
 * ARP requests for us, ICMP echo and UDP echo (port 7) are answered.
 *
 *	echo:SECONDS[:PACKETS]		only that; up to so many answers
 *	send:LIMIT:MIN:MAX[:OPTION...]	to the host
 *	recv:LIMIT:MIN:MAX[:OPTION...]	from the host; MAX 0: any size
 *	ping:COUNT:BYTES		ICMP echo round trips, one at a time
 *	relay:SECONDS			what comes to UDP port 10 is a virtio
 *					header and a frame to send; what comes
 *					from others than its sender goes to it
 *					in the same form; ends with "end"
 *
 * LIMIT is a number of packets, or 5s: 5 seconds. Packet number S has MIN + S *
 * 7919 % (MAX - MIN + 1) bytes with its Ethernet header, and the pattern of
 * nano.h from position S * 61 on, as data: of a frame of type 0x88b5 to
 * 02:4e:SS:SS:SS:SS (little-endian); or, behind SS:SS:SS:SS, of a UDP datagram
 * to port 9, or a TCP segment. A frame of type 0x88b6 to such an address says
 * that packets up to S have come.
 *
 * OPTION: udp, tcp (send); csum: leave the checksum to the device; gN segments
 * of N bytes are to be made (ufo: as fragments); blank: the data do not matter;
 * wN at most N not yet said to have come; aN say so each N packets; dN in the
 * ring; sN descriptors each; bN bytes of a receive buffer; fN leave the ring
 * alone for N ms at first; iN ms without a packet end recv (2000).
 */
#include "guest/nano/net.h"

#define STEP	  7919
#define POSITION  61
#define SEND_NS	  (20 * NS_PER_S)
#define PING_NS	  NS_PER_S
#define PINGS_MAX 4096

struct net_job {
	struct net_setup setup;
	uint64_t count, ns; /* 0: no limit */
	uint32_t min, max, gso, window, ack, freeze_ms, idle_ms;
	bool udp, tcp, csum, ufo, blank;
};

struct net_order {
	const char *name;
	const char *(*run)(struct net *n, struct piece args);
};

static struct net_job read_job(struct piece args)
{
	struct net_job j = {.idle_ms = 2000};
	const struct option options[] = {
		{"udp", &j.udp, NULL},	     {"tcp", &j.tcp, NULL},
		{"csum", &j.csum, NULL},     {"blank", &j.blank, NULL},
		{"ufo", &j.ufo, NULL},	     {"a", NULL, &j.ack},
		{"b", NULL, &j.setup.bytes}, {"d", NULL, &j.setup.depth},
		{"f", NULL, &j.freeze_ms},   {"g", NULL, &j.gso},
		{"i", NULL, &j.idle_ms},     {"s", NULL, &j.setup.segs},
		{"w", NULL, &j.window},
	};
	(void)piece_cut(&args, ':');
	j.count = piece_limit(&args, &j.ns);
	j.min = (uint32_t)piece_next(&args, 0);
	j.max = (uint32_t)piece_next(&args, 0);
	piece_options(args, options, sizeof(options) / sizeof(options[0]));
	return j;
}

static uint32_t size_of(const struct net_job *j, uint64_t seq)
{
	return j->min + (uint32_t)(seq * STEP % (j->max - j->min + 1));
}

static uint32_t data_offset(const struct net_job *j)
{
	return j->tcp ? TCP_DATA + 4 : j->udp ? UDP_DATA + 4 : ETH_BYTES;
}

static void build(const struct net *n, const struct net_job *j,
		  struct net_packet *p, uint32_t seq, uint32_t bytes)
{
	uint32_t data = data_offset(j);
	bool partial = j->csum || j->gso;
	if (!j->blank)
		memcpy(p->frame + data, pattern_at((uint64_t)seq * POSITION),
		       bytes - data);
	if (!j->udp && !j->tcp) {
		net_test_header(n, p->frame, TYPE_DATA, seq);
		return;
	}
	net_ip_header(n, p->frame, bytes, j->tcp ? 6 : 17);
	put32(p->frame + data - 4, seq);
	if (j->tcp)
		net_tcp_header(p, bytes, seq, partial);
	else
		net_udp_header(p, bytes, PORT_DISCARD, PORT_DISCARD, partial);
	if (j->gso && bytes - data + 4 > j->gso) {
		p->gso_size = (uint16_t)j->gso;
		p->hdr_len = (uint16_t)(data - 4);
		p->gso_type = j->tcp   ? NET_GSO_TCPV4
			      : j->ufo ? NET_GSO_UDP
				       : NET_GSO_UDP_L4;
	}
}

/* Answer what there is to answer, and note up to where packets have come. */
static void take_acks(struct net *n, uint32_t *acked)
{
	struct net_packet *p;
	uint32_t bytes, seq;
	while ((p = net_take(n, &bytes))) {
		if (net_is_test(p->frame, bytes, TYPE_ACK, &seq))
			*acked = seq + 1;
		else
			(void)net_answer(n, p, bytes);
	}
}

static const char *run_send(struct net *n, struct piece args)
{
	struct net_job j = read_job(args);
	uint32_t acked = 0, sent = 0;
	uint64_t bytes = 0, start = clock_ns();
	if (j.min < data_offset(&j) || j.max < j.min || j.max > NET_FRAME_MAX)
		return "no such sizes";
	bool more = true;
	while (more || !net_sent(n) || (j.window && acked != sent)) {
		struct net_packet *p;
		more = (j.count == 0 || sent < j.count) &&
		       (j.ns == 0 || clock_ns() - start < j.ns);
		while (more && (j.window == 0 || sent - acked < j.window) &&
		       (p = net_slot(n))) {
			uint32_t size = size_of(&j, sent);
			build(n, &j, p, sent++, size);
			net_send(n, p, size);
			bytes += size;
			more = j.count == 0 || sent < j.count;
		}
		bool full = !more || j.window == 0 || sent - acked < j.window;
		if (!net_wait(n, full, SEND_NS))
			return "no answer";
		take_acks(n, &acked);
	}
	print("nano: net sent n=%u bytes=%lu acked=%u ns=%lu kicks=%u "
	      "irqs=%u\n",
	      sent, bytes, acked, clock_ns() - start, n->tx.kicks,
	      n->dev->irqs);
	return "";
}

struct received {
	uint64_t got, bytes, lost, late, bad, other, first_ns, last_ns;
	uint32_t next; /* the number that is due */
};

static bool is_ours(const struct net *n, const struct net_packet *p,
		    uint32_t bytes, uint32_t *data, uint32_t *seq)
{
	*data = ETH_BYTES;
	if (net_is_test(p->frame, bytes, TYPE_DATA, seq))
		return true;
	bool tcp = net_is_for(n, p->frame, bytes, 6, PORT_DISCARD);
	*data = (tcp ? TCP_DATA : UDP_DATA) + 4;
	if (bytes < *data ||
	    (!tcp && !net_is_for(n, p->frame, bytes, 17, PORT_DISCARD)))
		return false;
	*seq = get32(p->frame + *data - 4);
	return true;
}

static void note(struct net *n, const struct net_job *j, struct received *r,
		 const struct net_packet *p, uint32_t bytes)
{
	uint32_t data, seq;
	if (!is_ours(n, p, bytes, &data, &seq)) {
		r->other += !net_answer(n, p, bytes);
		return;
	}
	r->last_ns = clock_ns();
	if (r->got++ == 0)
		r->first_ns = r->last_ns;
	r->bytes += bytes;
	if (seq < r->next) {
		r->late++;
	} else {
		r->lost += seq - r->next;
		r->next = seq + 1;
	}
	if (bytes > NET_FRAME_MAX || (j->max && bytes != size_of(j, seq)) ||
	    (data == UDP_DATA + 4 && !net_udp_good(p, bytes)) ||
	    (!j->blank &&
	     memcmp(p->frame + data, pattern_at((uint64_t)seq * POSITION),
		    bytes - data) != 0))
		r->bad++;
}

static void say_came(struct net *n, uint32_t seq)
{
	struct net_packet *p = net_slot(n);
	if (!p)
		return;
	net_test_header(n, p->frame, TYPE_ACK, seq);
	net_send(n, p, ETH_BYTES);
}

static void freeze(const struct net_job *j)
{
	uint64_t start = clock_ns();
	while (clock_ns() - start < j->freeze_ms * NS_PER_MS)
		cpu_idle();
	if (j->freeze_ms)
		print("nano: net goes on\n");
}

static const char *run_recv(struct net *n, struct piece args)
{
	struct net_job j = read_job(args);
	struct received r = {0};
	struct net_packet *p;
	uint32_t bytes;
	print("nano: net receives\n");
	freeze(&j);
	uint64_t start = clock_ns();
	while ((j.count == 0 || r.next < j.count) &&
	       (j.ns == 0 || clock_ns() - start < j.ns) &&
	       net_wait(n, false, j.idle_ms * NS_PER_MS)) {
		while ((p = net_take(n, &bytes))) {
			note(n, &j, &r, p, bytes);
			if (j.ack && r.got && r.got % j.ack == 0)
				say_came(n, r.next - 1);
		}
	}
	while (!net_sent(n) && net_wait(n, true, SEND_NS))
		;
	print("nano: net got n=%lu bytes=%lu lost=%lu late=%lu bad=%lu "
	      "other=%lu ns=%lu kicks=%u irqs=%u\n",
	      r.got, r.bytes, r.lost, r.late, r.bad, r.other,
	      r.last_ns - r.first_ns, n->rx.kicks, n->dev->irqs);
	return "";
}

static const char *run_echo(struct net *n, struct piece args)
{
	(void)piece_cut(&args, ':');
	uint64_t ns = piece_next(&args, 1) * NS_PER_S;
	uint64_t most = piece_next(&args, ~0ULL);
	uint64_t start = clock_ns();
	uint32_t none;
	print("nano: net echoes\n");
	while (clock_ns() - start < ns && n->arp + n->icmp + n->udp < most) {
		(void)net_wait(n, false, 10 * NS_PER_MS);
		take_acks(n, &none);
	}
	while (!net_sent(n) && net_wait(n, true, SEND_NS))
		;
	print("nano: net echoed arp=%u icmp=%u udp=%u\n", n->arp, n->icmp,
	      n->udp);
	return "";
}

static bool is_pong(const struct net *n, const uint8_t *f, uint32_t bytes,
		    uint32_t seq)
{
	return net_is_for(n, f, bytes, 1, get16be(f + UDP_DATA - 6)) &&
	       f[UDP_DATA - 8] == 0 && get16be(f + UDP_DATA - 2) == seq;
}

/* Send one, and wait for its answer; how long that took, 0: too long. */
static uint64_t ping(struct net *n, uint32_t seq, uint32_t bytes)
{
	uint64_t start = clock_ns();
	struct net_packet *p = net_slot(n);
	if (!p)
		return 0;
	uint8_t *icmp = p->frame + UDP_DATA - 8;
	net_ip_header(n, p->frame, bytes, 1);
	memcpy(icmp + 8, pattern_at(seq), bytes - UDP_DATA);
	icmp[0] = 8;
	put16be(icmp + 6, seq);
	put16be(icmp + 2, ~net_sum(icmp, bytes - UDP_DATA + 8, 0));
	net_send(n, p, bytes);
	while (clock_ns() - start < PING_NS) {
		(void)net_wait(n, false, PING_NS);
		while ((p = net_take(n, &bytes))) {
			if (is_pong(n, p->frame, bytes, seq))
				return clock_ns() - start;
			(void)net_answer(n, p, bytes);
		}
	}
	return 0;
}

static const char *run_ping(struct net *n, struct piece args)
{
	(void)piece_cut(&args, ':');
	uint64_t count = piece_next(&args, 10);
	uint32_t bytes = (uint32_t)piece_next(&args, 98);
	if (count > PINGS_MAX || bytes < UDP_DATA || bytes > NET_FRAME_MAX)
		return "no such count or size";
	uint64_t *ns = mem_alloc(PINGS_MAX * sizeof(*ns));
	uint64_t got = 0;
	for (uint32_t i = 0; i < count; i++) {
		ns[got] = ping(n, i, bytes);
		got += ns[got] != 0;
	}
	uint64_t median = clock_median(ns, got);
	print("nano: net ping n=%lu lost=%lu min=%lu median=%lu\n", got,
	      count - got, got ? ns[0] : 0, median);
	return "";
}

/* To the one from whom `from` came. */
static void relay_back(struct net *n, const uint8_t *from,
		       const struct net_packet *p, uint32_t bytes)
{
	struct net_packet *to = net_slot(n);
	uint32_t size = UDP_DATA + NET_HEADER + bytes;
	if (!to || size > NET_FRAME_MAX)
		return;
	net_ip_header(n, to->frame, size, 17);
	memcpy(to->frame, from + 6, 6);
	memcpy(to->frame + UDP_DATA - 12, from + UDP_DATA - 16, 4);
	memcpy(to->frame + UDP_DATA, p, NET_HEADER + bytes);
	net_udp_header(to, size, PORT_RELAY, get16be(from + UDP_DATA - 8),
		       false);
	net_send(n, to, size);
}

/* True if it was the word that ends. */
static bool relay_out(struct net *n, const struct net_packet *p, uint32_t bytes)
{
	const uint8_t *data = p->frame + UDP_DATA;
	uint32_t len = get16be(data - 4) - 8;
	struct net_packet *to = net_slot(n);
	if (to && len >= NET_HEADER && len <= bytes - UDP_DATA) {
		memcpy(to, data, len);
		net_send(n, to, len - NET_HEADER);
	}
	return len == 3 && memcmp(data, "end", 3) == 0;
}

static const char *run_relay(struct net *n, struct piece args)
{
	(void)piece_cut(&args, ':');
	uint64_t ns = piece_next(&args, 60) * NS_PER_S;
	uint64_t start = clock_ns();
	uint8_t from[UDP_DATA] = {0};
	struct net_packet *p;
	uint32_t bytes;
	bool end = false;
	print("nano: net relays\n");
	while (!end && clock_ns() - start < ns) {
		(void)net_wait(n, false, NS_PER_S);
		while ((p = net_take(n, &bytes))) {
			if (net_is_for(n, p->frame, bytes, 17, PORT_RELAY)) {
				memcpy(from, p->frame, UDP_DATA);
				end |= relay_out(n, p, bytes);
			} else if (!net_answer(n, p, bytes) &&
				   memcmp(p->frame + 6, from + 6, 6) != 0) {
				relay_back(n, from, p, bytes);
			}
		}
	}
	return "";
}

static const struct net_order orders[] = {
	{"echo", run_echo}, {"send", run_send},	  {"recv", run_recv},
	{"ping", run_ping}, {"relay", run_relay},
};

const char *order_net(struct piece args)
{
	uint64_t index = piece_next(&args, 0);
	struct vdev *dev = virtio_find(VIRTIO_ID_NET, (unsigned int)index);
	struct net_setup setup = read_job(args).setup;
	struct piece rest = args;
	struct piece name = piece_cut(&rest, ':');
	struct net n;
	if (!dev)
		return "no such interface";
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (!piece_is(name, orders[i].name))
			continue;
		const char *wrong = net_open(&n, dev, setup);
		if (!*wrong) {
			print("nano: net features=0x%lx mtu=%u\n",
			      dev->features, n.mtu);
			wrong = orders[i].run(&n, args);
		}
		if (vdev_status(dev) & VIRTIO_NEEDS_RESET && !*wrong)
			wrong = "the device needs a reset";
		vdev_reset(dev);
		return wrong;
	}
	return "no such order";
}
