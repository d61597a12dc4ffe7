/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mayflyctl: what is done beside a monitor, by command.
 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/version.h"
#include "ctl/seccomp.h"
#include "ctl/snapshot.h"

static const struct command {
	const char *name;
	const char *args;
	const char *help;
	int (*run)(int argc, char **argv); /* argv[0] is the name */
} commands[] = {
	{"seccomp-compile", "[-o OUT] IN.json",
	 "make a file for mayfly --seccomp-filter", seccomp_compile_main},
	{"seccomp-list", "[--json]",
	 "print the filters that mayfly has, with reasons", seccomp_list_main},
	{"snapshot", "COMMAND ...", "show, check and merge files of snapshots",
	 snapshot_main},
};

static int help(FILE *out)
{
	(void)fprintf(out, "usage: mayflyctl COMMAND [ARGUMENT...]\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(out, "  %-16s %-18s %s\n", commands[i].name,
			      commands[i].args, commands[i].help);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		return help(stdout);
	if (!strcmp(name, "--version")) {
		(void)printf("mayflyctl v" MAYFLY_VERSION "\n");
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}
	return help(stderr);
}
