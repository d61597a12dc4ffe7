/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "jailer/args.h"
#include "jailer/jail.h"

#define NUMBER_BYTES 24
#define OWN_WORDS    9 /* the program's name and what the jailer tells it */

static int not_executable(struct err *e)
{
	return err_code(e, -ENOEXEC, "Failed to exec into Firecracker");
}

static int check_elf(int fd, const char *path, struct err *e)
{
	Elf64_Ehdr eh;

	if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64 ||
	    (eh.e_type != ET_EXEC && eh.e_type != ET_DYN) ||
	    eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phoff > INT64_MAX / 2)
		return not_executable(e);
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		off_t at = (off_t)(eh.e_phoff + i * sizeof(ph));

		if (pread(fd, &ph, sizeof(ph), at) != sizeof(ph))
			return not_executable(e);
		if (ph.p_type == PT_INTERP)
			return err_set(e, -ENOEXEC,
				       "%s is linked dynamically and cannot "
				       "start in a jail, which holds no "
				       "libraries: link it with -static-pie",
				       path);
	}
	return 0;
}

int program_open(struct jail *j, struct err *e)
{
	const char *path = j->args->exec_file;
	struct stat st;

	/* A FIFO would hold the open up. */
	j->program = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (j->program < 0 || fstat(j->program, &st) < 0)
		return err_sys(e, "Failed to canonicalize path %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s is not a file", path);
	return check_elf(j->program, path, e);
}

static int copy_bytes(int to, int from)
{
	ssize_t n;

	/* Shares the blocks where the file system can. */
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	do
		n = sendfile(to, from, NULL, INT_MAX);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

int program_copy(struct jail *j, struct err *e)
{
	const char *name = j->args->exec_name;

	j->copy = openat(j->root, name,
			 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			 0700);
	if (j->copy < 0) {
		(void)err_sys(e, "Failed to open %s/%s", j->root_path, name);
		if (e->code == -EEXIST && path_is_hard_link(j->root, name))
			(void)err_set(e, -EEXIST,
				      "Detected hard link at: %s/%s",
				      j->root_path, name);
		return e->code;
	}
	made_add(&j->made, j->root, name, 0);
	if (copy_bytes(j->copy, j->program) < 0)
		return err_sys(e, "Failed to copy %s to %s/%s",
			       j->args->exec_file, j->root_path, name);
	if (fchown(j->copy, j->args->uid, j->args->gid) < 0)
		return err_sys(e, "Failed to change owner for %s/%s",
			       j->root_path, name);
	if (fchmod(j->copy, 0755) < 0)
		return err_sys(e, "Failed to change permissions on %s/%s",
			       j->root_path, name);
	fd_close(&j->program);
	return 0;
}

int program_seal(struct jail *j, struct err *e)
{
	struct stat written, found;

	j->sealed = open(j->args->exec_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (j->sealed < 0 || fstat(j->sealed, &found) < 0 ||
	    fstat(j->copy, &written) < 0)
		return err_sys(e, "Failed to open %s/%s", j->root_path,
			       j->args->exec_name);
	if (found.st_dev != written.st_dev || found.st_ino != written.st_ino)
		return err_set(e, -EBUSY,
			       "%s/%s was replaced while the jail was made",
			       j->root_path, j->args->exec_name);
	fd_close(&j->copy);
	return 0;
}

int program_exec(const struct jail *j, struct err *e)
{
	const struct flags_rest *extra = &j->args->extra;
	char name[NAME_MAX + 2], start[NUMBER_BYTES], cpu[NUMBER_BYTES],
		parent[NUMBER_BYTES];
	const char *own[OWN_WORDS] = {name,	   "--id",
				      j->args->id, "--start-time-us",
				      start,	   "--start-time-cpu-us",
				      cpu,	   "--parent-cpu-time-us",
				      parent};
	cleanup_free const char **argv =
		calloc(OWN_WORDS + (size_t)extra->n + 1, sizeof(*argv));
	char *envp[] = {NULL};

	if (!argv)
		return err_code(e, -ENOMEM, "Failed to exec into Firecracker");
	(void)snprintf(name, sizeof(name), "/%s", j->args->exec_name);
	(void)snprintf(start, sizeof(start), "%" PRIu64, j->start_us);
	(void)snprintf(cpu, sizeof(cpu), "%" PRIu64, j->start_cpu_us);
	(void)snprintf(parent, sizeof(parent), "%" PRIu64, j->parent_cpu_us);
	memcpy(argv, own, sizeof(own));
	for (int i = 0; i < extra->n; i++)
		argv[OWN_WORDS + i] = extra->words[i];
	(void)execveat(j->sealed, "", (char **)(uintptr_t)argv, envp,
		       AT_EMPTY_PATH);
	return err_sys(e, "Failed to exec into Firecracker");
}
