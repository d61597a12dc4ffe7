/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stopwatch.c: starts a monitor and measures how long it takes until
 * something can be seen from outside, then ends it.
 *
 *	stopwatch byte COMMAND...	the guest's first byte on the console
 *	stopwatch calls COMMAND...	the same, with the system calls counted
 *	stopwatch api SOCKET COMMAND...	GET / answers 200
 *	stopwatch start SOCKET KERNEL BOOT-ARGS COMMAND...
 *					InstanceStart to the first byte
 *	stopwatch load SOCKET STATE MEMORY COMMAND...
 *					a snapshot's first byte, whatever it is
 *	stopwatch reply SOCKET STATE MEMORY UDS PORT COMMAND...
 *					a byte sent to its vsock comes back
 *
 * Prints "ns=N cpu_ns=N faults=N" (calls: "calls=N"): the time from just before
 * the process is made, and its CPU time and page faults until then. load and
 * reply add "load_ns=N resumed_ns=N": from the request to the same, and to its
 * answer. The guest is nano, whose first byte is a newline, so an empty line is
 * it, also where the monitor logs to the console first. Exit code 1, and a line
 * on standard error, where that did not come within 10 s.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_S	    10
#define REPLY_BYTES 4096
#define HTTP_OK	    "HTTP/1.1 20"

/* The process under test and the pipe that is its standard output. */
struct run {
	pid_t pid;
	int out_fd;
	int watch_fd; /* inotify */
	uint64_t start_ns;
	uint64_t load_ns, resumed_ns; /* a snapshot was asked for, and is */
	bool line_start;	      /* of its output */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t time_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_usec * 1000;
}

/* Threads that are traced must be waited for, too, before the process is. */
static void end_process(const struct run *r, struct rusage *usage)
{
	pid_t pid;

	(void)kill(r->pid, SIGKILL);
	do
		pid = wait4(-1, NULL, __WALL, usage);
	while (pid >= 0 && pid != r->pid);
}

/* The process is left to nobody: it ends with us. */
static _Noreturn void die(const struct run *r, const char *what)
{
	struct rusage usage;

	(void)fprintf(stderr, "stopwatch: %s\n", what);
	if (r && r->pid > 0)
		end_process(r, &usage);
	exit(1);
}

static void open_pipe(struct run *r, int *write_fd)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		die(r, "no pipe");
	r->out_fd = ends[0];
	r->line_start = true;
	*write_fd = ends[1];
}

static void spawn(struct run *r, char **argv)
{
	posix_spawn_file_actions_t actions;
	int write_fd;

	open_pipe(r, &write_fd);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null",
					       O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, write_fd, 1);
	r->start_ns = now_ns();
	if (posix_spawnp(&r->pid, argv[0], &actions, NULL, argv, environ) != 0)
		die(NULL, argv[0]);
	(void)close(write_fd);
	(void)posix_spawn_file_actions_destroy(&actions);
}

/* Read what is there; true once the guest's first byte was among it. */
static bool read_output(struct run *r)
{
	char buf[REPLY_BYTES];
	ssize_t n = read(r->out_fd, buf, sizeof(buf));

	if (n <= 0)
		die(r, "the output ended before the guest's first byte");
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] == '\n' && r->line_start)
			return true;
		r->line_start = buf[i] == '\n';
	}
	return false;
}

static void wait_first_byte(struct run *r)
{
	while (!read_output(r))
		;
}

/* ---- the API ---- */

