/* SPDX-License-Identifier: Apache-2.0 */
/*
 * callwatch: run the monitor and report each system call outside the tables.
 *
 *	callwatch [-t DIR] [-o FILE] [-a] [-e] [-u] [-v] COMMAND [ARG...]
 *	callwatch [-t DIR] -l
 *
 *	-t  folder of the tables (base/filters)
 *	-o  append the report to FILE instead of writing it to stderr
 *	-a  watch from the exec on, the start of the C library included
 *	-e  answer io_uring_setup() with ENOSYS, as hosts do that forbid it
 *	-v  hide the vDSO: on hosts of poor clocks it makes system calls, too
 *	-u  report rows that no call matched, too
 *	-l  no command: check that the tables keep the limits of the design
 *
 * DIR/start.tbl holds for every thread from the first close_range(), which is
 * where main() begins and the C library's own start ends, until a guest is
 * entered; then main.tbl for the main thread, helper.tbl for "fc_api", vcpu.tbl
 * for "fc_vcpu N" from its own first KVM_RUN on, pager.tbl for "fc_pager", and
 * start.tbl for threads that have not come so far, which may also do what they
 * may later. Calls of threads with other names are outside.
 *
 * A seccomp filter hands each call to us by ptrace before it is made. Signals
 * pass as they come; SIGTERM, SIGINT, SIGHUP and SIGQUIT sent to us are handed
 * on. The exit code is 1 if a call was outside, else that of the command
 * (128 + signal if one killed it).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* After <sys/ptrace.h>, which it would clash with. */
#include <linux/ptrace.h>

#include "base/num.h"
#include "tools/syscalls/table.h"

#define MAX_THREADS 64
#define MAX_FOUND   256

enum role { START, MAIN, HELPER, VCPU, PAGER, OTHER, N_ROLES };

static const char *const role_names[N_ROLES] = {"start", "main",  "helper",
						"vcpu",	 "pager", "other"};

struct thread {
	pid_t tid;
	enum role role;
	bool named; /* it has set its name; before, it bears its maker's */
	bool known; /* the role, by that name */
	bool ran;   /* a guest */
};

/* A call outside the tables. */
struct found {
	enum role role;
	int nr;
	uint64_t args[6];
	uint64_t count;
};

struct watch {
	struct table table[N_ROLES];
	struct thread thread[MAX_THREADS];
	size_t n_threads;
	struct found found[MAX_FOUND];
	size_t n_found;
	pid_t pid;
	bool no_uring; /* pretend that the host forbids it */
	bool no_vdso;  /* ... that its clocks take system calls */
	bool armed;    /* main() has begun */
	bool ran;      /* a guest has been entered */
	uint64_t calls;
	int status; /* of the command */
};

/* The command, for the handler below. */
static volatile sig_atomic_t child;

static void hand_on(int sig)
{
	if (child > 0)
		(void)kill((pid_t)child, sig);
}

static struct thread *thread_of(struct watch *w, pid_t tid)
{
	for (size_t i = 0; i < w->n_threads; i++) {
		if (w->thread[i].tid == tid)
			return &w->thread[i];
	}
	if (w->n_threads == MAX_THREADS)
		return NULL;
	w->thread[w->n_threads] = (struct thread){
		.tid = tid,
		.role = tid == w->pid ? MAIN : OTHER,
		.named = tid == w->pid,
		.known = tid == w->pid,
	};
	return &w->thread[w->n_threads++];
}

static void forget_thread(struct watch *w, pid_t tid)
{
	struct thread *t = thread_of(w, tid);

	if (t)
		*t = w->thread[--w->n_threads];
}

static void learn_role(const struct watch *w, struct thread *t)
{
	char path[64], name[32] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", w->pid,
		       t->tid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(name, sizeof(name), f)) {
		if (!strncmp(name, "fc_vcpu", 7))
			t->role = VCPU;
		else if (!strcmp(name, "fc_api\n"))
			t->role = HELPER;
		else if (!strcmp(name, "fc_pager\n"))
			t->role = PAGER;
		t->known = t->role != OTHER;
	}
	(void)fclose(f);
}

