/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "virtio/net_impl.h"

_Static_assert(TAP_NAME_BYTES == IFNAMSIZ, "the kernel's");

#define FAILED "Could not create the network device: Open tap device failed: "

static int set_up(int fd, char name[IFNAMSIZ], struct err *e)
{
	const int hdr_bytes = NET_HDR_BYTES, little_endian = 1;
	struct ifreq req = {
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
	};

	memcpy(req.ifr_name, name, IFNAMSIZ);
	if (ioctl(fd, TUNSETIFF, &req) < 0) {
		int ret = -errno;
		char why[64];

		err_os_text(-ret, why, sizeof(why));
		return err_set(
			e, ret,
			FAILED "Error while creating ifreq structure: "
			       "%s. Invalid TUN/TAP Backend provided by "
			       "%s. Check our documentation on setting "
			       "up the network devices.%s",
			why, name,
			ret == -EPERM ? " The interface must exist and have no "
					"owner, or the user or the group of "
					"this process as its owner."
				      : "");
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0 ||
	    ioctl(fd, TUNSETVNETLE, &little_endian) < 0)
		return err_sys(e, FAILED "Error while setting the vnet header");
	memcpy(name, req.ifr_name, IFNAMSIZ);
	return 0;
}

int tap_open(const char *name, size_t len, char actual[TAP_NAME_BYTES],
	     struct err *e)
{
	if (len >= TAP_NAME_BYTES)
		return err_set(e, -EINVAL, FAILED "Invalid interface name");
	/* A NUL inside ends the name, for the kernel and in the message. */
	memset(actual, 0, TAP_NAME_BYTES);
	memcpy(actual, name, len);

	cleanup_fd int fd =
		open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, FAILED "Couldn't open /dev/net/tun");

	int ret = set_up(fd, actual, e);

	return ret < 0 ? ret : fd_steal(&fd);
}

/*
 * The offset means nothing to a TAP. It makes these the system calls that
 * drives use where io_uring is forbidden, so that filters need not allow more.
 */
ssize_t tap_read(int fd, const struct iovec *iov, unsigned int n_iov)
{
	ssize_t ret = preadv(fd, iov, (int)n_iov, 0);

	return ret < 0 ? -errno : ret;
}

ssize_t tap_write(int fd, const struct iovec *iov, unsigned int n_iov)
{
	ssize_t ret = pwritev(fd, iov, (int)n_iov, 0);

	return ret < 0 ? -errno : ret;
}

int tap_set_offload(int fd, uint64_t features)
{
	static const struct {
		unsigned int feature;
		unsigned long offload;
	} map[] = {
		{NET_F_GUEST_CSUM, TUN_F_CSUM},
		{NET_F_GUEST_TSO4, TUN_F_TSO4},
		{NET_F_GUEST_TSO6, TUN_F_TSO6},
		{NET_F_GUEST_UFO, TUN_F_UFO},
	};
	unsigned long offload = 0;

	/* All others need the first (section 5.1.3.1). */
	if (features & VIRTIO_FEATURE(NET_F_GUEST_CSUM))
		for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
			if (features & VIRTIO_FEATURE(map[i].feature))
				offload |= map[i].offload;
	return ioctl(fd, TUNSETOFFLOAD, offload) < 0 ? -errno : 0;
}
