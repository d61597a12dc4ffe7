/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h: a program that the agent runs for a client.
 *
 * It is the leader of a process group of its own. The group is killed when the
 * client goes away, even half, or when the time is over. What the program
 * leaves behind otherwise goes on; nobody reads its output any more.
 */
#ifndef GUEST_INIT_COMMAND_H
#define GUEST_INIT_COMMAND_H

#include <stdint.h>

struct wire;

/* How it ended; the value beside it is the status, or the signal's number. */
enum command_end { COMMAND_EXITED, COMMAND_KILLED, COMMAND_TIMED_OUT };

struct command {
	char **argv;	   /* looked for in the PATH of the environment */
	uint32_t limit_ms; /* 0: none */
};

/*
 * Run it with the working directory and the environment of this process.
 * Standard input comes from conn in DATA messages, output goes there as it
 * comes. argv may lie in rx, which is used once the program runs. 0: the last
 * message stands in tx; negative errno: nobody is there to take one.
 */
int command_run(int conn, const struct command *c, struct wire *rx,
		struct wire *tx);

#endif