static int try_connect(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* Be told when a socket appears, without taking CPU time from its maker. */
static void watch_folder(struct run *r, const char *socket_path)
{
	char folder[PATH_MAX];

	(void)snprintf(folder, sizeof(folder), "%s", socket_path);
	r->watch_fd = inotify_init1(IN_CLOEXEC);
	if (r->watch_fd < 0 ||
	    inotify_add_watch(r->watch_fd, dirname(folder), IN_CREATE) < 0)
		die(NULL, "cannot watch the folder of the socket");
}

/* From bind() to listen() as often as it can. */
static int connect_api(const struct run *r, const char *path)
{
	char event[sizeof(struct inotify_event) + NAME_MAX + 1];
	int fd;

	if (read(r->watch_fd, event, sizeof(event)) < 0)
		die(r, "no API socket");
	while ((fd = try_connect(path)) < 0) {
		if (now_ns() - r->start_ns > LIMIT_S * 1000000000ULL)
			die(r, "no API socket");
	}
	return fd;
}

static void send_text(const struct run *r, int fd, const char *text)
{
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die(r, "cannot send");
}

static void send_put(const struct run *r, int fd, const char *path,
		     const char *body)
{
	char text[REPLY_BYTES];

	(void)snprintf(text, sizeof(text),
		       "PUT %s HTTP/1.1\r\nHost: localhost\r\n"
		       "Content-Type: application/json\r\n"
		       "Content-Length: %zu\r\n\r\n%s",
		       path, strlen(body), body);
	send_text(r, fd, text);
}

/* It comes in one piece. */
static void wait_reply(const struct run *r, int fd, const char *begin)
{
	char reply[REPLY_BYTES] = "";

	if (read(fd, reply, sizeof(reply) - 1) <= 0)
		die(r, "no reply");
	if (strncmp(reply, begin, strlen(begin)) != 0)
		die(r, reply);
}

static void put(const struct run *r, int fd, const char *path, const char *body)
{
	send_put(r, fd, path, body);
	wait_reply(r, fd, HTTP_OK);
}

static void wait_api(const struct run *r, const char *path)
{
	int fd = connect_api(r, path);

	send_text(r, fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_reply(r, fd, HTTP_OK);
	(void)close(fd);
}

/* Configure by the API, then begin to measure with the InstanceStart. */
static void start_by_api(struct run *r, const char *path, const char *kernel,
			 const char *boot_args)
{
	int fd = connect_api(r, path);
	char body[REPLY_BYTES];

	put(r, fd, "/machine-config",
	    "{\"vcpu_count\": 1, \"mem_size_mib\": 128}");
	(void)snprintf(body, sizeof(body),
		       "{\"kernel_image_path\": \"%s\", \"boot_args\": \"%s\"}",
		       kernel, boot_args);
	put(r, fd, "/boot-source", body);
	r->start_ns = now_ns();
	put(r, fd, "/actions", "{\"action_type\": \"InstanceStart\"}");
	wait_first_byte(r);
}

/* ---- snapshots ---- */

static int ask_to_load(struct run *r, char **argv)
{
	int fd = connect_api(r, argv[0]);
	char body[REPLY_BYTES];

	(void)snprintf(body, sizeof(body),
		       "{\"snapshot_path\": \"%s\", \"resume_vm\": true, "
		       "\"mem_backend\": {\"backend_type\": \"File\", "
		       "\"backend_path\": \"%s\"}}",
		       argv[1], argv[2]);
	r->load_ns = now_ns();
	send_put(r, fd, "/snapshot/load", body);
	return fd;
}

static void wait_resumed(struct run *r, int fd)
{
	wait_reply(r, fd, HTTP_OK);
	r->resumed_ns = now_ns();
}

/* The reply and the byte come in any order; the later one of them ends this. */
static uint64_t load_until_byte(struct run *r, char **argv)
{
	struct pollfd p[2] = {{.fd = ask_to_load(r, argv), .events = POLLIN},
			      {.fd = r->out_fd, .events = POLLIN}};
	char byte;
	uint64_t byte_ns = 0;

	while (!byte_ns || !r->resumed_ns) {
		if (poll(p, 2, LIMIT_S * 1000) <= 0)
			die(r, "no reply, or no byte");
		if (p[1].revents && !byte_ns) {
			if (read(r->out_fd, &byte, 1) != 1)
				die(r, "no byte");
			byte_ns = now_ns();
			p[1].fd = -1;
		}
		if (p[0].revents && !r->resumed_ns) {
			wait_resumed(r, p[0].fd);
			p[0].fd = -1;
		}
	}
	return byte_ns;
}

static uint64_t load_until_reply(struct run *r, char **argv)
{
	char text[32];
	int fd;

	wait_resumed(r, ask_to_load(r, argv));
	fd = try_connect(argv[3]);
	(void)snprintf(text, sizeof(text), "CONNECT %s\n", argv[4]);
	send_text(r, fd, text);
	wait_reply(r, fd, "OK ");
	send_text(r, fd, "x");
	wait_reply(r, fd, "x");
	return now_ns();
}

/* ---- counting system calls ---- */

static void spawn_traced(struct run *r, char **argv)
{
	int write_fd, null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	open_pipe(r, &write_fd);
	r->pid = fork();
	if (r->pid < 0)
		die(NULL, "no process");
	if (r->pid == 0) {
		(void)dup2(null_fd, 0);
		(void)dup2(write_fd, 1);
		(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	(void)close(write_fd);
	(void)close(null_fd);
	if (waitpid(r->pid, NULL, __WALL) != r->pid ||
	    ptrace(PTRACE_SETOPTIONS, r->pid, NULL,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
			   PTRACE_O_EXITKILL) < 0)
		die(r, "cannot trace");
}

static bool is_entry(pid_t tid)
{
	struct __ptrace_syscall_info info;

	return ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
	       info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

static bool has_output(const struct run *r)
{
	struct pollfd p = {.fd = r->out_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* All threads, from exec until the first byte has been written. */
static unsigned long count_calls(struct run *r)
{
	unsigned long calls = 0;
	pid_t tid = r->pid;
	int status, sig = 0;

	for (;;) {
		(void)ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(intptr_t)sig);
		tid = waitpid(-1, &status, __WALL);
		if (tid < 0 || (tid == r->pid && !WIFSTOPPED(status)))
			die(r, "ended before the guest's first byte");
		sig = 0;
		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			calls += is_entry(tid);
			if (has_output(r) && read_output(r))
				return calls;
		} else if (WSTOPSIG(status) != SIGTRAP &&
			   WSTOPSIG(status) != SIGSTOP) {
			sig = WSTOPSIG(status);
		}
	}
}

/* ---- */

static int calls_main(char **argv)
{
	struct rusage usage;
	struct run r = {0};

	spawn_traced(&r, argv);
	(void)printf("calls=%lu\n", count_calls(&r));
	end_process(&r, &usage);
	return 0;
}

static int measure(struct run *r, int argc, char **argv)
{
	struct rusage usage;
	uint64_t end_ns = 0;

	if (argc >= 3 && strcmp(argv[1], "byte") == 0) {
		spawn(r, argv + 2);
		wait_first_byte(r);
	} else if (argc >= 4 && strcmp(argv[1], "api") == 0) {
		watch_folder(r, argv[2]);
		spawn(r, argv + 3);
		wait_api(r, argv[2]);
	} else if (argc >= 6 && strcmp(argv[1], "start") == 0) {
		watch_folder(r, argv[2]);
		spawn(r, argv + 5);
		start_by_api(r, argv[2], argv[3], argv[4]);
	} else if (argc >= 6 && strcmp(argv[1], "load") == 0) {
		watch_folder(r, argv[2]);
		spawn(r, argv + 5);
		end_ns = load_until_byte(r, argv + 2);
	} else if (argc >= 8 && strcmp(argv[1], "reply") == 0) {
		watch_folder(r, argv[2]);
		spawn(r, argv + 7);
		end_ns = load_until_reply(r, argv + 2);
	} else {
		die(NULL, "see the head of stopwatch.c for its use");
	}
	if (end_ns == 0)
		end_ns = now_ns();
	end_process(r, &usage);
	(void)printf("ns=%llu cpu_ns=%llu faults=%ld",
		     (unsigned long long)(end_ns - r->start_ns),
		     (unsigned long long)(time_ns(&usage.ru_utime) +
					  time_ns(&usage.ru_stime)),
		     usage.ru_minflt + usage.ru_majflt);
	if (r->load_ns)
		(void)printf(" load_ns=%llu resumed_ns=%llu",
			     (unsigned long long)(end_ns - r->load_ns),
			     (unsigned long long)(r->resumed_ns - r->load_ns));
	(void)printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct run r = {0};

	(void)alarm(LIMIT_S);
	if (argc >= 3 && strcmp(argv[1], "calls") == 0)
		return calls_main(argv + 2);
	return measure(&r, argc, argv);
}