static enum role role_now(struct watch *w, struct thread *t)
{
	if (!t->known && t->named)
		learn_role(w, t);
	if (!w->ran || !t->named)
		return START;
	return t->role == VCPU && !t->ran ? START : t->role;
}

/* The first filter allows what the others allow, too. */
static struct row *find_row(struct watch *w, const struct thread *t,
			    enum role role, int nr, const uint64_t args[6])
{
	struct row *row = table_find(&w->table[role], nr, args);

	if (row || role != START)
		return row;
	return table_find(&w->table[t->role], nr, args);
}

static void note_outside(struct watch *w, enum role role, int nr,
			 const uint64_t args[6])
{
	int key = table_key_arg(nr);
	struct found *f = w->found;

	for (; f < w->found + w->n_found; f++) {
		if (f->role == role && f->nr == nr &&
		    (key < 0 || f->args[key] == args[key])) {
			f->count++;
			return;
		}
	}
	if (w->n_found == MAX_FOUND)
		return;
	*f = (struct found){.role = role, .nr = nr, .count = 1};
	memcpy(f->args, args, sizeof(f->args));
	w->n_found++;
}

static void on_call(struct watch *w, pid_t tid)
{
	struct __ptrace_syscall_info info;
	struct thread *t = thread_of(w, tid);
	const uint64_t *args = (const uint64_t *)info.seccomp.args;
	enum role role;
	struct row *row;
	int nr;

	if (!t || ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0)
		return;
	nr = (int)info.seccomp.nr;
	if (nr == SYS_close_range)
		w->armed = true;
	if (!w->armed)
		return;
	w->calls++;
	if (nr == SYS_ioctl && (uint32_t)args[1] == (uint32_t)KVM_RUN) {
		w->ran = true;
		t->ran = true;
	}
	role = role_now(w, t);
	/* After this call, that is. */
	if (nr == SYS_prctl && args[0] == PR_SET_NAME)
		t->named = true;
	row = find_row(w, t, role, nr, args);
	if (row)
		row->hits++;
	else
		note_outside(w, role, nr, args);
}

/* At the first instruction: argc, argv, NULL, environment, NULL, auxv. */
static void hide_vdso(pid_t tid)
{
	struct user_regs_struct regs;
	unsigned long at;
	int ends = 0;

	if (ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0)
		return;
	for (at = regs.rsp + 8; ends < 2; at += 8) {
		errno = 0;
		if (ptrace(PTRACE_PEEKDATA, tid, at, 0) == 0)
			ends++;
		if (errno)
			return;
	}
	for (;; at += 16) {
		long type = ptrace(PTRACE_PEEKDATA, tid, at, 0);

		if (type == AT_SYSINFO_EHDR)
			(void)ptrace(PTRACE_POKEDATA, tid, at, AT_IGNORE);
		if (type == AT_NULL || type == -1)
			return;
	}
}

static bool stops_group(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN ||
	       sig == SIGTTOU;
}

static void on_stop(struct watch *w, pid_t tid, int status)
{
	int event = status >> 16;
	int sig = WSTOPSIG(status);

	if (event == PTRACE_EVENT_STOP && stops_group(sig)) {
		(void)ptrace(PTRACE_LISTEN, tid, 0, 0);
		return;
	}
	if (event == PTRACE_EVENT_SECCOMP)
		on_call(w, tid);
	if (event == PTRACE_EVENT_EXEC && w->no_vdso)
		hide_vdso(tid);
	/* Events are no signals; a signal goes on to the thread. */
	(void)ptrace(PTRACE_CONT, tid, 0, event ? 0 : sig);
}

/* Until the last thread is gone. */
static void follow(struct watch *w)
{
	for (;;) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			return;
		if (WIFSTOPPED(status)) {
			on_stop(w, tid, status);
			continue;
		}
		if (tid == w->pid)
			w->status = status;
		forget_thread(w, tid);
	}
}

/* In the child: wait for the tracer, filter, become the command. */
static void become(int ready_fd, bool no_uring, char **argv)
{
	struct sock_filter trace[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 no_uring ? SYS_io_uring_setup : UINT32_MAX, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
	};
	struct sock_fprog prog = {.len = ARRAY_LEN(trace), .filter = trace};
	char byte;

	if (read(ready_fd, &byte, 1) != 1)
		_exit(127);
	(void)close(ready_fd);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	     prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)) {
		perror("callwatch: seccomp");
		_exit(127);
	}
	(void)execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

