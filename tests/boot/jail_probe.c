/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail_probe: run in place of the monitor, says what it was started with, then
 * tries what a monitor needs and what is left of a terminal: a line "name: ok"
 * or "name: <errno>" for each. tests/jailer/escape tries what must fail. With
 * "headless" as its last word, its first thread ends and another goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SIGNALS 64

static int opens(const char *path, int flags)
{
	return open(path, flags | O_CLOEXEC, 0600);
}

static int file_made(void)
{
	return opens("/run/file", O_RDWR | O_CREAT | O_EXCL);
}

static int file_removed(void)
{
	return unlink("/run/file");
}

static int socket_bound(void)
{
	const struct sockaddr_un a = {AF_UNIX, "/run/sock"};

	return bind(socket(AF_UNIX, SOCK_STREAM, 0),
		    (const struct sockaddr *)&a, sizeof(a));
}

static int kvm(void)
{
	int fd = opens("/dev/kvm", O_RDWR);

	return fd < 0 ? fd : fcntl(fd, F_GETFD);
}

static int tun(void)
{
	return opens("/dev/net/tun", O_RDWR);
}

static int random_read(void)
{
	return opens("/dev/urandom", O_RDONLY);
}

static int faults(void)
{
	return opens("/dev/userfaultfd", O_RDWR);
}

/* The host's shell would find it typed (TIOCSTI). */
static int typed(void)
{
	return ioctl(0, TIOCSTI, "x");
}

static int terminal_kept(void)
{
	pid_t session;

	return ioctl(0, TIOCGSID, &session);
}

static const struct {
	const char *name;
	int (*try)(void);
} attempts[] = {
	{"file made", file_made},
	{"file removed", file_removed},
	{"socket bound", socket_bound},
	{"kvm opened", kvm},
	{"tun opened", tun},
	{"urandom opened", random_read},
	{"userfaultfd opened", faults},
	{"typed", typed},
	{"terminal kept", terminal_kept},
};

/* All of the kernel's signals: the C library hides two of them. */
static void say_signals(void)
{
	unsigned long blocked = 0, pending = 0, handled = 0;

	for (int sig = 1; sig <= SIGNALS; sig++) {
		unsigned long action[4];

		if (syscall(SYS_rt_sigaction, sig, NULL, action, 8) == 0 &&
		    action[0] != (unsigned long)SIG_DFL)
			handled |= 1UL << (sig - 1);
	}
	(void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, 8);
	(void)syscall(SYS_rt_sigpending, &pending, 8);
	printf("signals: %lx %lx %lx\n", handled, blocked, pending);
}

static void say_timers(void)
{
	struct itimerval t;
	int n = 0;

	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		n += getitimer((__itimer_which_t)which, &t) == 0 &&
		     (t.it_value.tv_sec || t.it_value.tv_usec);
	printf("timers: %d\npersonality: %x\n", n,
	       (unsigned int)personality(0xffffffff));
}

/* The state that survives an exec, as far as a process can see its own. */
static void say_state(char **argv)
{
	char host[128] = "";
	int vars = 0;

	say_signals();
	say_timers();
	while (environ[vars])
		vars++;
	printf("environment: %d\n", vars);
	(void)gethostname(host, sizeof(host) - 1);
	printf("umask: %o\nhost: %s\npid: %d\n", (unsigned int)umask(0), host,
	       getpid());
	printf("session: %d\n", getsid(0) == getpid());
	printf("descriptors:");
	for (int fd = 0; fd < 4096; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			printf(" %d", fd);
	}
	printf("\narguments:");
	for (int i = 0; argv[i]; i++)
		printf(" [%s]", argv[i]);
	printf("\n");
}

static void *go_on(void *arg)
{
	for (;;)
		(void)pause();
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (!strcmp(argv[argc - 1], "headless") &&
	    pthread_create(&thread, NULL, go_on, NULL) == 0)
		pthread_exit(NULL);
	say_state(argv);
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		errno = 0;
		if (attempts[i].try() >= 0)
			printf("%s: ok\n", attempts[i].name);
		else
			printf("%s: %s\n", attempts[i].name,
			       strerrorname_np(errno));
		(void)fflush(stdout);
	}
	return 0;
}
