/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real TAPs, in a network namespace of the test's own: what tap_open() says,
 * and an interface on one that goes down, is renamed and is removed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tests/virtio/driver.h"
#include "tests/virtio/fake_mmds.h"
#include "virtio/net_impl.h"
#include "virtio/tap.h"

#define RAM_BYTES (4 * MIB)
#define TX_RING	  0x10000
#define RX_BUF	  0x100000
#define TX_BUF	  0x200000
#define LAST	  " Check our documentation on setting up the network devices."
#define FIRST	  "Could not create the network device: Open tap device failed: "

/* ---- tap_open() ---- */

static int open_name(const char *name, struct err *e)
{
	char actual[TAP_NAME_BYTES];

	return tap_open(name, strlen(name), actual, e);
}

static struct ifreq request(const char *name)
{
	struct ifreq r = {0};

	(void)snprintf(r.ifr_name, IFNAMSIZ, "%s", name);
	return r;
}

/* An ioctl of the network namespace. */
static int control(unsigned long cmd, struct ifreq *r)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ret = ioctl(fd, cmd, r);

	assert_true(fd >= 0);
	(void)close(fd);
	return ret;
}

static void set_up(const char *name, bool up)
{
	struct ifreq r = request(name);

	assert_int_equal(control(SIOCGIFFLAGS, &r), 0);
	r.ifr_flags =
		(short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	assert_int_equal(control(SIOCSIFFLAGS, &r), 0);
}

static void fails_with(const char *name, size_t len, int code, const char *text)
{
	char actual[TAP_NAME_BYTES];
	struct err e = {0};

	assert_int_equal(tap_open(name, len, actual, &e), code);
	assert_string_equal(e.text, text);
}

static void a_tap_is_as_the_device_needs_it(void **state)
{
	struct err e = {0};
	int fd = open_name("plain0", &e), bytes = 0, le = 0;
	struct ifreq r = {0};

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNGETIFF, &r), 0);
	assert_string_equal(r.ifr_name, "plain0");
	assert_int_equal(r.ifr_flags & (IFF_TAP | IFF_TUN | IFF_NO_PI |
					IFF_VNET_HDR | IFF_MULTI_QUEUE),
			 IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(ioctl(fd, TUNGETVNETHDRSZ, &bytes), 0);
	assert_int_equal(bytes, 12);
	assert_int_equal(ioctl(fd, TUNGETVNETLE, &le), 0);
	assert_int_equal(le, 1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(tap_set_offload(fd, 0), 0);
	assert_int_equal(tap_set_offload(fd, UINT64_MAX), 0);
	/* Others mean nothing without checksums. */
	assert_int_equal(
		tap_set_offload(fd, VIRTIO_FEATURE(NET_F_GUEST_TSO4) |
					    VIRTIO_FEATURE(NET_F_GUEST_UFO)),
		0);
	(void)close(fd);
	assert_int_equal(tap_set_offload(fd, 0), -EBADF);
}

static void names_are_the_kernels(void **state)
{
	char actual[TAP_NAME_BYTES];
	struct err e = {0};
	struct ifreq r;
	int fd;

	(void)state;
	fd = open_name("aaaaaaaaaaaaaaa", &e);
	assert_true(fd >= 0);
	(void)close(fd);
	fd = tap_open("tap%d", 5, actual, &e);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNGETIFF, &r), 0);
	assert_string_equal(r.ifr_name, "tap0");
	assert_string_equal(actual, "tap0");
	(void)close(fd);
	fd = tap_open("", 0, actual, &e);
	assert_true(fd >= 0);
	assert_string_not_equal(actual, "");
	(void)close(fd);
	fd = tap_open("x\0y", 3, actual, &e);
	assert_true(fd >= 0);
	assert_string_equal(actual, "x");
	assert_int_equal(ioctl(fd, TUNGETIFF, &r), 0);
	assert_string_equal(r.ifr_name, "x");
	(void)close(fd);
}

