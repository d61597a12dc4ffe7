/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "ctl/memfile.h"
#include "ctl/text.h"
#include "snapshot/host.h"
#include "snapshot/sections.h"

static const struct command {
	const char *name, *args, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"info", "[--json] STATE...", "what is in a state file", snapshot_info},
	{"verify", "STATE [MEMORY]",
	 "whether both files are as they were written", snapshot_verify},
	{"merge", "[-s STATE] -o OUT BASE DIFF...",
	 "a full memory file of one and what changed since", snapshot_merge},
	{"check-host", "STATE...", "whether a load can work on this host",
	 snapshot_host},
};

int snapshot_usage(void)
{
	(void)fprintf(stderr,
		      "usage: mayflyctl snapshot COMMAND ARGUMENT...\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(stderr, "  %-10s %-31s %s\n", commands[i].name,
			      commands[i].args, commands[i].help);
	return CTL_UNKNOWN;
}

int snapshot_main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}
	return snapshot_usage();
}

int snapshot_failed(const char *path, const struct err *e)
{
	struct err copy = *e;

	(void)err_wrap(&copy, "%s: ", path);
	text_error(&copy);
	switch (e->code) {
	case -EBADMSG:
	case -ENOTSUP:
	case -EFBIG:
	case -ENODATA:
	case -EINVAL:
		return CTL_BAD;
	default:
		return CTL_UNKNOWN;
	}
}

int snapshot_load(struct snapshot *s, const char *path)
{
	struct err e;

	if (snapshot_open(s, path, &e) == 0)
		return CTL_GOOD;
	return snapshot_failed(path, &e);
}

uint32_t *snapshot_digests(const struct snapshot *s, struct err *e)
{
	struct archive a = state_find(&s->file, TAG_DIGEST, 0);
	uint32_t n = memfile_chunks(s->file.mem_bytes);
	uint32_t *crc;

	if (a.failed || a.size != n * sizeof(*crc)) {
		(void)err_set(e, -ENOTSUP,
			      "The state has no digests of the memory file, or "
			      "not %u of them",
			      n);
		return NULL;
	}
	crc = calloc(n + 1, sizeof(*crc));
	if (!crc)
		(void)err_code(e, -ENOMEM, "Digests of the memory file");
	for (uint32_t i = 0; crc && i < n; i++)
		archive_u32(&a, &crc[i]);
	return crc;
}

/* ---- check-host ---- */

static void tell(void *arg, const char *what, const struct err *refusal)
{
	const char *path = arg;

	text_print(stdout, path, strlen(path));
	(void)printf(": %s: ", what);
	if (refusal)
		text_print(stdout, refusal->text, strlen(refusal->text));
	else
		(void)printf("ok");
	(void)printf("\n");
}

static int check_one(char *path)
{
	struct snapshot s;
	struct err e;
	int ret = snapshot_load(&s, path);

	if (ret != CTL_GOOD)
		return ret;
	ret = snapshot_try_host(&s, tell, path, &e);
	if (ret < 0)
		ret = snapshot_failed(path, &e);
	else if (ret > 0)
		ret = CTL_BAD;
	snapshot_exit(&s);
	return ret;
}

int snapshot_host(int argc, char **argv)
{
	int worst = CTL_GOOD;

	if (argc < 2 || argv[1][0] == '-')
		return snapshot_usage();
	for (int i = 1; i < argc; i++) {
		int ret = check_one(argv[i]);

		worst = MAX(worst, ret);
	}
	return worst;
}
