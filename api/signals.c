/* SPDX-License-Identifier: Apache-2.0 */
#include "api/signals.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "api/console.h"
#include "api/metrics.h"
#include "base/log.h"
#include "base/num.h"

/* A handler is given nothing else to find its way by. */
static struct metrics *metrics;

static const struct fatal {
	int sig;
	int exit_code;
	size_t counter; /* in struct metrics_api */
} fatal[] = {
	{SIGBUS, 149, offsetof(struct metrics_api, signals.sigbus)},
	{SIGSEGV, 150, offsetof(struct metrics_api, signals.sigsegv)},
	{SIGXFSZ, 151, offsetof(struct metrics_api, signals.sigxfsz)},
	{SIGXCPU, 154, offsetof(struct metrics_api, signals.sigxcpu)},
	{SIGHUP, 156, offsetof(struct metrics_api, signals.sighup)},
	{SIGILL, 157, offsetof(struct metrics_api, signals.sigill)},
};

static void on_fatal(int sig, siginfo_t *info, void *context)
{
	int exit_code = 1;

	(void)context;
	for (size_t i = 0; i < ARRAY_LEN(fatal); i++) {
		if (fatal[i].sig != sig)
			continue;
		exit_code = fatal[i].exit_code;
		*(uint64_t *)(void *)((char *)&metrics->api +
				      fatal[i].counter) = 1;
	}
	log_line(LOG_ERROR, NULL, __FILE__, __LINE__,
		 "Shutting down VM after intercepting signal %d, code %d.", sig,
		 info->si_code);
	(void)metrics_flush(metrics);
	console_close();
	_exit(exit_code);
}

static void on_sigpipe(int sig)
{
	(void)sig;
	(void)__atomic_fetch_add(&metrics->api.signals.sigpipe, 1,
				 __ATOMIC_RELAXED);
}

void signals_init(struct metrics *m)
{
	struct sigaction action = {.sa_sigaction = on_fatal,
				   .sa_flags = SA_SIGINFO};

	metrics = m;
	(void)sigfillset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
		(void)sigaction(fatal[i].sig, &action, NULL);
	action = (struct sigaction){.sa_handler = on_sigpipe,
				    .sa_flags = SA_RESTART};
	(void)sigaction(SIGPIPE, &action, NULL);
}
