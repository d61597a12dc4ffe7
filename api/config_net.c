/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connects the guest with others: interfaces, vsock, metadata service.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/config.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "virtio/tap.h"
#include "virtio/vsock.h"

#define MIN_MTU 68

/* ---- interfaces ---- */

void iface_exit(struct iface *n)
{
	schema_exit(&body_net_schema, &n->body);
	fd_close(&n->tap);
}

struct iface *config_find_net(struct config *c, const struct text *id)
{
	for (unsigned int i = 0; i < c->n_ifaces; i++) {
		if (text_equal(&c->iface[i].body.iface_id, id))
			return &c->iface[i];
	}
	return NULL;
}

static bool mac_in_use(const struct config *c, const struct iface *same,
		       const uint8_t mac[6])
{
	for (unsigned int i = 0; i < c->n_ifaces; i++) {
		const struct iface *n = &c->iface[i];

		if (n != same && n->body.has_guest_mac &&
		    !memcmp(n->body.guest_mac, mac, 6))
			return true;
	}
	return false;
}

static int check_net(const struct config *c, const struct iface *same,
		     const struct body_net *b, struct err *e)
{
	const uint8_t *m = b->guest_mac;

	if (b->has_guest_mac && mac_in_use(c, same, m))
		return err_set(e, -EEXIST,
			       "The MAC address is already in use: "
			       "%02x:%02x:%02x:%02x:%02x:%02x",
			       m[0], m[1], m[2], m[3], m[4], m[5]);
	if (b->has_mtu && b->mtu < MIN_MTU)
		return err_set(e, -EINVAL,
			       "Could not create the network device: MTU %u is "
			       "out of range [68, 65535]",
			       b->mtu);
	if (!same && c->n_ifaces == CONFIG_MAX_IFACES)
		return err_code(e, -EMFILE,
				"Could not create the network device");
	return 0;
}

/*
 * A PUT that fails leaves the interface that was there. So the new TAP is
 * opened before the old one is closed, unless they are the same.
 */
static int open_tap(struct iface *same, struct iface *new, struct err *e)
{
	struct text *name = &new->body.host_dev_name;
	char actual[TAP_NAME_BYTES] = "";

	new->tap = tap_open(name->s, name->len, actual, e);
	name->len = strlen(name->s);
	if (new->tap == -EBUSY &&
	    same &&text_equal(name, &same->body.host_dev_name))
		new->tap = fd_steal(&same->tap);
	if (new->tap < 0)
		return new->tap;
	/* The kernel may have chosen it; a snapshot needs the name, too. */
	if (strcmp(actual, name->s) == 0)
		return 0;
	return text_set(name, actual, e);
}

int config_put_net(struct config *c, struct body_net *b, struct err *e)
{
	struct iface *same = config_find_net(c, &b->iface_id);
	struct iface new = {.body = *b, .tap = -1};
	int ret;

	c->configured = true;
	*b = (struct body_net){0};
	ret = check_net(c, same, &new.body, e);
	if (ret == 0)
		ret = open_tap(same, &new, e);
	if (ret < 0) {
		iface_exit(&new);
		return ret;
	}
	/* One that comes again goes to the end. */
	if (same) {
		iface_exit(same);
		c->n_ifaces--;
		memmove(same, same + 1,
			(size_t)(&c->iface[c->n_ifaces] - same) *
				sizeof(*same));
	}
	c->iface[c->n_ifaces++] = new;
	return 0;
}

/* ---- vsock ---- */

void vsock_backend_exit(struct vsock_backend *v)
{
	schema_exit(&body_vsock_schema, &v->body);
	fd_close(&v->listener);
}

/*
 * Each connection is a descriptor, and the limit is not only ours to choose:
 * what was asked for must fit, the default takes what there is.
 */
static int check_connections(const struct body_vsock *b, uint32_t *max,
			     struct err *e)
{
	uint32_t wanted =
		b->has_max_connections ? b->max_connections : VSOCK_CONNECTIONS;
	rlim_t needed = (rlim_t)wanted + FDS_END;
	struct rlimit lim;

	if (wanted == 0 || wanted > VSOCK_CONNECTIONS_MAX)
		return err_set(e, -EINVAL,
			       "max_connections is %" PRIu32
			       ", it must be from 1 to %d",
			       wanted, VSOCK_CONNECTIONS_MAX);
	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "Failed to read the limit on open files");
	if (lim.rlim_cur < needed) {
		lim.rlim_cur = MIN(needed, lim.rlim_max);
		if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
			return err_sys(e, "Failed to raise the limit on open "
					  "files");
	}
	if (lim.rlim_cur < needed && b->has_max_connections)
		return err_set(e, -EMFILE,
			       "max_connections %" PRIu32 " needs a limit on "
			       "open files (RLIMIT_NOFILE) of %ju, it is %ju",
			       wanted, (uintmax_t)needed,
			       (uintmax_t)lim.rlim_cur);
	*max = (uint32_t)MAX(MIN(lim.rlim_cur, needed) - FDS_END, 1);
	return 0;
}

