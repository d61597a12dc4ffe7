/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel and what all of the host shares. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

/* Root is told that these are no modules, images or magic numbers. */
static int load_module(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_init_module, "x", 1, "");
}

static int load_module_file(const struct facts *f)
{
	int fd = open(f->program, O_RDONLY | O_CLOEXEC);

	return (int)syscall(SYS_finit_module, fd, "", -1);
}

static int remove_module(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_delete_module, "no-such-module", O_NONBLOCK);
}

static int load_kernel(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_kexec_load, 0, 1UL << 20, NULL, 0);
}

static int load_kernel_file(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, 1UL << 31);
}

static int restart(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_reboot, 0, 0, 0, NULL);
}

static int set_time(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_settimeofday, NULL, NULL);
}

static int adjust_time(const struct facts *f)
{
	struct timex t = {.modes = ADJ_ESTERROR, .esterror = 16000000};

	(void)f;
	return adjtimex(&t);
}

static int name_host(const struct facts *f)
{
	char name[65] = "";

	(void)f;
	return gethostname(name, sizeof(name) - 1) < 0
		       ? -1
		       : sethostname(name, strlen(name));
}

static int name_domain(const struct facts *f)
{
	char name[65] = "";

	(void)f;
	return getdomainname(name, sizeof(name) - 1) < 0
		       ? -1
		       : setdomainname(name, strlen(name));
}

static int all_ports(const struct facts *f)
{
	(void)f;
	return iopl(3);
}

static int one_port(const struct facts *f)
{
	(void)f;
	return ioperm(0x80, 1, 1);
}

/* SYSLOG_ACTION_CONSOLE_LEVEL; there is no level 9. */
static int set_log(const struct facts *f)
{
	(void)f;
	return klogctl(8, NULL, 9);
}

static int stop_accounting(const struct facts *f)
{
	(void)f;
	return acct(NULL);
}

static int hang_up(const struct facts *f)
{
	(void)f;
	return vhangup();
}

static int load_bpf(const struct facts *f)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.insn_cnt = 2,
		.insns = (uintptr_t)code,
		.license = (uintptr_t) "GPL",
	};

	(void)f;
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int map_bpf(const struct facts *f)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_LRU_HASH,
			       .key_size = 4,
			       .value_size = 4,
			       .max_entries = 1};

	(void)f;
	return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* That of the system call stops the kernel in the middle of its copies. */
static int stop_kernel_at_faults(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC);
}

static int read_key(const struct facts *f)
{
	char secret[16];

	return (int)syscall(SYS_keyctl, KEYCTL_READ, f->key, secret,
			    sizeof(secret));
}

static int find_key(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING,
			    "user", "mayfly-test", 0);
}

static int read_queue(const struct facts *f)
{
	struct msqid_ds now;

	return msgctl(f->queue, IPC_STAT, &now);
}

static int open_posix_queue(const struct facts *f)
{
	(void)f;
	return mq_open("/mayfly-test", O_RDONLY | O_CLOEXEC);
}

static int move_all_memory(const struct facts *f)
{
	void *page =
		mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)f;
	return (int)syscall(SYS_mbind, page, 4096, 0, NULL, 0, 1 << 2);
}

/* What a ring does on its own is bound by the same root. */
static int open_by_ring(const struct facts *f)
{
	struct io_uring_params p = {0};
	char path[2 * PATH_MAX];
	int ring = (int)syscall(SYS_io_uring_setup, 1, &p);
	char *sq = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
			IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_SHARED, ring, IORING_OFF_SQES);

	if (ring < 0 || sq == MAP_FAILED || sqe == MAP_FAILED)
		return -1;
	(void)snprintf(path, sizeof(path), "/../..%s", f->outside);
	*sqe = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
				     .fd = AT_FDCWD,
				     .addr = (uintptr_t)path};
	((unsigned int *)(void *)(sq + p.sq_off.array))[0] = 0;
	(*(unsigned int *)(void *)(sq + p.sq_off.tail))++;
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) < 0)
		return -1;

	int res = ((struct io_uring_cqe *)(void *)(sq + p.cq_off.cqes))->res;

	errno = -res;
	return res < 0 ? -1 : 0;
}

const struct attempt kernel_attempts[] = {
	{"load a module", load_module},
	{"load a module from a file", load_module_file},
	{"remove a module", remove_module},
	{"load a kernel", load_kernel},
	{"load a kernel from a file", load_kernel_file},
	{"restart the host", restart},
	{"set the time", set_time},
	{"adjust the time", adjust_time},
	{"name the host", name_host},
	{"name the domain", name_domain},
	{"reach all ports", all_ports},
	{"reach a port", one_port},
	{"set the level of the log", set_log},
	{"stop accounting", stop_accounting},
	{"hang up the terminal", hang_up},
	{"load a BPF program", load_bpf},
	{"make a BPF map", map_bpf},
	{"stop the kernel at faults", stop_kernel_at_faults},
	{"read a key of the caller", read_key},
	{"find a key of the caller", find_key},
	{"look at a message queue of the host", read_queue},
	{"open a POSIX queue of the host", open_posix_queue},
	{"move shared memory", move_all_memory},
	{"open a host file by io_uring", open_by_ring},
	{0},
};
