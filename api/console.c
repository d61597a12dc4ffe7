/* SPDX-License-Identifier: Apache-2.0 */
#include "api/console.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

/*
 * The terminal and its modes belong to the process, not to a machine, and are
 * put back when it ends: hence state of the file.
 */
static struct {
	struct termios terminal;
	int flags[2]; /* of descriptors 0 and 1 */
	bool changed[2];
	bool raw;
} saved;

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_NONBLOCK))
		return;
	saved.flags[fd] = flags;
	saved.changed[fd] = fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static void set_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved.terminal) < 0)
		return;
	raw = saved.terminal;
	cfmakeraw(&raw);
	/* Ctrl-C ends the monitor; output is the log's too and wants CR LF. */
	raw.c_lflag |= ISIG;
	raw.c_oflag |= OPOST;
	saved.raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void console_open_output(void)
{
	set_nonblocking(STDOUT_FILENO);
}

void console_open_input(void)
{
	set_nonblocking(STDIN_FILENO);
	set_raw();
}

void console_close(void)
{
	if (saved.raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &saved.terminal);
	saved.raw = false;
	for (int fd = 0; fd < 2; fd++) {
		if (saved.changed[fd])
			(void)fcntl(fd, F_SETFL, saved.flags[fd]);
		saved.changed[fd] = false;
	}
}