static bool start(struct watch *w, char **argv)
{
	static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	int ready[2];

	if (pipe(ready) < 0)
		return false;
	w->pid = fork();
	if (w->pid < 0)
		return false;
	if (w->pid == 0) {
		(void)close(ready[1]);
		become(ready[0], w->no_uring, argv);
	}
	(void)close(ready[0]);
	child = w->pid;
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		(void)signal(forwarded[i], hand_on);
	if (ptrace(PTRACE_SEIZE, w->pid, 0,
		   PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP |
			   PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			   PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC) < 0) {
		perror("callwatch: ptrace");
		return false;
	}
	(void)!write(ready[1], "", 1);
	(void)close(ready[1]);
	return true;
}

static void report(struct watch *w, FILE *out, bool unused)
{
	char text[128];

	for (size_t i = 0; i < w->n_found; i++) {
		const struct found *f = &w->found[i];

		table_describe(text, sizeof(text), f->nr, f->args);
		(void)fprintf(out,
			      "callwatch: outside: %s %s x%llu (%#llx, %#llx, "
			      "%#llx, %#llx)\n",
			      role_names[f->role], text,
			      (unsigned long long)f->count,
			      (unsigned long long)f->args[0],
			      (unsigned long long)f->args[1],
			      (unsigned long long)f->args[2],
			      (unsigned long long)f->args[3]);
	}
	for (int r = 0; unused && r < OTHER; r++) {
		for (size_t i = 0; i < w->table[r].n; i++) {
			if (w->table[r].row[i].hits == 0)
				(void)fprintf(out,
					      "callwatch: unused: %s line "
					      "%u\n",
					      role_names[r],
					      w->table[r].row[i].line);
		}
	}
	(void)fprintf(out, "callwatch: %llu calls, %zu kinds outside%s\n",
		      (unsigned long long)w->calls, w->n_found,
		      w->ran ? "" : ", no guest was entered");
}

static bool load_tables(struct watch *w, const char *dir)
{
	bool good = true;
	char path[4096];

	for (int r = 0; r < OTHER; r++) {
		(void)snprintf(path, sizeof(path), "%s/%s.tbl", dir,
			       role_names[r]);
		good = table_load(&w->table[r], path) && good;
	}
	return good;
}

static int exit_code(const struct watch *w)
{
	if (w->n_found)
		return 1;
	return WIFEXITED(w->status) ? WEXITSTATUS(w->status)
				    : 128 + WTERMSIG(w->status);
}

static int usage(void)
{
	(void)fprintf(stderr,
		      "usage: callwatch [-t DIR] [-o FILE] [-a] [-e] [-u] [-v] "
		      "COMMAND [ARG...]\n"
		      "       callwatch [-t DIR] -l\n");
	return 2;
}

int main(int argc, char **argv)
{
	static struct watch w;
	const char *dir = "base/filters";
	FILE *out = stderr;
	bool unused = false, limits = false;
	int opt;

	while ((opt = getopt(argc, argv, "+t:o:aeuvl")) != -1) {
		if (opt == 't')
			dir = optarg;
		else if (opt == 'a')
			w.armed = true;
		else if (opt == 'e')
			w.no_uring = true;
		else if (opt == 'v')
			w.no_vdso = true;
		else if (opt == 'u')
			unused = true;
		else if (opt == 'l')
			limits = true;
		else if (opt != 'o' || !(out = fopen(optarg, "ae")))
			return usage();
	}
	if (!limits && optind == argc)
		return usage();
	if (!load_tables(&w, dir))
		return 2;
	if (limits)
		return table_within_limits(&w.table[MAIN], &w.table[HELPER],
					   &w.table[VCPU], &w.table[PAGER])
			       ? 0
			       : 1;
	if (!start(&w, argv + optind))
		return 2;
	follow(&w);
	report(&w, out, unused);
	return exit_code(&w);
}