/* Whether the path names the socket that is listened on. */
static bool is_socket_of(const struct vsock_backend *v, const char *path)
{
	struct stat st;

	return v->listener >= 0 && v->ino != 0 && lstat(path, &st) == 0 &&
	       st.st_dev == v->dev && st.st_ino == v->ino;
}

/* *addr for a path; "" lets the kernel choose an abstract name. */
static int make_addr(const struct text *path, struct sockaddr_un *addr,
		     socklen_t *len, struct err *e)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path->s) != path->len)
		return err_set(e, -EINVAL,
			       "paths must not contain interior null bytes");
	if (path->len >= sizeof(addr->sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "path must be shorter than SUN_LEN");
	memcpy(addr->sun_path, path->s, path->len);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			   (path->len ? path->len + 1 : 0));
	return 0;
}

static int listen_on(const struct sockaddr_un *addr, socklen_t len)
{
	cleanup_fd int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)addr, len) < 0)
		return -errno;
	if (listen(fd, SOMAXCONN) == 0)
		return fd_steal(&fd);

	int ret = -errno;

	if (addr->sun_path[0])
		(void)unlink(addr->sun_path);
	return ret;
}

/* The same socket again, under whatever name, just stays. */
static int open_listener(struct vsock_backend *old, struct vsock_backend *new,
			 struct err *e)
{
	struct sockaddr_un addr = {0};
	struct stat st;
	socklen_t len = 0;
	char os[96];
	int ret = make_addr(&new->body.uds_path, &addr, &len, e);

	if (ret < 0)
		return ret;
	new->listener = listen_on(&addr, len);
	if (new->listener == -EADDRINUSE && is_socket_of(old, addr.sun_path)) {
		new->listener = fd_steal(&old->listener);
		new->dev = old->dev;
		new->ino = old->ino;
		return 0;
	}
	if (new->listener < 0) {
		err_os_text(-new->listener, os, sizeof(os));
		return err_set(e, new->listener, "%s", os);
	}
	if (addr.sun_path[0] && lstat(addr.sun_path, &st) == 0) {
		new->dev = st.st_dev;
		new->ino = st.st_ino;
	}
	return 0;
}

int config_put_vsock(struct config *c, struct body_vsock *b, struct err *e)
{
	struct vsock_backend new = {.body = *b, .listener = -1};
	int ret;

	c->configured = true;
	*b = (struct body_vsock){0};
	ret = check_connections(&new.body, &new.max_connections, e);
	if (ret == 0) {
		ret = open_listener(&c->vsock, &new, e);
		if (ret < 0)
			(void)err_wrap(e, "Cannot create backend for vsock "
					  "device: Error binding to the "
					  "host-side Unix socket: ");
	}
	if (ret < 0) {
		vsock_backend_exit(&new);
		return ret;
	}
	config_unlink_vsock(c);
	vsock_backend_exit(&c->vsock);
	c->vsock = new;
	return 0;
}

void config_unlink_vsock(const struct config *c)
{
	const char *path = c->vsock.body.uds_path.s;

	if (path && is_socket_of(&c->vsock, path))
		(void)unlink(path);
}

/* ---- metadata service ---- */

bool config_has_mmds(const struct config *c)
{
	for (unsigned int i = 0; i < c->n_ifaces; i++) {
		if (c->iface[i].mmds)
			return true;
	}
	return false;
}

/* RFC 3927, 2.1: not the first and the last 256 of 169.254/16. */
static bool is_link_local(uint32_t ipv4)
{
	return ipv4 >= 0xa9fe0100 && ipv4 <= 0xa9fefeff;
}

static int check_mmds(struct config *c, const struct body_mmds *b,
		      struct err *e)
{
	if (b->has_ipv4_address && !is_link_local(b->ipv4_address))
		return err_set(e, -EINVAL,
			       "The MMDS IPv4 address is not link local.");
	if (b->n_network_interfaces == 0)
		return err_set(e, -EINVAL,
			       "The list of network interface IDs that allow "
			       "forwarding MMDS requests is empty.");
	for (unsigned int i = 0; i < b->n_network_interfaces; i++) {
		if (!config_find_net(c, &b->network_interfaces[i]))
			return err_set(e, -ENOENT,
				       "The list of network interface IDs "
				       "provided contains at least one ID that "
				       "does not correspond to any existing "
				       "network interface.");
	}
	return 0;
}

static bool is_named(const struct body_mmds *b, const struct text *id)
{
	for (unsigned int i = 0; i < b->n_network_interfaces; i++) {
		if (text_equal(&b->network_interfaces[i], id))
			return true;
	}
	return false;
}

int config_put_mmds(struct config *c, const struct body_mmds *b, struct err *e)
{
	int ret = check_mmds(c, b, e);

	c->configured = true;
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < c->n_ifaces; i++)
		c->iface[i].mmds = is_named(b, &c->iface[i].body.iface_id);
	c->mmds.version = (enum mmds_version)b->version;
	c->mmds.imds_compat = b->imds_compat;
	c->mmds.ipv4 =
		b->has_ipv4_address ? b->ipv4_address : MMDS_IPV4_DEFAULT;
	return 0;
}
