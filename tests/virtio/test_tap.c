/* SPDX-License-Identifier: Apache-2.0 */
/* What tap_open() says, and what it leaves to the kernel. */
#include <errno.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/num.h"
#include "tests/virtio/tap_env.h"
#include "virtio/net_impl.h"

#define LAST  " Check our documentation on setting up the network devices."
#define FIRST "Could not create the network device: Open tap device failed: "

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tap_is_as_the_device_needs_it),
		cmocka_unit_test(names_are_the_kernels),
		cmocka_unit_test(errors_are_those_of_the_contract),
		cmocka_unit_test(one_that_may_not_be_used_says_what_is_needed),
	};

	if (!enter_network())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
