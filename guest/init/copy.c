/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/init/wire.h"

#define PERMISSIONS 07777

/* Files of /proc say that they have no bytes. */
static int send_file(int conn, int fd, const struct stat *st, const char *path,
		     struct wire *tx)
{
	uint64_t size = (uint64_t)st->st_size, sent = 0;
	int r;

	wire_put32(wire_data(tx), st->st_mode & PERMISSIONS);
	wire_put32(wire_data(tx) + 4, (uint32_t)size);
	wire_put32(wire_data(tx) + 8, (uint32_t)(size >> 32));
	wire_set(tx, WIRE_FILE, 12);
	for (;;) {
		r = wire_send(conn, tx, 0);
		if (r < 0)
			return r;
		ssize_t n = read(fd, wire_data(tx), WIRE_MAX);

		if (n < 0)
			return wire_error(tx, errno, "read '%s'", path);
		if (!n)
			break;
		sent += (uint64_t)n;
		wire_set(tx, WIRE_DATA, (size_t)n);
	}
	if (size && sent != size)
		return wire_error(tx, EBUSY, "'%s' changes", path);
	wire_set(tx, WIRE_DONE, 0);
	return 0;
}

int copy_get(int conn, const char *path, struct wire *tx)
{
	/* The open of a FIFO would wait. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return wire_error(tx, errno, "open '%s'", path);
	if (fstat(fd, &st))
		r = wire_error(tx, errno, "stat '%s'", path);
	else if (!S_ISREG(st.st_mode))
		r = wire_error(tx, EINVAL, "'%s' is no regular file", path);
	else
		r = send_file(conn, fd, &st, path, tx);
	(void)close(fd);
	return r;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int take_file(int conn, int fd, uint64_t size, struct wire *rx)
{
	while (size) {
		wire_clear(rx);
		int r = wire_take(conn, rx, 0);

		if (r < 0)
			return r;
		size_t len = wire_len(rx);

		if (wire_type(rx) != WIRE_DATA || !len || len > size)
			return -EPROTO;
		r = write_all(fd, wire_data(rx), len);
		if (r)
			return r;
		size -= len;
	}
	return 0;
}

int copy_put(int conn, const char *path, uint32_t mode, uint64_t size,
	     struct wire *rx, struct wire *tx)
{
	char name[PATH_MAX], temp[PATH_MAX];
	int n = snprintf(temp, sizeof(temp), "%s.XXXXXX", path);

	if (n >= (int)sizeof(temp))
		return wire_error(tx, ENAMETOOLONG, "make a file");
	/* The path lies in rx. */
	(void)snprintf(name, sizeof(name), "%s", path);
	if (mode & ~(uint32_t)PERMISSIONS)
		return wire_error(tx, EINVAL, "mode %#o", mode);
	int fd = mkostemp(temp, O_CLOEXEC);

	if (fd < 0)
		return wire_error(tx, errno, "make '%s'", name);
	int r = take_file(conn, fd, size, rx);

	if (!r && (fchmod(fd, mode) || fsync(fd)))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	if (!r && rename(temp, name))
		r = -errno;
	if (!r) {
		wire_set(tx, WIRE_DONE, 0);
		return 0;
	}
	(void)unlink(temp);
	return r == -ECONNRESET ? r : wire_error(tx, -r, "write '%s'", name);
}
