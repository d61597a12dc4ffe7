/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of the host: their memory, descriptors, signals, scheduling. */
#include <errno.h>
#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

#define IOPRIO_RT (1 << 13)
#define IOPRIO_BE (2 << 13 | 4)

static int trace(const struct facts *f)
{
	return (int)ptrace(PTRACE_SEIZE, f->victim, NULL, NULL);
}

static int attach(const struct facts *f)
{
	return (int)ptrace(PTRACE_ATTACH, f->victim, NULL, NULL);
}

/* 0 bytes: that it may is all. */
static int read_memory(const struct facts *f)
{
	char byte;
	struct iovec to = {&byte, 1}, from = {&byte, 1};
	ssize_t n = process_vm_readv(f->victim, &to, 1, &from, 1, 0);

	return n < 0 && errno == EFAULT ? 0 : (int)n;
}

static int write_memory(const struct facts *f)
{
	char byte = 0;
	struct iovec from = {&byte, 1}, to = {NULL, 1};
	ssize_t n = process_vm_writev(f->victim, &from, 1, &to, 1, 0);

	return n < 0 && errno == EFAULT ? 0 : (int)n;
}

static int pidfd(const struct facts *f)
{
	return (int)syscall(SYS_pidfd_open, f->victim, 0);
}

static int take_descriptor(const struct facts *f)
{
	return (int)syscall(SYS_pidfd_getfd, pidfd(f), 0, 0);
}

static int advise(const struct facts *f)
{
	struct iovec none = {0};

	return (int)syscall(SYS_process_madvise, pidfd(f), &none, 1, 20, 0);
}

static int compare(const struct facts *f)
{
	return (int)syscall(SYS_kcmp, getpid(), f->victim, KCMP_FILES, 0, 0);
}

static int signal_one(const struct facts *f)
{
	return kill(f->victim, 0);
}

static int signal_by_pidfd(const struct facts *f)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd(f), 0, NULL, 0);
}

static int queue_signal(const struct facts *f)
{
	return sigqueue(f->victim, 0, (union sigval){0});
}

/* Whom it reached the victim knows: it counts them. */
static int signal_all(const struct facts *f)
{
	(void)f;
	(void)signal(SIGWINCH, SIG_IGN);
	(void)kill(-1, SIGWINCH);
	errno = EPERM;
	return -1;
}

static int move_memory(const struct facts *f)
{
	void *page = NULL;
	int node = 0, status = 0;

	return (int)syscall(SYS_move_pages, f->victim, 1, &page, &node, &status,
			    0);
}

static int robust_list(const struct facts *f)
{
	void *head;
	size_t size;

	return (int)syscall(SYS_get_robust_list, f->victim, &head, &size);
}

static int watch(pid_t pid, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.disabled = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, pid, cpu, -1, 0);
}

static int watch_victim(const struct facts *f)
{
	return watch(f->victim, -1);
}

static int watch_cpu(const struct facts *f)
{
	(void)f;
	return watch(-1, 0);
}

static int limit_victim(const struct facts *f)
{
	struct rlimit old;

	return prlimit(f->victim, RLIMIT_NOFILE, NULL, &old) < 0
		       ? -1
		       : prlimit(f->victim, RLIMIT_NOFILE, &old, NULL);
}

static int place_victim(const struct facts *f)
{
	cpu_set_t all;

	if (sched_getaffinity(f->victim, sizeof(all), &all) < 0)
		return -1;
	return sched_setaffinity(f->victim, sizeof(all), &all);
}

static int slow_victim(const struct facts *f)
{
	return setpriority(PRIO_PROCESS, (id_t)f->victim, 1);
}

static int slow_victim_io(const struct facts *f)
{
	return (int)syscall(SYS_ioprio_set, 1, f->victim, IOPRIO_BE);
}

static int be_nicer(const struct facts *f)
{
	(void)f;
	return setpriority(PRIO_PROCESS, 0, -20);
}

static int be_real_time(const struct facts *f)
{
	const struct sched_param p = {.sched_priority = 1};

	(void)f;
	return sched_setscheduler(0, SCHED_FIFO, &p);
}

static int be_real_time_io(const struct facts *f)
{
	(void)f;
	return (int)syscall(SYS_ioprio_set, 1, 0, IOPRIO_RT);
}

const struct attempt process_attempts[] = {
	{"trace a host process", trace},
	{"attach to a host process", attach},
	{"read the memory of a host process", read_memory},
	{"write the memory of a host process", write_memory},
	{"take a descriptor of a host process", take_descriptor},
	{"advise on the memory of a host process", advise},
	{"compare with a host process", compare},
	{"signal a host process", signal_one},
	{"signal a host process by pidfd", signal_by_pidfd},
	{"queue a signal to a host process", queue_signal},
	{"signal all processes", signal_all},
	{"move the memory of a host process", move_memory},
	{"read the robust list of a host process", robust_list},
	{"watch a host process by perf", watch_victim},
	{"watch a whole processor by perf", watch_cpu},
	{"limit a host process", limit_victim},
	{"place a host process", place_victim},
	{"slow a host process", slow_victim},
	{"slow the I/O of a host process", slow_victim_io},
	{"be nicer than nice", be_nicer},
	{"be real-time", be_real_time},
	{"be real-time in I/O", be_real_time_io},
	{0},
};
