/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h: what signals do to the monitor.
 *
 * SIGTERM, SIGINT and SIGQUIT keep their default action: clients expect death
 * by signal. SIGPIPE is counted and nothing else. SIGHUP, SIGBUS, SIGSEGV,
 * SIGXFSZ, SIGXCPU and SIGILL write a log line and a last line of metrics and
 * end the process with Firecracker's exit codes.
 */
#ifndef API_SIGNALS_H
#define API_SIGNALS_H

struct metrics;

/*
 * Install the handlers, for the whole process. metrics must live as long as the
 * process. Main thread, before others exist.
 */
void signals_init(struct metrics *metrics);

#endif
