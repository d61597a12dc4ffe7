/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h: files and folders of a test, in a folder of its own.
 */
#ifndef TESTS_JAILER_TREE_H
#define TESTS_JAILER_TREE_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Make a folder under /tmp, open it. */
static inline int tree_new(char path[32])
{
	(void)snprintf(path, 32, "/tmp/mayfly-XXXXXX");
	assert_non_null(mkdtemp(path));

	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline void tree_free(int fd, const char *path)
{
	char command[64];

	(void)close(fd);
	(void)snprintf(command, sizeof(command), "rm -rf %s", path);
	/* NOLINTNEXTLINE(cert-env33-c): a path of ours */
	assert_int_equal(system(command), 0);
}

static inline void tree_dir(int fd, const char *name)
{
	assert_int_equal(mkdirat(fd, name, 0755), 0);
}

static inline void tree_file(int fd, const char *name, const char *text)
{
	int file = openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			  0644);

	assert_true(file >= 0);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	(void)close(file);
}

static inline int tree_has(int fd, const char *name)
{
	struct stat st;

	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline void tree_is(int fd, const char *name, const char *text)
{
	char buf[256] = "";
	int file = openat(fd, name, O_RDONLY | O_CLOEXEC);

	assert_true(file >= 0);
	assert_true(read(file, buf, sizeof(buf) - 1) >= 0);
	(void)close(file);
	assert_string_equal(buf, text);
}

#endif
