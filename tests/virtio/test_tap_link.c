/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interface on a real TAP that goes down, is renamed, is removed and is
 * flooded.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>

#include "tests/virtio/both_loops.h"
#include "tests/virtio/fake_mmds.h"
#include "tests/virtio/tap_env.h"
#include "virtio/net_impl.h"

#define RAM_BYTES (4 * MIB)
#define TX_RING	  0x10000
#define RX_BUF	  0x100000
#define TX_BUF	  0x200000

struct fixture {
	enum loop_backend backend;
	struct loop *loop;
	struct vm *vm;
	struct net *net;
	struct gmem tx_view;
	struct driver rx, tx;
	int tap, wire; /* wire: a packet socket on the other side */
};

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
	struct fixture *f = calloc(1, sizeof(*f));
	struct net_config net = {0};
	struct err e = {0};

	assert_non_null(f);
	f->backend = *(const enum loop_backend *)*state;
	f->tap = open_name("dev0", &e);
	assert_true(f->tap >= 0);
	set_up("dev0", true);
	listen_to(f, "dev0");
	open_machine(&f->loop, &f->vm, f->backend, NULL, RAM_BYTES);
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
	close_machine(f->loop, f->vm);
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

/* However long the guest takes nothing, and whatever comes meanwhile. */
static void reading_goes_on_after_a_flood(void **state)
{
	const uint64_t ms = getenv("MAYFLY_SOAK") ? 60000 : 500;
	const uint64_t end = clock_now_ns() + ms * NS_PER_MS;
	struct fixture *f = *state;
	uint64_t start;

	for (unsigned int i = 0; clock_now_ns() < end; i++) {
		(void)to_guest(f, 7, 300);
		if (i % 64 == 0)
			turns(f, 1);
	}
	assert_true(quiet(f));
	assert_int_equal(guest_gets(f, 7, 300), 256);
	assert_false(used_waits(&f->rx));
	start = clock_now_ns();
	reg_write(&f->rx, 0x50, NET_RX);
	while (!used_waits(&f->rx))
		turns(f, 1);
	assert_true(clock_now_ns() - start < 100 * NS_PER_MS);
	assert_true(guest_gets(f, 7, 300) > 100);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(frames_go_both_ways),
		BOTH(down_and_up_again_works_on),
		BOTH(renamed_works_on),
		BOTH(removed_it_is_quiet),
		BOTH(reading_goes_on_after_a_flood),
		BOTH(a_flood_is_accounted_for),
	};

	if (!enter_network())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
