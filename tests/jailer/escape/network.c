/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets and interfaces. The network is the caller's. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

static int see_frames(const struct facts *f)
{
	(void)f;
	return socket(AF_PACKET, SOCK_RAW, htons(3));
}

static int send_raw(const struct facts *f)
{
	(void)f;
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

/* The answer to a request of the kernel: 0 or its errno. */
static int ask(struct nlmsghdr *h)
{
	union {
		struct nlmsghdr h;
		char bytes[4096];
	} got;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (send(fd, h, h->nlmsg_len, 0) < 0 ||
	    recv(fd, &got, sizeof(got), 0) < 0)
		return -1;
	if (got.h.nlmsg_type != NLMSG_ERROR)
		return 0;
	errno = -((struct nlmsgerr *)NLMSG_DATA(&got.h))->error;
	return errno ? -1 : 0;
}

/* Nothing of it is changed. */
static int change_link(const struct facts *f)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} r = {
		{.nlmsg_len = sizeof(r),
		 .nlmsg_type = RTM_NEWLINK,
		 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		{.ifi_index = 1},
	};

	(void)f;
	return ask(&r.h);
}

static int read_routes(const struct facts *f)
{
	struct {
		struct nlmsghdr h;
		struct rtmsg m;
	} r = {
		{.nlmsg_len = sizeof(r),
		 .nlmsg_type = RTM_GETROUTE,
		 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		{.rtm_family = AF_INET},
	};

	(void)f;
	return ask(&r.h);
}

static int link_flags(const struct facts *f)
{
	struct ifreq r = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)f;
	return ioctl(fd, SIOCGIFFLAGS, &r) < 0 ? -1
					       : ioctl(fd, SIOCSIFFLAGS, &r);
}

static int make_tap(const struct facts *f)
{
	struct ifreq r = {.ifr_name = "mayfly-esc",
			  .ifr_flags = IFF_TAP | IFF_NO_PI};

	return ioctl(open(inside(f, "/dev/net/tun"), O_RDWR | O_CLOEXEC),
		     TUNSETIFF, &r);
}

/* From 127.0.0.1 to where the host listens. */
static struct sockaddr_in host_port(const struct facts *f)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((unsigned short)f->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static int reach_tcp(const struct facts *f)
{
	struct sockaddr_in a = host_port(f);

	return connect(socket(AF_INET, SOCK_STREAM, 0),
		       (const struct sockaddr *)&a, sizeof(a));
}

static int listen_tcp(const struct facts *f)
{
	const struct sockaddr_in a = {.sin_family = AF_INET};

	(void)f;
	return bind(socket(AF_INET, SOCK_STREAM, 0),
		    (const struct sockaddr *)&a, sizeof(a));
}

static int send_udp(const struct facts *f)
{
	struct sockaddr_in a = host_port(f);

	return (int)sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0,
			   (const struct sockaddr *)&a, sizeof(a));
}

static int reach_abstract(const struct facts *f)
{
	const struct sockaddr_un a = {AF_UNIX, "\0mayfly-test"};

	(void)f;
	return connect(socket(AF_UNIX, SOCK_STREAM, 0),
		       (const struct sockaddr *)&a,
		       offsetof(struct sockaddr_un, sun_path) + 12);
}

/* The hypervisor above the host, past all that filters its network. */
static int use_vsock(const struct facts *f)
{
	(void)f;
	return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int set_option(int option)
{
	const int value = 1 << 20;

	return setsockopt(socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, option,
			  &value, sizeof(value));
}

static int mark_packets(const struct facts *f)
{
	(void)f;
	return set_option(SO_MARK);
}

static int force_buffer(const struct facts *f)
{
	(void)f;
	return set_option(SO_SNDBUFFORCE);
}

const struct attempt network_attempts[] = {
	{"see the frames of an interface", see_frames},
	{"send raw packets", send_raw},
	{"change an interface by netlink", change_link},
	{"change an interface by ioctl", link_flags},
	{"make a TAP", make_tap},
	{"reach the host by TCP", reach_tcp},
	{"listen on TCP", listen_tcp},
	{"reach an abstract socket", reach_abstract},
	{"mark packets", mark_packets},
	{"force buffers", force_buffer},
	{"send UDP to the host", send_udp},
	{"read the routes", read_routes},
	{"open a vsock", use_vsock},
	{0},
};
