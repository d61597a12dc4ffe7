/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netfloor.c: frames through a TAP: the host's end of what nano does with its
 * interface, and, at the device's end, what the TAP itself gives.
 *
 *	netfloor END send FRAMES BYTES GSO	from one end to the other
 *	netfloor END recv FRAMES
 *	netfloor END echo FRAMES		answer ICMP echo requests
 *	netfloor - ping COUNT			the guest, by ICMP
 *
 * END is the name of the TAP, whose host's end it is then, or tap:NAME, the end
 * of a device. Frames are those of nano: of BYTES, with the type 0x88b5, their
 * number in the destination; with GSO, TCP segments with the number before the
 * data, to be cut into pieces of GSO bytes. At most WINDOW are under way, and
 * the receiver says with a frame of type 0x88b6 how far it got.
 *
 * Prints "ready" when frames may come, and "n=FRAMES ns=TIME" in the end; the
 * time of ping is the median of one. Exit code 1 and a line on standard error
 * where something did not work.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define GUEST_IP     "172.16.0.2"
#define TYPE_DATA    0x88b5
#define TYPE_ACK     0x88b6
#define WINDOW	     512 /* less than a TAP's queue */
#define ACK_EACH     128
#define PINGS_LOST   50 /* at first, until it is known that the link is up */
#define PINGS_MAX    100000
#define PATIENCE_S   10
#define SOCKET_BYTES (64 << 20)

#define IP_AT	 14
#define L4_AT	 34
#define TCP_DATA 54

/* As a TAP and a packet socket have it before each frame. */
struct frame {
	struct virtio_net_hdr h;
	uint8_t at[1 << 16];
} __attribute__((packed));

struct end {
	int fd;
	uint32_t frames, bytes, gso;
	struct frame out, in;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "netfloor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void report(uint64_t n, uint64_t ns)
{
	(void)printf("n=%llu ns=%llu\n", (unsigned long long)n,
		     (unsigned long long)ns);
}

static void say_ready(void)
{
	(void)puts("ready");
	(void)fflush(stdout);
}

/* ---- ends ---- */

static int open_tap(const char *name)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int header = sizeof(struct virtio_net_hdr);
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0 ||
	    ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
	    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
		die(name);
	return fd;
}

static void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		die("setsockopt");
}

static int open_packets(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	struct packet_mreq promiscuous = {.mr_ifindex = to.sll_ifindex,
					  .mr_type = PACKET_MR_PROMISC};
	struct timeval patience = {.tv_sec = PATIENCE_S};

	if (fd < 0)
		die("socket");
	set(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
	/* A queue discipline drops frames until it knows that the link is up.
	 */
	set(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1);
	set(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES);
	set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		       sizeof(patience)) < 0 ||
	    bind(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous,
		       sizeof(promiscuous)) < 0)
		die(name);
	return fd;
}

/* The next frame; returns its bytes without the header. */
static uint32_t take(struct end *e)
{
	ssize_t n = read(e->fd, &e->in, sizeof(e->in));

	if (n < (ssize_t)(sizeof(e->in.h) + ETH_HLEN))
		die("read");
	return (uint32_t)n - (uint32_t)sizeof(e->in.h);
}

static void give(struct end *e, const struct frame *f, uint32_t bytes)
{
	const size_t n = sizeof(f->h) + bytes;

	if (write(e->fd, f, n) != (ssize_t)n)
		die("write");
}

/* ---- frames ---- */

static uint32_t type_of(const struct frame *f)
{
	return (uint32_t)f->at[12] << 8 | f->at[13];
}

static void put_type(struct frame *f, uint32_t type)
{
	f->at[12] = (uint8_t)(type >> 8);
	f->at[13] = (uint8_t)type;
}

/* Where the number of a frame is. */
static uint8_t *number_at(struct frame *f)
{
	return type_of(f) == ETH_P_IP ? f->at + TCP_DATA : f->at + 2;
}

static bool is_data(const struct frame *f)
{
	return type_of(f) == TYPE_DATA ||
	       (type_of(f) == ETH_P_IP && f->at[IP_AT + 9] == IPPROTO_TCP);
}

static void make_address(struct frame *f)
{
	static const uint8_t mac[] = {2, 0x4e, 0, 0, 0, 0, 2, 0xfc, 0, 0, 0, 1};

	memcpy(f->at, mac, sizeof(mac));
	put_type(f, TYPE_DATA);
}

/* A segment from port 9 to port 9, its checksum left to the device. */
static void make_segment(struct frame *f, uint32_t bytes, uint32_t gso)
{
	const uint32_t ip_bytes = bytes - IP_AT;
	uint8_t *ip = f->at + IP_AT, *tcp = f->at + L4_AT;
	const uint32_t guest = inet_addr(GUEST_IP);

	put_type(f, ETH_P_IP);
	ip[0] = 0x45;
	ip[2] = (uint8_t)(ip_bytes >> 8);
	ip[3] = (uint8_t)ip_bytes;
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, (const uint8_t[]){172, 16, 0, 1}, 4);
	memcpy(ip + 16, &guest, 4);
	tcp[1] = tcp[3] = 9;
	tcp[12] = 0x50;
	f->h = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = TCP_DATA,
		.gso_size = (uint16_t)gso,
		.csum_start = L4_AT,
		.csum_offset = 16,
	};
}

