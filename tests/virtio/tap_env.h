/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap_env.h: real TAPs, in a network namespace of the test's own.
 */
#ifndef TESTS_VIRTIO_TAP_ENV_H
#define TESTS_VIRTIO_TAP_ENV_H

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "virtio/tap.h"

static inline int open_name(const char *name, struct err *e)
{
	char actual[TAP_NAME_BYTES];

	return tap_open(name, strlen(name), actual, e);
}

static inline struct ifreq request(const char *name)
{
	struct ifreq r = {0};

	(void)snprintf(r.ifr_name, IFNAMSIZ, "%s", name);
	return r;
}

/* An ioctl of the network namespace. */
static inline int control(unsigned long cmd, struct ifreq *r)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ret = ioctl(fd, cmd, r);

	assert_true(fd >= 0);
	(void)close(fd);
	return ret;
}

static inline void set_up(const char *name, bool up)
{
	struct ifreq r = request(name);

	assert_int_equal(control(SIOCGIFFLAGS, &r), 0);
	r.ifr_flags =
		(short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	assert_int_equal(control(SIOCSIFFLAGS, &r), 0);
}

/* False if there is none to be had, which is said. */
static inline bool enter_network(void)
{
	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0 ||
	    access("/dev/net/tun", R_OK | W_OK) < 0) {
		(void)printf("no network namespace or no /dev/net/tun\n");
		return false;
	}
	/* The kernel's own packets would disturb. */
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6",
		  O_WRONLY | O_CLOEXEC);
	(void)!write(fd, "1", 1);
	(void)close(fd);
	return true;
}

#endif