static void errors_are_those_of_the_contract(void **state)
{
	const char *const wrong = FIRST
		"Error while creating ifreq structure: Invalid argument "
		"(os error 22). Invalid TUN/TAP Backend provided by %s." LAST;
	const char *const names[] = {"lo", "a b", "a/b", "..", "a:b"};
	struct err e = {0};
	char text[512];
	int fd;

	(void)state;
	fails_with("aaaaaaaaaaaaaaaa", 16, -EINVAL,
		   FIRST "Invalid interface name");
	/* As long as that, whatever is in it. */
	fails_with("a\0aaaaaaaaaaaaaaaaaa", 20, -EINVAL,
		   FIRST "Invalid interface name");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(text, sizeof(text), wrong, names[i]);
		fails_with(names[i], strlen(names[i]), -EINVAL, text);
	}
	(void)snprintf(text, sizeof(text), wrong, "a b");
	fails_with("a b\0c", 5, -EINVAL, text);
	fd = open_name("twice0", &e);
	assert_true(fd >= 0);
	fails_with("twice0", 6, -EBUSY,
		   FIRST "Error while creating ifreq structure: Resource busy "
			 "(os error 16). Invalid TUN/TAP Backend provided by "
			 "twice0." LAST);
	(void)close(fd);
}

/* CAP_NET_ADMIN, which a jailed process does not have. */
static void may_administer(bool yes)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];

	assert_int_equal(syscall(SYS_capget, &h, d), 0);
	if (yes)
		d[0].effective |= 1u << CAP_NET_ADMIN;
	else
		d[0].effective &= ~(1u << CAP_NET_ADMIN);
	assert_int_equal(syscall(SYS_capset, &h, d), 0);
	/* Leak checkers attach to the process. */
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
}

static void one_that_may_not_be_used_says_what_is_needed(void **state)
{
	const char *const text =
		FIRST "Error while creating ifreq structure: Operation not "
		      "permitted (os error 1). Invalid TUN/TAP Backend "
		      "provided by other0." LAST
		      " The interface must exist and have no owner, or the "
		      "user or the group of this process as its owner.";
	struct err e = {0};
	int fd = open_name("other0", &e);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	assert_int_equal(ioctl(fd, TUNSETOWNER, 1234), 0);
	(void)close(fd);
	may_administer(false);
	fails_with("other0", 6, -EPERM, text);
	may_administer(true);
	fd = open_name("other0", &e);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETOWNER, geteuid()), 0);
	(void)close(fd);
	may_administer(false);
	fd = open_name("other0", &e);
	may_administer(true);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 0), 0);
	(void)close(fd);
}

/* ---- a device on a TAP ---- */

struct fixture {
	enum loop_backend backend;
	struct loop *loop;
	struct vm *vm;
	struct net *net;
	struct gmem tx_view;
	struct driver rx, tx;
	int tap, wire; /* wire: a packet socket on the other side */
};

static void turns(struct fixture *f, int n)
{
	while (n-- > 0)
		assert_int_equal(loop_turn(f->loop, NS_PER_MS), 0);
}

static void listen_to(struct fixture *f, const char *name)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_LOOPBACK)};

	at.sll_ifindex = (int)if_nametoindex(name);
	f->wire = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
			 htons(ETH_P_LOOPBACK));
	assert_true(f->wire >= 0);
	assert_int_equal(bind(f->wire, (struct sockaddr *)&at, sizeof(at)), 0);
}

static int setup(void **state)
{
	const struct vm_config cfg = {.kernel_fd = -1, .initrd_fd = -1};
	struct fixture *f = calloc(1, sizeof(*f));
	struct net_config net = {0};
	struct err e = {0};

	assert_non_null(f);
	f->backend = *(const enum loop_backend *)*state;
	log_set_level(LOG_OFF);
	f->tap = open_name("dev0", &e);
	assert_true(f->tap >= 0);
	set_up("dev0", true);
	listen_to(f, "dev0");
	assert_int_equal(loop_new(&f->loop, f->backend, NULL, &e), 0);
	assert_int_equal(vm_new(&f->vm, f->loop, &cfg, &e), 0);
	ram_init(&f->vm->mem, RAM_BYTES);
	net.tap = f->tap;
	assert_int_equal(net_new(&f->net, f->vm, &net, &e), 0);
	virtio_listen(net_dev(f->net));
	f->tx_view = f->vm->mem;
	f->tx_view.region[0].hva += TX_RING;
	f->tx_view.region[0].bytes -= TX_RING;
	f->rx = (struct driver){
		.mem = &f->vm->mem, .dev = net_dev(f->net), .size = 256};
	f->tx = f->rx;
	f->tx.mem = &f->tx_view;
	reg_write(&f->rx, 0x70, 1);
	reg_write(&f->rx, 0x70, 3);
	write_features(&f->rx, net_dev(f->net)->features);
	reg_write(&f->rx, 0x70, 11);
	set_up_queue(&f->rx, NET_RX, 0);
	set_up_queue(&f->rx, NET_TX, TX_RING);
	reg_write(&f->rx, 0x70, 15);
	assert_int_equal(reg_read(&f->rx, 0x70), 15);
	for (uint16_t i = 0; i < 256; i++) {
		desc(&f->rx, i, RX_BUF + i * 2048u, 2048, DESC_WRITE, 0);
		offer(&f->rx, i);
	}
	turns(f, 2);
	*state = f;
	return 0;
}

