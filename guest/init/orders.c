/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/orders.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/init/agent.h"
#include "guest/init/check.h"
#include "guest/init/drive.h"
#include "guest/init/offload.h"
#include "guest/init/report.h"

struct order {
	const char *name;
	int min_args, max_args; /* with the name */
	int (*run)(int argc, char **argv);
};

static int run_info(int argc, char **argv)
{
	struct utsname u;
	struct sysinfo si;

	(void)argc;
	(void)argv;
	if (uname(&u) || sysinfo(&si))
		return -errno;
	report("kernel %s %s", u.sysname, u.release);
	report("cpus %ld", sysconf(_SC_NPROCESSORS_ONLN));
	report("memory %llu KiB",
	       (unsigned long long)si.totalram * si.mem_unit / 1024);
	return 0;
}

static int run_drives(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return drive_list();
}

static int run_rw(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return drive_exercise();
}

static int run_write(int argc, char **argv)
{
	uint64_t bytes = strtoull(argv[2], NULL, 0) << 20;
	uint64_t seed = strtoull(argv[3], NULL, 0);
	int r = check_write(argv[1], bytes, seed);

	(void)argc;
	return r ? r : check_read(argv[1], &seed);
}

static int run_read(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;

	return check_read(argv[1], argc > 2 ? &seed : NULL);
}

static int run_exec(int argc, char **argv)
{
	pid_t pid = fork();
	int status;

	(void)argc;
	if (pid < 0)
		return -errno;
	if (!pid) {
		execv(argv[1], argv + 1);
		report("exec %s: %s", argv[1], strerror(errno));
		_exit(127);
	}
	/* Orphans come to PID 1 too. */
	for (pid_t got = 0; got != pid;) {
		got = wait(&status);
		if (got < 0 && errno != EINTR)
			return -errno;
	}
	if (WIFSIGNALED(status))
		report("%s killed by signal %d", argv[1], WTERMSIG(status));
	else
		report("%s exited with %d", argv[1], WEXITSTATUS(status));
	return status ? -EIO : 0;
}

static int run_agent(int argc, char **argv)
{
	unsigned long port = argc > 1 ? strtoul(argv[1], NULL, 0) : AGENT_PORT;

	return agent_run((unsigned int)port);
}

static int run_offload(int argc, char **argv)
{
	return offload_set(argv[1], argc - 2, argv + 2);
}

static const struct order table[] = {
	{"info", 1, 1, run_info},   {"drives", 1, 1, run_drives},
	{"rw", 1, 1, run_rw},	    {"write", 4, 4, run_write},
	{"read", 2, 3, run_read},   {"exec", 2, ORDER_ARGS_MAX, run_exec},
	{"agent", 1, 2, run_agent}, {"offload", 2, ORDER_ARGS_MAX, run_offload},
	{"poweroff", 1, 1, NULL},   {"reboot", 1, 1, NULL},
};

static const struct order *find(const char *name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(name, table[i].name))
			return &table[i];
	return NULL;
}

static int split(char *text, char **argv)
{
	char *save;
	int n = 0;

	for (char *s = strtok_r(text, ":", &save); s;
	     s = strtok_r(NULL, ":", &save)) {
		if (n == ORDER_ARGS_MAX)
			return -E2BIG;
		argv[n++] = s;
	}
	argv[n] = NULL;
	return n;
}

static int run_one(char *text, enum order_end *end)
{
	char *argv[ORDER_ARGS_MAX + 1];
	int argc = split(text, argv);

	if (argc <= 0)
		return argc;
	const struct order *o = find(argv[0]);

	if (!o || argc < o->min_args || argc > o->max_args)
		return -EINVAL;
	if (o->run)
		return o->run(argc, argv);
	*end = strcmp(o->name, "reboot") ? ORDER_POWER_OFF : ORDER_REBOOT;
	return 0;
}

unsigned int orders_run(char *list, enum order_end *end)
{
	unsigned int failed = 0;
	char *save;

	for (char *s = strtok_r(list, ",", &save); s;
	     s = strtok_r(NULL, ",", &save)) {
		int r = run_one(s, end);

		if (!r)
			continue;
		/* The order's name is what is left of its text. */
		report("%s failed: %s", s, strerror(-r));
		failed++;
	}
	return failed;
}
