/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest/init/wire.h"

enum { STDIN, STDOUT, STDERR, STREAMS };

struct running {
	int conn;
	int pipe[STREAMS]; /* our ends; -1: closed */
	int pidfd;
	pid_t pid;
	int64_t end_ms; /* when its time is over; INT64_MAX: never */
	struct wire *rx, *tx;
	size_t fed;   /* bytes of the message in rx that it was given */
	bool feeding; /* there is a message in rx */
	bool sending; /* there is one in tx */
	bool ended, timed_out, broken;
	int turn; /* the stream that is read first */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* theirs becomes fd 0, 1 and 2 of the program, in a group of its own. */
static int spawn(char **argv, const int theirs[STREAMS], pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, pipe;
	int r = 0;

	(void)sigemptyset(&none);
	(void)sigemptyset(&pipe);
	(void)sigaddset(&pipe, SIGPIPE);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &pipe);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
						      POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
	(void)posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < STREAMS && !r; i++)
		r = posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
	if (!r)
		r = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attr);
	return -r;
}

static int start(struct running *r, char **argv)
{
	int theirs[STREAMS] = {-1, -1, -1};
	int error = 0;

	for (int i = 0; i < STREAMS && !error; i++) {
		int ends[2];
		bool writes = i == STDIN;

		if (pipe2(ends, O_CLOEXEC)) {
			error = -errno;
			break;
		}
		theirs[i] = ends[!writes];
		r->pipe[i] = ends[writes];
		if (fcntl(r->pipe[i], F_SETFL, O_NONBLOCK))
			error = -errno;
	}
	if (!error)
		error = spawn(argv, theirs, &r->pid);
	for (int i = 0; i < STREAMS; i++)
		close_fd(&theirs[i]);
	if (error)
		return error;
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	return r->pidfd < 0 ? -errno : 0;
}

static void kill_group(const struct running *r)
{
	(void)kill(-r->pid, SIGKILL);
}

/*
 * Put output into tx, if there is any. Once the program has ended, all that it
 * wrote is in the pipes, and one read takes what a pipe holds.
 */
static bool next_output(struct running *r)
{
	for (int i = 0; i < 2; i++) {
		int k = r->turn;

		r->turn = STDOUT + STDERR - k;
		if (r->pipe[k] < 0)
			continue;
		ssize_t n = read(r->pipe[k], wire_data(r->tx), WIRE_MAX);

		if (!n || r->ended)
			close_fd(&r->pipe[k]);
		if (n <= 0)
			continue;
		wire_set(r->tx, k == STDOUT ? WIRE_OUT : WIRE_ERR, (size_t)n);
		return true;
	}
	return false;
}

/* Standard input that the program has closed is thrown away. */
static void feed(struct running *r)
{
	size_t len = wire_len(r->rx);

	while (r->pipe[STDIN] >= 0 && r->fed < len) {
		ssize_t n = write(r->pipe[STDIN], wire_data(r->rx) + r->fed,
				  len - r->fed);

		if (n >= 0)
			r->fed += (size_t)n;
		else if (errno == EAGAIN)
			return;
		else
			close_fd(&r->pipe[STDIN]);
	}
	if (!len)
		close_fd(&r->pipe[STDIN]);
	r->feeding = false;
	r->fed = 0;
	wire_clear(r->rx);
}

static int take_input(struct running *r)
{
	int n = wire_take(r->conn, r->rx, MSG_DONTWAIT);

	if (n == -EMSGSIZE || (n > 0 && wire_type(r->rx) != WIRE_DATA)) {
		r->broken = true;
		kill_group(r);
		return 0;
	}
	r->feeding = n > 0;
	return n < 0 ? n : 0;
}

static int time_left(const struct running *r)
{
	if (r->timed_out || r->ended || r->end_ms == INT64_MAX)
		return -1;
	int64_t left = r->end_ms - now_ms();

	if (left < 0)
		left = 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

/* Wait until something can go on. */
static int wait_for_any(struct running *r)
{
	bool takes = !r->feeding && !r->broken;
	struct pollfd p[] = {
		{.fd = r->conn,
		 .events = (short)(POLLRDHUP | (takes ? POLLIN : 0) |
				   (r->sending ? POLLOUT : 0))},
		{.fd = r->feeding ? r->pipe[STDIN] : -1, .events = POLLOUT},
		{.fd = r->sending ? -1 : r->pipe[STDOUT], .events = POLLIN},
		{.fd = r->sending ? -1 : r->pipe[STDERR], .events = POLLIN},
		{.fd = r->ended ? -1 : r->pidfd, .events = POLLIN},
	};

	if (poll(p, sizeof(p) / sizeof(p[0]), time_left(r)) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[0].revents & (POLLRDHUP | POLLHUP | POLLERR))
		return -ECONNRESET;
	r->ended |= p[4].revents != 0;
	return p[0].revents & POLLIN ? take_input(r) : 0;
}

/* One round of what is possible now. 1: it is over. */
static int go_on(struct running *r)
{
	if (!r->sending)
		r->sending = next_output(r);
	if (!r->sending && r->ended)
		return 1;
	int n = wait_for_any(r);

	if (n < 0)
		return n;
	if (r->feeding)
		feed(r);
	if (r->sending) {
		n = wire_send(r->conn, r->tx, MSG_DONTWAIT);
		r->sending = !n;
	}
	if (!time_left(r)) {
		r->timed_out = true;
		kill_group(r);
	}
	return n < 0 ? n : 0;
}

/* The last message, once it is over. */
static int report_end(struct running *r)
{
	enum command_end how = COMMAND_EXITED;
	int status;

	if (waitpid(r->pid, &status, 0) < 0)
		return wire_error(r->tx, errno, "wait");
	if (r->broken)
		return wire_error(r->tx, EPROTO, "no DATA message");
	if (r->timed_out)
		how = COMMAND_TIMED_OUT;
	else if (WIFSIGNALED(status))
		how = COMMAND_KILLED;
	wire_put32(wire_data(r->tx), how);
	wire_put32(wire_data(r->tx) + 4,
		   (uint32_t)(WIFSIGNALED(status) ? WTERMSIG(status)
						  : WEXITSTATUS(status)));
	wire_set(r->tx, WIRE_EXIT, 8);
	return 0;
}

/* Copes with one that did not start, or not wholly. */
static void give_up(struct running *r)
{
	if (r->pid > 0) {
		kill_group(r);
		(void)waitpid(r->pid, NULL, 0);
	}
}

int command_run(int conn, const struct command *c, struct wire *rx,
		struct wire *tx)
{
	struct running r = {
		.conn = conn,
		.pipe = {-1, -1, -1},
		.pidfd = -1,
		.end_ms = c->limit_ms ? now_ms() + c->limit_ms : INT64_MAX,
		.rx = rx,
		.tx = tx,
		.turn = STDOUT,
	};
	int n = start(&r, c->argv);

	if (n < 0) {
		give_up(&r);
		n = wire_error(tx, -n, "run '%s'", c->argv[0]);
	} else {
		wire_clear(rx);
		do
			n = go_on(&r);
		while (!n);
		if (n > 0)
			n = report_end(&r);
		else
			give_up(&r);
	}
	for (int i = 0; i < STREAMS; i++)
		close_fd(&r.pipe[i]);
	close_fd(&r.pidfd);
	return n;
}
