/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/init/command.h"
#include "guest/init/copy.h"
#include "guest/init/wire.h"

#define BACKLOG	     128
#define REQUEST_HEAD 16 /* version and three more words */
#define CID_ANY	     UINT32_MAX

/* linux/vm_sockets.h, which musl does not come with. */
struct vsock_address {
	sa_family_t family;
	uint16_t zero;
	uint32_t port, cid;
	uint8_t flags, pad[3];
};

_Static_assert(sizeof(struct vsock_address) == sizeof(struct sockaddr),
	       "struct sockaddr_vm");

/* A request's strings, at least one, must fill all that follows its head. */
static bool split(struct wire *rx, char **strings, size_t count)
{
	char *p = (char *)wire_data(rx) + REQUEST_HEAD;
	char *end = (char *)wire_data(rx) + wire_len(rx);

	size_t i = 0;

	do {
		char *nul = memchr(p, 0, (size_t)(end - p));

		if (!nul)
			return false;
		strings[i] = p;
		p = nul + 1;
	} while (++i < count);
	return p == end;
}

/* The strings: directory or "", arguments, environment. */
static int run(int conn, struct wire *rx, struct wire *tx)
{
	const uint8_t *head = wire_data(rx);
	uint32_t n_args = wire_get32(head + 8), n_env = wire_get32(head + 12);
	char *strings[1 + 2 * AGENT_ARGS_MAX];

	if (!n_args || n_args > AGENT_ARGS_MAX || n_env > AGENT_ARGS_MAX)
		return wire_error(tx, E2BIG, "%u arguments, %u variables",
				  n_args, n_env);
	if (!split(rx, strings, 1 + (size_t)n_args + n_env))
		return wire_error(tx, EPROTO, "malformed request");
	if (strings[0][0] && chdir(strings[0]))
		return wire_error(tx, errno, "chdir '%s'", strings[0]);
	for (uint32_t i = 0; i < n_env; i++)
		if (putenv(strings[1 + n_args + i]))
			return wire_error(tx, errno, "set '%s'",
					  strings[1 + n_args + i]);
	/* The arguments' end, where the environment began. */
	strings[1 + n_args] = NULL;
	struct command c = {
		.argv = strings + 1,
		.limit_ms = wire_get32(head + 4),
	};
	return command_run(conn, &c, rx, tx);
}

static int answer(int conn, struct wire *rx, struct wire *tx)
{
	const uint8_t *head = wire_data(rx);
	char *path;

	if (wire_len(rx) < REQUEST_HEAD)
		return wire_error(tx, EPROTO, "malformed request");
	if (wire_get32(head) != WIRE_VERSION)
		return wire_error(tx, EPROTONOSUPPORT, "version %u, not %u",
				  wire_get32(head), WIRE_VERSION);
	switch (wire_type(rx)) {
	case WIRE_RUN:
		return run(conn, rx, tx);
	case WIRE_GET:
		if (split(rx, &path, 1))
			return copy_get(conn, path, tx);
		break;
	case WIRE_PUT:
		if (split(rx, &path, 1))
			return copy_put(conn, path, wire_get32(head + 4),
					(uint64_t)wire_get32(head + 12) << 32 |
						wire_get32(head + 8),
					rx, tx);
		break;
	default:
		break;
	}
	return wire_error(tx, EPROTO, "malformed request");
}

/* Closing with bytes unread would reset the connection under the answer. */
static void linger(int conn, struct wire *rx)
{
	(void)shutdown(conn, SHUT_WR);
	while (recv(conn, rx->bytes, sizeof(rx->bytes), 0) > 0)
		;
}

void agent_serve(int conn)
{
	struct wire rx, tx;

	(void)signal(SIGPIPE, SIG_IGN);
	wire_clear(&rx);
	wire_clear(&tx);
	int r = wire_take(conn, &rx, 0);

	if (r == -EMSGSIZE)
		r = wire_error(&tx, EMSGSIZE, "request");
	else if (r > 0)
		r = answer(conn, &rx, &tx);
	if (!r && wire_send(conn, &tx, 0) > 0)
		linger(conn, &rx);
}

static int listen_on(unsigned int port)
{
	struct vsock_address a = {
		.family = AF_VSOCK, .port = port, .cid = CID_ANY};
	int fd =
		socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) ||
	    listen(fd, BACKLOG)) {
		int error = -errno;

		(void)close(fd);
		return error;
	}
	return fd;
}

/* Without memory for a process the client finds its connection closed. */
static void take_client(int listener, int signals, const sigset_t *mask)
{
	int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (conn < 0)
		return;
	if (!fork()) {
		(void)close(listener);
		(void)close(signals);
		(void)sigprocmask(SIG_SETMASK, mask, NULL);
		agent_serve(conn);
		_exit(0);
	}
	(void)close(conn);
}

/* Whether to go on. */
static bool take_signal(int signals)
{
	struct signalfd_siginfo s;

	if (read(signals, &s, sizeof(s)) != sizeof(s))
		return true;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return s.ssi_signo == SIGCHLD;
}

static void serve(int listener, int signals, const sigset_t *mask)
{
	struct pollfd p[] = {{.fd = listener, .events = POLLIN},
			     {.fd = signals, .events = POLLIN}};

	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && !take_signal(signals))
			return;
		if (p[0].revents)
			take_client(listener, signals, mask);
	}
}

int agent_run(unsigned int port)
{
	int listener = listen_on(port);
	sigset_t ours, before;
	int error = 0;

	if (listener < 0)
		return listener;
	(void)setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 0);
	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGCHLD);
	(void)sigaddset(&ours, SIGTERM);
	(void)sigaddset(&ours, SIGUSR2);
	(void)sigprocmask(SIG_BLOCK, &ours, &before);
	int signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);

	if (signals < 0)
		error = -errno;
	else
		serve(listener, signals, &before);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(signals);
	(void)close(listener);
	return error;
}
