/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h: what the host can ask of a guest through its vsock device: run a
 * command, copy a file in or out. docs/agent.md is the protocol.
 *
 * Each connection is one request and has a process of its own, which ends with
 * it. The agent is PID 1 and reaps whatever ends.
 */
#ifndef GUEST_INIT_AGENT_H
#define GUEST_INIT_AGENT_H

#define AGENT_PORT     1024
#define AGENT_ARGS_MAX 1024 /* of a command, and as many of its environment */

/*
 * Listen on a vsock port and serve until SIGTERM or SIGUSR2, which busybox's
 * reboot and poweroff send to PID 1. 0 or negative errno.
 */
int agent_run(unsigned int port);

/*
 * Serve one connection, blocking, until its client closes it. Changes the
 * environment and the working directory of the process, and ignores SIGPIPE.
 */
void agent_serve(int conn);

#endif
