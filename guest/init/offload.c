/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/offload.h"

#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/init/report.h"

#define SIOCETHTOOL 0x8946 /* linux/sockios.h */

/* struct ethtool_value and the commands of linux/ethtool.h. */
struct value {
	uint32_t command, data;
};

struct feature {
	const char *name;
	uint32_t get, set;
};

static const struct feature features[] = {
	{"rx", 0x14, 0x15},  {"tx", 0x16, 0x17},  {"sg", 0x18, 0x19},
	{"tso", 0x1e, 0x1f}, {"gso", 0x23, 0x24}, {"gro", 0x2b, 0x2c},
};

#define N_FEATURES (sizeof(features) / sizeof(features[0]))

static int call(int fd, const char *iface, struct value *v)
{
	struct ifreq r = {.ifr_data = (void *)v};

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", iface);
	return ioctl(fd, SIOCETHTOOL, &r) ? -errno : 0;
}

static int set_one(int fd, const char *iface, const char *name, const char *to)
{
	bool on = !strcmp(to, "on");

	if (!on && strcmp(to, "off") != 0)
		return -EINVAL;
	for (size_t i = 0; i < N_FEATURES; i++) {
		struct value v = {features[i].set, on};

		if (strcmp(name, features[i].name) != 0)
			continue;
		int r = call(fd, iface, &v);

		v = (struct value){.command = features[i].get};
		if (!r)
			r = call(fd, iface, &v);
		return !r && v.data != on ? -EIO : r;
	}
	return -EINVAL;
}

static void report_all(int fd, const char *iface)
{
	char line[128] = "";
	size_t n = 0;

	for (size_t i = 0; i < N_FEATURES; i++) {
		struct value v = {.command = features[i].get};

		if (call(fd, iface, &v))
			continue;
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %s %s",
				      features[i].name, v.data ? "on" : "off");
	}
	report("offload %s%s", iface, line);
}

int offload_set(const char *iface, int n_words, char **words)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = n_words % 2 ? -EINVAL : 0;

	if (fd < 0)
		return -errno;
	for (int i = 0; i + 1 < n_words && !r; i += 2)
		r = set_one(fd, iface, words[i], words[i + 1]);
	if (!r)
		report_all(fd, iface);
	(void)close(fd);
	return r;
}

int offload_main(int argc, char **argv)
{
	int r = argc > 1 ? offload_set(argv[1], argc - 2, argv + 2) : -EINVAL;

	if (r)
		report("offload: %s", strerror(-r));
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
