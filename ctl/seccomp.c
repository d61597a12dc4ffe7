/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"

#define MAX_BYTES ((size_t)(4 * MIB))

static int read_file(const char *path, char **text, size_t *len, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = NULL;
	ssize_t n = 1;

	if (fd < 0)
		return err_sys(e, "Cannot open '%s'", path);
	buf = malloc(MAX_BYTES);
	if (!buf)
		return err_code(e, -ENOMEM, "'%s'", path);
	for (*len = 0; n > 0; *len += (size_t)n) {
		n = read(fd, buf + *len, MAX_BYTES - *len);
		if (n < 0)
			return err_sys(e, "Cannot read '%s'", path);
	}
	if (*len == MAX_BYTES)
		return err_set(e, -EFBIG, "'%s' has more than %zu bytes", path,
			       MAX_BYTES - 1);
	*text = ptr_steal(&buf);
	return 0;
}

static int write_file(const char *path, const uint8_t *p, size_t len,
		      struct err *e)
{
	cleanup_fd int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_sys(e, "Cannot open '%s'", path);
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, p + at, len - at);

		if (n < 0)
			return err_sys(e, "Cannot write '%s'", path);
		at += (size_t)n;
	}
	return 0;
}

static int compile(const char *in, const char *out, struct err *e)
{
	cleanup_free uint8_t *file = NULL;
	cleanup_free char *text = NULL;
	size_t len = 0, n = 0;
	int ret;

	ret = read_file(in, &text, &len, e);
	if (ret == 0) {
		ret = seccomp_compile(text, len, &file, &n, e);
		if (ret < 0)
			(void)err_wrap(e, "'%s': ", in);
	}
	return ret < 0 ? ret : write_file(out, file, n, e);
}

int seccomp_compile_main(int argc, char **argv)
{
	const char *out = "seccomp.filter";
	struct err e;
	int opt;

	while ((opt = getopt(argc, argv, "o:")) == 'o')
		out = optarg;
	if (opt != -1 || optind + 1 != argc) {
		(void)fprintf(stderr,
			      "usage: mayflyctl seccomp-compile [-o OUT] "
			      "IN.json\n\nOUT is seccomp.filter unless said "
			      "otherwise.\n");
		return 2;
	}
	if (compile(argv[optind], out, &e) == 0)
		return 0;
	(void)fprintf(stderr, "mayflyctl: %s\n", e.text);
	return 1;
}

int seccomp_list_main(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json");

	if (argc != 1 + json) {
		(void)fprintf(stderr, "usage: mayflyctl seccomp-list [--json]"
				      "\n");
		return 2;
	}
	for (const char *const *s = seccomp_json; json && *s; s++)
		(void)fputs(*s, stdout);
	for (const char *const *s = seccomp_tables; !json && *s; s += 2)
		(void)printf("== %s ==\n%s\n", s[0], s[1]);
	return fflush(stdout) == 0 ? 0 : 1;
}