/* ---- jobs ---- */

static void do_send(struct end *e)
{
	uint32_t sent = 0, came = 0;
	const uint64_t start = now_ns();

	make_address(&e->out);
	if (e->gso)
		make_segment(&e->out, e->bytes, e->gso);
	while (came < e->frames) {
		if (sent < e->frames && sent - came < WINDOW) {
			memcpy(number_at(&e->out), &sent, sizeof(sent));
			give(e, &e->out, e->bytes);
			sent++;
			continue;
		}
		(void)take(e);
		if (type_of(&e->in) == TYPE_ACK) {
			memcpy(&came, number_at(&e->in), sizeof(came));
			came++;
		}
	}
	report(e->frames, now_ns() - start);
}

static void do_recv(struct end *e)
{
	uint32_t got = 0;
	uint64_t start = 0;

	make_address(&e->out);
	put_type(&e->out, TYPE_ACK);
	say_ready();
	while (got < e->frames) {
		uint32_t seq;

		(void)take(e);
		if (!is_data(&e->in))
			continue;
		memcpy(&seq, number_at(&e->in), sizeof(seq));
		if (seq != got++) {
			errno = EPROTO;
			die("a frame is missing");
		}
		if (got == 1)
			start = now_ns();
		if (got % ACK_EACH == 0 || got == e->frames) {
			memcpy(number_at(&e->out), &seq, sizeof(seq));
			give(e, &e->out, ETH_HLEN);
		}
	}
	report(got, now_ns() - start);
}

static void swap(uint8_t *a, uint8_t *b, size_t bytes)
{
	uint8_t t[ETH_ALEN];

	memcpy(t, a, bytes);
	memcpy(a, b, bytes);
	memcpy(b, t, bytes);
}

static void do_echo(struct end *e)
{
	uint8_t *at = e->in.at, *icmp = at + L4_AT;
	uint32_t n = 0;

	say_ready();
	while (n < e->frames) {
		const uint32_t bytes = take(e);

		if (type_of(&e->in) != ETH_P_IP ||
		    at[IP_AT + 9] != IPPROTO_ICMP || icmp[0] != 8)
			continue;
		swap(at, at + ETH_ALEN, ETH_ALEN);
		swap(at + IP_AT + 12, at + IP_AT + 16, 4);
		/* The checksum has no carry here: see do_ping(). */
		icmp[0] = 0;
		icmp[2] = (uint8_t)(icmp[2] + 8);
		e->in.h = (struct virtio_net_hdr){0};
		give(e, &e->in, bytes);
		n++;
	}
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* 56 bytes of data, zeros: with type 8 the checksum is ~0x0800. */
static void do_ping(uint32_t count)
{
	static uint64_t ns[PINGS_MAX];
	const uint8_t request[64] = {8, 0, 0xf7, 0xff};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_addr.s_addr = inet_addr(GUEST_IP)};
	struct timeval patience = {.tv_usec = 100000};
	uint32_t lost = 0;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		       sizeof(patience)) < 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		die("ping");
	for (uint32_t i = 0; i < count;) {
		const uint64_t start = now_ns();
		uint8_t reply[128];

		if (send(fd, request, sizeof(request), 0) < 0)
			die("ping");
		if (recv(fd, reply, sizeof(reply), 0) >= 20 + 64)
			ns[i++] = now_ns() - start;
		else if (errno != EAGAIN || ++lost > PINGS_LOST)
			die("ping");
	}
	qsort(ns, count, sizeof(ns[0]), compare);
	report(count, ns[count / 2]);
}

static uint32_t number(const char *text, uint32_t least, uint32_t most)
{
	unsigned long n = text ? strtoul(text, NULL, 10) : 0;

	if (n < least || n > most) {
		errno = EINVAL;
		die("see the head of netfloor.c for its use");
	}
	return (uint32_t)n;
}

int main(int argc, char **argv)
{
	static struct end e;
	const char *name = argc > 1 ? argv[1] : "";
	const char *job = argc > 2 ? argv[2] : "";
	const bool is_send = strcmp(job, "send") == 0;

	e.frames = number(argc > 3 ? argv[3] : NULL, 1, UINT32_MAX);
	if (strcmp(job, "ping") == 0) {
		do_ping(number(argv[3], 1, PINGS_MAX));
		return 0;
	}
	if (is_send) {
		e.bytes = number(argc == 6 ? argv[4] : NULL, ETH_HLEN,
				 sizeof(e.out.at) - 1);
		e.gso = number(argv[5], 0, UINT16_MAX);
		if (e.gso)
			e.bytes = number(argv[4], TCP_DATA + 4, UINT16_MAX);
	}
	e.fd = strncmp(name, "tap:", 4) == 0 ? open_tap(name + 4)
					     : open_packets(name);
	if (is_send)
		do_send(&e);
	else if (strcmp(job, "recv") == 0)
		do_recv(&e);
	else
		do_echo(&e);
	return 0;
}
