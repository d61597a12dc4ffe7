/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void wire_put32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

uint32_t wire_get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

uint32_t wire_type(const struct wire *w)
{
	return wire_get32(w->bytes);
}

uint32_t wire_len(const struct wire *w)
{
	return wire_get32(w->bytes + 4);
}

uint8_t *wire_data(struct wire *w)
{
	return w->bytes + WIRE_HEAD;
}

void wire_set(struct wire *w, enum wire_type type, size_t len)
{
	w->at = 0;
	wire_put32(w->bytes, type);
	wire_put32(w->bytes + 4, (uint32_t)len);
}

int wire_error(struct wire *w, int error, const char *fmt, ...)
{
	char *text = (char *)wire_data(w) + 4;
	va_list ap;

	wire_put32(wire_data(w), (uint32_t)error);
	va_start(ap, fmt);
	(void)vsnprintf(text, WIRE_MAX / 2, fmt, ap);
	va_end(ap);
	size_t n = strlen(text);

	(void)snprintf(text + n, WIRE_MAX / 4, ": %s", strerror(error));
	wire_set(w, WIRE_ERROR, 4 + strlen(text));
	return 0;
}

void wire_clear(struct wire *w)
{
	w->at = 0;
}

/* Up to where the message is known to go. */
static size_t end_of(const struct wire *w)
{
	return w->at < WIRE_HEAD ? WIRE_HEAD : WIRE_HEAD + wire_len(w);
}

static int stopped(void)
{
	return errno == EAGAIN ? 0 : -errno;
}

int wire_send(int fd, struct wire *w, int flags)
{
	size_t end = WIRE_HEAD + wire_len(w);

	while (w->at < end) {
		ssize_t n = send(fd, w->bytes + w->at, end - w->at,
				 flags | MSG_NOSIGNAL);

		if (n < 0)
			return stopped();
		w->at += (size_t)n;
	}
	return 1;
}

int wire_take(int fd, struct wire *w, int flags)
{
	while (w->at < end_of(w)) {
		if (w->at >= WIRE_HEAD && wire_len(w) > WIRE_MAX)
			return -EMSGSIZE;
		ssize_t n =
			recv(fd, w->bytes + w->at, end_of(w) - w->at, flags);

		if (n <= 0)
			return n ? stopped() : -ECONNRESET;
		w->at += (size_t)n;
	}
	return 1;
}