static void stopped(struct virtio_dev *d)
{
	(void)d;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct virtio_dev *d = net_dev(f->net);

	virtio_stop(d, stopped);
	while (!d->stop_queued)
		turns(f, 1);
	turns(f, 1);
	net_free(f->net);
	ram_exit(&f->vm->mem);
	vm_free(f->vm);
	loop_free(f->loop);
	(void)close(f->wire);
	(void)close(f->tap);
	free(f);
	return 0;
}

/* An Ethernet frame of the protocol that the test listens to. */
static void fill(uint8_t *p, uint8_t mark, size_t len)
{
	memset(p, mark, len);
	memset(p, 0xff, 6);
	memset(p + 6, 2, 6);
	p[12] = 0x90;
	p[13] = 0x00;
}

/* To the guest; false if the interface does not take it. */
static bool to_guest(struct fixture *f, uint8_t mark, size_t len)
{
	uint8_t p[2000];

	fill(p, mark, len);
	return send(f->wire, p, len, 0) == (ssize_t)len;
}

/* Frames with that mark that the guest gets within some turns. */
static unsigned int guest_gets(struct fixture *f, uint8_t mark, size_t len)
{
	unsigned int n = 0;
	uint32_t head, got;

	turns(f, 10);
	while (take_used(&f->rx, &head, &got)) {
		uint64_t at = RX_BUF + (uint64_t)head * 2048;

		if (got == 12 + len && get8(&f->rx, at + 12 + 20) == mark) {
			assert_int_equal(get16(&f->rx, at + 10), 1);
			n++;
		}
		offer(&f->rx, (uint16_t)head);
	}
	return n;
}

/* One from the guest; the device gives it back in any case. */
static void from_guest(struct fixture *f, uint8_t mark)
{
	uint8_t *p = ram(&f->rx, TX_BUF, 112);
	uint32_t head, len;

	memset(p, 0, 12);
	fill(p + 12, mark, 100);
	desc(&f->tx, 0, TX_BUF, 112, 0, 0);
	offer(&f->tx, 0);
	reg_write(&f->rx, 0x50, NET_TX);
	for (int i = 0; i < 1000 && !used_waits(&f->tx); i++)
		turns(f, 1);
	assert_true(take_used(&f->tx, &head, &len));
}

static bool host_gets(struct fixture *f, uint8_t mark)
{
	uint8_t p[2000];
	ssize_t n;

	while ((n = recv(f->wire, p, sizeof(p), 0)) >= 0 || errno == ENETDOWN)
		if (n == 100 && p[20] == mark)
			return true;
	return false;
}

static void works(struct fixture *f, uint8_t mark)
{
	(void)host_gets(f, 0); /* the socket remembers that it was down */
	assert_true(to_guest(f, mark, 700));
	assert_int_equal(guest_gets(f, mark, 700), 1);
	from_guest(f, mark);
	assert_true(host_gets(f, mark));
}

static bool quiet(struct fixture *f)
{
	uint64_t cpu = clock_process_cpu_us();

	turns(f, 300);
	return clock_process_cpu_us() - cpu < 50000;
}

static void frames_go_both_ways(void **state)
{
	struct fixture *f = *state;

	works(f, 1);
	for (uint8_t i = 0; i < 100; i++)
		assert_true(to_guest(f, 2, 60));
	assert_int_equal(guest_gets(f, 2, 60), 100);
}

