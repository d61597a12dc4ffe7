/* SPDX-License-Identifier: Apache-2.0 */
/*
 * no_uring.c: run a program where io_uring is forbidden, as container runtimes
 * do it (EPERM), or unknown (-n, ENOSYS), as on old kernels.
 *
 * usage: no_uring [-n] PROGRAM [ARGUMENT...]
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int forbid_uring(uint32_t err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	uint32_t err = EPERM;
	int ret;

	if (argc > 1 && !strcmp(argv[1], "-n")) {
		err = ENOSYS;
		argv++;
		argc--;
	}
	if (argc < 2) {
		(void)fprintf(stderr, "usage: no_uring [-n] PROGRAM [ARGUMENT"
				      "...]\n");
		return 2;
	}
	ret = forbid_uring(err);
	if (ret < 0) {
		(void)fprintf(stderr, "no_uring: seccomp: %s\n",
			      strerror(-ret));
		return 2;
	}
	(void)execvp(argv[1], argv + 1);
	(void)fprintf(stderr, "no_uring: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
