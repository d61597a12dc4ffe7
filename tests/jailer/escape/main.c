/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail_escape: makes its attempts, prints a line "name: ok", "name: <errno>"
 * or "name: <signal>" for each. With filter=FILE each is made under the filter
 * that FILE holds for the helper thread, the widest of the monitor's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

#define FILTER_MAX 4096

/* The file's head, docs/security.md. */
struct head {
	char magic[8];
	uint32_t version, crc, main, helper, vcpu, zero;
};

static struct sock_filter code[FILTER_MAX];
static struct sock_fprog filter = {.filter = code};

const char *inside(const struct facts *f, const char *name)
{
	static char paths[4][2 * PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s%s", f->root, name);
	return path;
}

static int read_filter(const char *path)
{
	struct head h;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &h, sizeof(h)) != sizeof(h) ||
	    h.helper > FILTER_MAX)
		return -1;
	filter.len = (unsigned short)h.helper;
	return pread(fd, code, h.helper * sizeof(code[0]),
		     (off_t)(sizeof(h) + h.main * sizeof(code[0]))) ==
			       (ssize_t)(h.helper * sizeof(code[0]))
		       ? 0
		       : -1;
}

/* Calls nothing afterwards that a filter might forbid. */
static void child(const struct attempt *a, const struct facts *f, int *result)
{
	if (filter.len &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	     syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)) {
		*result = EDOM; /* which no attempt gives */
		_exit(1);
	}
	errno = 0;
	*result = a->make(f) < 0 ? errno : 0;
	_exit(0);
}

static void make(const struct attempt *a, const struct facts *f, int *result)
{
	int status = 0;
	pid_t pid;

	*result = -1;
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(a, f, result);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (*result < 0)
		printf("%s: %s\n", a->name,
		       WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status))
					   : "ended");
	else
		printf("%s: %s\n", a->name,
		       *result ? strerrorname_np(*result) : "ok");
}

static int take(struct facts *f, const char *word)
{
	int n = (int)strtol(word + strcspn(word, "=") + 1, NULL, 10);

	if (!strncmp(word, "root=", 5))
		(void)snprintf(f->root, sizeof(f->root), "%s", word + 5);
	else if (!strncmp(word, "outside=", 8))
		(void)snprintf(f->outside, sizeof(f->outside), "%s", word + 8);
	else if (!strncmp(word, "victim=", 7))
		f->victim = n;
	else if (!strncmp(word, "key=", 4))
		f->key = n;
	else if (!strncmp(word, "queue=", 6))
		f->queue = n;
	else if (!strncmp(word, "port=", 5))
		f->port = n;
	else if (!strncmp(word, "filter=", 7))
		return read_filter(word + 7);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct attempt *const tables[] = {
		file_attempts,	    mount_attempts,  process_attempts,
		privilege_attempts, kernel_attempts, network_attempts};
	static struct facts f;
	int *result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	/* That somebody could execute it is all that is to be seen. */
	if (argc == 2 && !strcmp(argv[1], "--exit"))
		return 0;
	(void)snprintf(f.program, sizeof(f.program), "%s", argv[0]);
	for (int i = 1; i < argc; i++) {
		if (take(&f, argv[i]) < 0) {
			printf("bad word %s\n", argv[i]);
			return 1;
		}
	}
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct attempt *a = tables[t]; a->name; a++)
			make(a, &f, result);
	}
	printf("end: ok\n");
	return 0;
}