static void down_and_up_again_works_on(void **state)
{
	struct fixture *f = *state;
	uint64_t fails = net_counts(f->net)->tap_write_fails;

	set_up("dev0", false);
	from_guest(f, 1);
	assert_int_equal(net_counts(f->net)->tap_write_fails, fails + 1);
	assert_false(host_gets(f, 1));
	assert_true(quiet(f));
	set_up("dev0", true);
	works(f, 2);
}

static void renamed_works_on(void **state)
{
	struct fixture *f = *state;
	struct ifreq r = request("dev0");

	set_up("dev0", false);
	(void)snprintf(r.ifr_newname, IFNAMSIZ, "new0");
	assert_int_equal(control(SIOCSIFNAME, &r), 0);
	set_up("new0", true);
	works(f, 3);
}

/* As anybody may who administers the host. */
static void remove_link(const char *name)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg info;
	} m = {
		.h = {.nlmsg_len = sizeof(m),
		      .nlmsg_type = RTM_DELLINK,
		      .nlmsg_flags = NLM_F_REQUEST},
		.info.ifi_index = (int)if_nametoindex(name),
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	assert_int_equal(send(fd, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(if_nametoindex(name), 0);
	(void)close(fd);
}

/* Frames that an interface did not pass on to whoever holds the TAP. */
static unsigned long long drops(const char *name)
{
	char line[512], *p = NULL;
	FILE *f = fopen("/proc/thread-self/net/dev", "re");
	unsigned long long v = 0;

	assert_non_null(f);
	while (!p && fgets(line, sizeof(line), f))
		p = strstr(line, name);
	(void)fclose(f);
	assert_non_null(p);
	p = strchr(p, ':') + 1;
	for (int field = 0; field < 12; field++)
		v = strtoull(p, &p, 10);
	return v;
}

static void removed_it_is_quiet(void **state)
{
	struct fixture *f = *state;

	works(f, 4);
	remove_link("dev0");
	turns(f, 20);
	assert_true(quiet(f));
	for (int i = 0; i < 50; i++)
		from_guest(f, 5);
	assert_int_equal(net_counts(f->net)->tap_write_fails, 50);
	assert_true(net_counts(f->net)->tap_read_fails < 5);
	assert_int_equal(reg_read(&f->rx, 0x70), 15);
	assert_true(quiet(f));
}

/*
 * More than the guest takes: what it gets, and what the TAP says it dropped,
 * is all that was sent.
 */
static void a_flood_is_accounted_for(void **state)
{
	struct fixture *f = *state;
	unsigned int got = 0, sent = 0;
	unsigned long long dropped;

	for (int i = 0; i < 20000; i++) {
		sent += to_guest(f, 6, 300);
		if (i % 1500 == 0)
			got += guest_gets(f, 6, 300);
	}
	for (int i = 0; i < 40; i++) {
		got += guest_gets(f, 6, 300);
		reg_write(&f->rx, 0x50, NET_RX);
	}
	dropped = drops("dev0");
	assert_true(dropped > 0 && got > 1000);
	assert_int_equal(got + dropped + net_counts(f->net)->rx_fails, sent);
}

#define BOTH(fn)                                                  \
	{#fn " (io_uring)", fn, setup, teardown, &backends[0]},   \
	{                                                         \
#fn " (epoll)", fn, setup, teardown, &backends[1] \
	}

static enum loop_backend backends[] = {LOOP_URING, LOOP_EPOLL};

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tap_is_as_the_device_needs_it),
		cmocka_unit_test(names_are_the_kernels),
		cmocka_unit_test(errors_are_those_of_the_contract),
		cmocka_unit_test(one_that_may_not_be_used_says_what_is_needed),
		BOTH(frames_go_both_ways),
		BOTH(down_and_up_again_works_on),
		BOTH(renamed_works_on),
		BOTH(removed_it_is_quiet),
		BOTH(a_flood_is_accounted_for),
	};

	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0 ||
	    access("/dev/net/tun", R_OK | W_OK) < 0) {
		(void)printf("no network namespace or no /dev/net/tun\n");
		return 77;
	}
	/* The kernel's own packets would disturb. */
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6",
		  O_WRONLY | O_CLOEXEC);
	(void)!write(fd, "1", 1);
	(void)close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
