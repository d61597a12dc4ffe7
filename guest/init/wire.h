/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h: the messages of the agent; docs/agent.md describes them.
 *
 * A message is a head of 8 bytes (type and length of what follows, 32 bits,
 * little-endian) and at most WIRE_MAX bytes. A struct wire holds one of them,
 * and how much of it has gone through the socket, so that both directions may
 * stop anywhere and go on later.
 */
#ifndef GUEST_INIT_WIRE_H
#define GUEST_INIT_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 1
#define WIRE_HEAD    8UL    /* lengths are added to it */
#define WIRE_MAX     65536U /* also what a pipe holds */

enum wire_type {
	/* Requests: the first message of a client. */
	WIRE_RUN = 1,
	WIRE_GET = 2,
	WIRE_PUT = 3,
	/* Bytes of a file, or for standard input; for this, none: its end. */
	WIRE_DATA = 4,
	/* Of the agent. The last three are the last message. */
	WIRE_OUT = 16,
	WIRE_ERR = 17,
	WIRE_FILE = 18,
	WIRE_EXIT = 19,
	WIRE_DONE = 20,
	WIRE_ERROR = 21,
};

struct wire {
	size_t at; /* bytes of it that were sent or taken */
	uint8_t bytes[WIRE_HEAD + WIRE_MAX];
};

void wire_put32(uint8_t *p, uint32_t value);
uint32_t wire_get32(const uint8_t *p);

uint32_t wire_type(const struct wire *w);
uint32_t wire_len(const struct wire *w);
uint8_t *wire_data(struct wire *w);

/* Make it a message of len bytes of which none was sent; data is untouched. */
void wire_set(struct wire *w, enum wire_type type, size_t len);

/*
 * Make it the error that the client is told: the number and text of error, and
 * what failed. Returns 0.
 */
int wire_error(struct wire *w, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Make it empty, for wire_take() to begin a message. */
void wire_clear(struct wire *w);

/*
 * Send or take what is left of the message, with the flags of send() and
 * recv(). 1: all of it; 0: the rest would block; negative errno, -ECONNRESET
 * for an end, -EMSGSIZE for one that is too long.
 */
int wire_send(int fd, struct wire *w, int flags);
int wire_take(int fd, struct wire *w, int flags);

#endif
