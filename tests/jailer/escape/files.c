/* SPDX-License-Identifier: Apache-2.0 */
/* Files beyond the root, files that could be executed, nodes and links. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/jailer/escape/escape.h"

#define ROOT_INODE 2 /* of ext4; elsewhere the handle is stale */

static const char *up(const struct facts *f)
{
	static char path[2 * PATH_MAX];

	(void)snprintf(path, sizeof(path), "/../../../../../../../..%s",
		       f->outside);
	return path;
}

static int open_upwards(const struct facts *f)
{
	return open(up(f), O_RDONLY | O_CLOEXEC);
}

static int open_by_proc(const struct facts *f)
{
	char path[2 * PATH_MAX];

	(void)snprintf(path, sizeof(path), "/proc/1/root%s", f->outside);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int open_kernel_memory(const struct facts *f)
{
	(void)f;
	return open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
}

static int open_proc(const struct facts *f)
{
	(void)f;
	return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}

static int open_terminal(const struct facts *f)
{
	(void)f;
	return open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* The folder of before stands above the new root. */
static int leave_chroot(const struct facts *f)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (chroot(inside(f, "/run")) < 0 || fchdir(fd) < 0)
		return -1;
	for (int i = 0; i < 16; i++)
		(void)!chdir("..");
	return open(f->outside + 1, O_RDONLY | O_CLOEXEC);
}

static int open_handle(const struct facts *f)
{
	struct {
		struct file_handle h;
		unsigned char bytes[MAX_HANDLE_SZ];
	} at = {.h = {.handle_bytes = MAX_HANDLE_SZ}};
	const unsigned int root = ROOT_INODE;
	int mount, fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)f;
	if (name_to_handle_at(fd, "", &at.h, &mount, AT_EMPTY_PATH) < 0)
		return -1;
	memcpy(at.h.f_handle, &root, sizeof(root));
	fd = open_by_handle_at(fd, &at.h, O_RDONLY | O_CLOEXEC);
	return fd < 0 && errno == ESTALE ? 0 : fd;
}

static int node(const struct facts *f, mode_t kind, dev_t dev)
{
	const char *path = inside(f, "/run/node");

	if (mknod(path, kind | 0600, dev) < 0)
		return -1;
	return unlink(path);
}

static int make_disk(const struct facts *f)
{
	return node(f, S_IFBLK, makedev(8, 0));
}

static int make_memory(const struct facts *f)
{
	return node(f, S_IFCHR, makedev(1, 1));
}

static int make_fifo(const struct facts *f)
{
	return node(f, S_IFIFO, 0);
}

static int link_out(const struct facts *f)
{
	return symlink(f->outside, inside(f, "/run/link"));
}

static int link_host_file(const struct facts *f)
{
	return link(up(f), inside(f, "/run/hard"));
}

static int rename_host_file(const struct facts *f)
{
	return rename(up(f), up(f));
}

static int watch_host_file(const struct facts *f)
{
	return inotify_add_watch(inotify_init1(IN_CLOEXEC), up(f), IN_OPEN);
}

static int reach_socket(const struct facts *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/../..%.80s.sock",
		       f->outside);
	return connect(socket(AF_UNIX, SOCK_STREAM, 0),
		       (const struct sockaddr *)&a, sizeof(a));
}

/* 0 if the program ran; it ends with the errno of its exec. */
static int run(int fd, const char *path)
{
	char *argv[] = {(char[]){"x"}, (char[]){"--exit"}, NULL};
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		(void)syscall(SYS_execveat, fd, path, argv, environ,
			      *path ? 0 : AT_EMPTY_PATH);
		_exit(errno);
	}
	(void)waitpid(pid, &status, 0);
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return errno ? -1 : 0;
}

static int copy_to(int to, const struct facts *f)
{
	static char buf[1 << 16];
	int from = open(f->program, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0) {
		if (write(to, buf, (size_t)n) != n)
			return -1;
	}
	(void)close(from);
	return n < 0 ? -1 : 0;
}

static int copy_as(const struct facts *f, const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0 || copy_to(fd, f) < 0 || fchmod(fd, mode) < 0)
		return -1;
	return close(fd);
}

static int run_copy(const struct facts *f)
{
	const char *path = inside(f, "/run/copy");

	return copy_as(f, path, 0755) < 0 ? -1 : run(AT_FDCWD, path);
}

/* Root's, staged by the test. */
static int run_set_uid(const struct facts *f)
{
	return run(AT_FDCWD, inside(f, "/set-uid"));
}

static int run_memory(const struct facts *f)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	return fd < 0 || copy_to(fd, f) < 0 ? -1 : run(fd, "");
}

static int write_program(const struct facts *f)
{
	return open(f->program, O_WRONLY | O_CLOEXEC);
}

static int replace_program(const struct facts *f)
{
	char path[PATH_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s.new", f->program);
	if (copy_as(f, path, 0755) < 0 || rename(path, f->program) < 0)
		return -1;
	return run(AT_FDCWD, f->program);
}

static int own_file(const struct facts *f)
{
	return open(inside(f, "/run/own"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int give_file_away(const struct facts *f)
{
	return fchown(own_file(f), getuid() + 1, (gid_t)-1);
}

static int give_file_caps(const struct facts *f)
{
	/* Version 2, effective, CAP_CHOWN. */
	const unsigned int caps[5] = {0x02000001, 1};

	return fsetxattr(own_file(f), "security.capability", caps, sizeof(caps),
			 0);
}

static int make_immutable(const struct facts *f)
{
	int fd = own_file(f), flags = FS_APPEND_FL, none = 0;

	if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
		return -1;
	return ioctl(fd, FS_IOC_SETFLAGS, &none);
}

static int make_folder(const struct facts *f)
{
	return mkdir(inside(f, "/run/dir"), 0700);
}

const struct attempt file_attempts[] = {
	{"open a host file by ..", open_upwards},
	{"open a host file by /proc/1/root", open_by_proc},
	{"open the kernel's log", open_kernel_memory},
	{"open /proc", open_proc},
	{"open a new terminal", open_terminal},
	{"leave by chroot and a descriptor", leave_chroot},
	{"open by handle", open_handle},
	{"make the node of a disk", make_disk},
	{"make the node of memory", make_memory},
	{"make a FIFO", make_fifo},
	{"make a symbolic link", link_out},
	{"make a hard link to a host file", link_host_file},
	{"rename a host file", rename_host_file},
	{"watch a host file", watch_host_file},
	{"reach a host socket by ..", reach_socket},
	{"make a folder", make_folder},
	{"run a copy", run_copy},
	{"run a set-user-id file", run_set_uid},
	{"run from memory", run_memory},
	{"write to the running program", write_program},
	{"give a file away", give_file_away},
	{"give a file capabilities", give_file_caps},
	{"make a file append-only", make_immutable},
	/* The last: its name is another file then. */
	{"replace the program and run it", replace_program},
	{0},
};
