/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail_probe: run in place of the monitor, says what it can do. Prints a line
 * "name: ok" or "name: <errno>" for each attempt, then what it was started
 * with.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

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

static int up(void)
{
	return opens("/../../../../etc/passwd", O_RDONLY);
}

static int proc(void)
{
	return opens("/proc/self/status", O_RDONLY);
}

static int dir_made(void)
{
	return mkdir("/run/dir", 0700);
}

static int link_made(void)
{
	return symlink("/etc", "/run/link");
}

static int fifo_made(void)
{
	return mkfifo("/run/fifo", 0600);
}

static int node_made(void)
{
	return mknod("/run/node", S_IFBLK | 0600, makedev(8, 0));
}

static int copy_executed(void)
{
	int from = opens("/staged", O_RDONLY);
	int status = -1;
	pid_t pid;

	(void)close(from);
	pid = fork();
	if (pid == 0) {
		char *argv[] = {(char[]){"/staged"}, (char[]){"--exit"}, NULL};

		(void)execv("/staged", argv);
		_exit(errno);
	}
	(void)waitpid(pid, &status, 0);
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static int mounted(void)
{
	return mount("none", "/run", "tmpfs", 0, NULL);
}

static int root_changed(void)
{
	return chroot("/run");
}

static int other_ns(void)
{
	return unshare(CLONE_NEWNET);
}

static int user_0(void)
{
	return getuid() == 0 ? (errno = EPERM, -1) : setuid(0);
}

static int caps_kept(void)
{
	return prctl(PR_SET_SECUREBITS, 0, 0, 0, 0);
}

static int tcp_bound(void)
{
	const struct sockaddr_in a = {.sin_family = AF_INET,
				      .sin_port = htons(10000)};

	return bind(socket(AF_INET, SOCK_STREAM, 0),
		    (const struct sockaddr *)&a, sizeof(a));
}

static int abstract_reached(void)
{
	const struct sockaddr_un a = {AF_UNIX, "\0mayfly-test"};

	return connect(socket(AF_UNIX, SOCK_STREAM, 0),
		       (const struct sockaddr *)&a,
		       offsetof(struct sockaddr_un, sun_path) + 12);
}

static int signalled(void)
{
	return kill(getppid() > 1 ? getppid() : -1, 0);
}

static int terminal(void)
{
	return opens("/dev/tty", O_RDWR);
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
	{"root left", up},
	{"proc read", proc},
	{"folder made", dir_made},
	{"link made", link_made},
	{"fifo made", fifo_made},
	{"node made", node_made},
	{"copy executed", copy_executed},
	{"mounted", mounted},
	{"root changed", root_changed},
	{"namespace made", other_ns},
	{"became user 0", user_0},
	{"bits unlocked", caps_kept},
	{"tcp bound", tcp_bound},
	{"abstract socket reached", abstract_reached},
	{"parent signalled", signalled},
	{"terminal opened", terminal},
};

/* The state that survives an exec, as far as a process can see its own. */
static void say_state(char **argv)
{
	unsigned long ignored = 0;
	char host[128] = "";
	sigset_t mask;
	int vars = 0;

	for (int s = 1; s <= SIGRTMAX; s++) {
		struct sigaction sa;

		if (sigaction(s, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL)
			ignored |= 1UL << (s - 1);
	}
	(void)sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int s = 1; s <= SIGRTMAX; s++) {
		if (sigismember(&mask, s) > 0)
			ignored |= 1UL << (s - 1);
	}
	while (environ[vars])
		vars++;
	printf("signals: %lu\nenvironment: %d\n", ignored, vars);
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

int main(int argc, char **argv)
{
	/* The copy that could be executed after all. */
	if (argc == 2 && !strcmp(argv[1], "--exit"))
		return 0;
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
