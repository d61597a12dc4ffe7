/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "snapshot/target.h"

struct folder {
	char dir[32];
	char path[64]; /* of the target */
};

static int setup(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)strcpy(f->dir, "/tmp/mayfly-target-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/file", f->dir);
	*state = f;
	return 0;
}

static unsigned int entries(const struct folder *f)
{
	DIR *d = opendir(f->dir);
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n - 2; /* "." and ".." */
}

static int teardown(void **state)
{
	struct folder *f = *state;
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
	free(f);
	return 0;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void assert_holds(const char *path, const char *text)
{
	char buf[16] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	(void)close(fd);
	assert_string_equal(buf, text);
}

/* The file that is looked at is committed second, after "first". */
static void write_new(const struct folder *f, bool commit)
{
	struct target t, first;
	struct err e = {0};
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/first", f->dir);
	assert_int_equal(target_open(&first, path, 7, "snapshot", &e), 0);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(write(t.fd, "new", 3), 3);
	assert_int_equal(target_sync(&t, "memory", &e), 0);
	if (commit)
		assert_int_equal(
			target_commit(&first, "snapshot", &t, "memory", &e), 0);
	target_abort(&t);
	target_abort(&first);
	assert_int_equal(access(path, F_OK), commit ? 0 : -1);
	(void)unlink(path);
}

static void committed_file_has_its_name(void **state)
{
	struct folder *f = *state;

	write_new(f, true);
	assert_holds(f->path, "new");
	assert_int_equal(entries(f), 1);
}

static void aborted_file_leaves_the_old_one(void **state)
{
	struct folder *f = *state;

	put(f->path, "old");
	write_new(f, false);
	assert_holds(f->path, "old");
	assert_int_equal(entries(f), 1);
}

static void old_inode_is_not_written(void **state)
{
	struct folder *f = *state;
	char buf[4] = "";
	int fd;

	put(f->path, "old");
	fd = open(f->path, O_RDONLY);
	write_new(f, true);
	assert_holds(f->path, "new");
	assert_int_equal(read(fd, buf, 3), 3);
	assert_string_equal(buf, "old");
	(void)close(fd);
}

static void nobody_else_may_read_the_new_one(void **state)
{
	const struct folder *f = *state;
	struct stat st;

	(void)umask(022);
	write_new(f, true);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(chmod(f->path, 0600), 0);
	write_new(f, true);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void link_is_followed_and_stays(void **state)
{
	struct folder *f = *state;
	char real[64];
	struct stat st;

	(void)snprintf(real, sizeof(real), "%s/real", f->dir);
	put(real, "old");
	assert_int_equal(symlink("real", f->path), 0);
	write_new(f, true);
	assert_holds(real, "new");
	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void only_regular_files_are_replaced(void **state)
{
	struct folder *f = *state;
	struct target t;
	struct err e = {0};

	assert_int_equal(target_open(&t, f->dir, 7, "snapshot", &e), -EISDIR);
	assert_string_equal(e.text,
			    "Cannot perform open on the snapshot backing "
			    "file: Is a directory (os error 21)");
	target_abort(&t);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), -EINVAL);
	target_abort(&t);
	assert_int_equal(target_open(&t, "/dev/null", 7, "memory", &e),
			 -EINVAL);
	target_abort(&t);
	assert_int_equal(entries(f), 1);
}

static void no_name_is_an_error(void **state)
{
	struct folder *f = *state;
	struct target t;
	struct err e = {0};
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/none/file", f->dir);
	assert_int_equal(target_open(&t, path, 7, "memory", &e), -ENOENT);
	target_abort(&t);
	assert_int_equal(target_open(&t, "", 7, "memory", &e), -ENOENT);
	assert_string_equal(e.text,
			    "Cannot perform open on the memory backing file: "
			    "No such file or directory (os error 2)");
	target_abort(&t);
}

/* However it is spelled. */
static void one_file_cannot_be_both(void **state)
{
	struct folder *f = *state;
	struct target t, other;
	struct err e = {0};
	char path[64];

	put(f->path, "old");
	(void)snprintf(path, sizeof(path), "%s/./file", f->dir);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(target_open(&other, path, 7, "snapshot", &e), -EEXIST);
	target_abort(&other);
	target_abort(&t);
	assert_holds(f->path, "old");
	assert_int_equal(entries(f), 1);
}

static void read_and_close(const char *path, uint64_t number, const char *text)
{
	char buf[16] = "";
	int fd = target_read(path, number);

	assert_true(fd >= 0);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	(void)close(fd);
	assert_string_equal(buf, text);
}

/* The first has its name; the second has not, as after a kill in between. */
static void half_a_commit_is_a_whole_one(void **state)
{
	struct folder *f = *state;
	struct target t, first;
	struct err e = {0};
	char path[64];

	put(f->path, "old");
	(void)snprintf(path, sizeof(path), "%s/first", f->dir);
	assert_int_equal(target_open(&first, path, 7, "snapshot", &e), 0);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(write(t.fd, "new", 3), 3);
	/* A folder cannot be replaced by a file: the second rename fails. */
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_true(target_commit(&first, "snapshot", &t, "memory", &e) < 0);
	target_abort(&t);
	target_abort(&first);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(rmdir(f->path), 0);
	put(f->path, "old");
	read_and_close(f->path, 8, "old");
	read_and_close(f->path, 7, "new");
	assert_holds(f->path, "new"); /* it got its name */
	read_and_close(f->path, 7, "new");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(entries(f), 1);
	assert_int_equal(target_read(path, 7), -ENOENT);
}

static void failed_first_name_leaves_both(void **state)
{
	struct folder *f = *state;
	struct target t, first;
	struct err e = {0};
	char path[64];

	put(f->path, "old");
	(void)snprintf(path, sizeof(path), "%s/first", f->dir);
	assert_int_equal(target_open(&first, path, 7, "snapshot", &e), 0);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(target_commit(&first, "snapshot", &t, "memory", &e),
			 -EISDIR);
	target_abort(&t);
	target_abort(&first);
	assert_int_equal(rmdir(path), 0);
	assert_holds(f->path, "old");
	assert_int_equal(entries(f), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ---- which inodes are synced ---- */

static ino_t synced[8];
static unsigned int n_synced;

int fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	synced[n_synced++ % 8] = st.st_ino;
	return fdatasync(fd);
}

static ino_t inode(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* The folder of the second, both files, and how many calls that makes. */
static void sync_two(const struct folder *f, const char *dir, unsigned int n)
{
	struct target t, other;
	struct err e = {0};
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/other", dir);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(target_open(&other, path, 7, "snapshot", &e), 0);
	n_synced = 0;
	assert_int_equal(target_sync_both(&t, "memory", &other, "snapshot", &e),
			 0);
	assert_int_equal(n_synced, n);
	assert_int_equal(synced[0], inode(t.temp));
	assert_int_equal(synced[n - 2], inode(other.temp));
	assert_int_equal(synced[n - 1], inode(dir));
	if (n == 4)
		assert_int_equal(synced[1], inode(f->dir));
	target_abort(&other);
	target_abort(&t);
}

static void a_folder_is_synced_once(void **state)
{
	const struct folder *f = *state;
	char dir[64];

	sync_two(f, f->dir, 3);
	/* As long, and no other folder's name begins like it. */
	(void)snprintf(dir, sizeof(dir), "%s/sub", f->dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	sync_two(f, dir, 4);
}

/* ---- copies ---- */

/* A file as long as `bytes` with one page of data at 64 KiB. */
static int sparse_file(const struct folder *f, off_t bytes)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/sparse", f->dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	assert_int_equal(pwrite(fd, "data", 4, 65536), 4);
	return fd;
}

static void copy_has_its_holes(void **state)
{
	struct folder *f = *state;
	int from = sparse_file(f, 1 << 20);
	struct target t;
	struct err e = {0};
	char buf[5] = "";

	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(target_copy(&t, from, 1 << 19, false), 0);
	assert_int_equal(lseek(t.fd, 0, SEEK_END), 1 << 19);
	assert_int_equal(pread(t.fd, buf, 4, 65536), 4);
	assert_string_equal(buf, "data");
	assert_int_equal(lseek(t.fd, 0, SEEK_DATA), 65536);
	assert_int_equal(lseek(t.fd, 65536, SEEK_HOLE), 65536 + 4096);
	assert_int_equal(lseek(t.fd, 65536 + 4096, SEEK_DATA), -1);
	target_abort(&t);
	(void)close(from);
}

/* By the file system, or not at all; never half of it. */
static void shared_is_whole_or_not(void **state)
{
	struct folder *f = *state;
	int from = sparse_file(f, 1 << 20);
	struct target t;
	struct err e = {0};
	int ret;

	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	ret = target_share(&t, from, 1 << 19);
	assert_true(ret == 0 || ret == -ENOTSUP);
	assert_int_equal(lseek(t.fd, 0, SEEK_END), ret == 0 ? 1 << 19 : 0);
	target_abort(&t);
	(void)close(from);
}

static void zeros_are_not_copied(void **state)
{
	static char zeros[3 * 4096];
	struct folder *f = *state;
	int from = sparse_file(f, 1 << 20);
	struct target t;
	struct err e = {0};
	char buf[5] = "";

	/* Around the data, and at the end. */
	assert_int_equal(pwrite(from, zeros, 8192, 65536 - 8192), 8192);
	assert_int_equal(pwrite(from, zeros, 4096, 65536 + 4096), 4096);
	assert_int_equal(pwrite(from, "last", 4, 65536 + 8192), 4);
	assert_int_equal(pwrite(from, zeros, 8192, (1 << 20) - 8192), 8192);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	if (target_share(&t, from, 1 << 20) == 0)
		skip();
	assert_int_equal(target_copy(&t, from, 1 << 20, false), 0);
	assert_int_equal(lseek(t.fd, 0, SEEK_END), 1 << 20);
	assert_int_equal(lseek(t.fd, 0, SEEK_DATA), 65536);
	assert_int_equal(lseek(t.fd, 65536, SEEK_HOLE), 65536 + 4096);
	assert_int_equal(lseek(t.fd, 65536 + 4096, SEEK_DATA), 65536 + 8192);
	assert_int_equal(lseek(t.fd, 65536 + 3 * 4096, SEEK_DATA), -1);
	assert_int_equal(pread(t.fd, buf, 4, 65536), 4);
	assert_string_equal(buf, "data");
	assert_int_equal(pread(t.fd, buf, 4, 65536 + 8192), 4);
	assert_string_equal(buf, "last");
	target_abort(&t);
	(void)close(from);
}

/* Half of it may be there then: nothing is laid over that. */
static void failed_share_is_no_reason_to_copy(void **state)
{
	struct folder *f = *state;
	struct target t;
	struct err e = {0};
	int from;

	put(f->path, "old");
	from = open(f->path, O_WRONLY); /* the kernel says EBADF first */
	assert_true(from >= 0);
	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(target_copy(&t, from, 3, false), -EBADF);
	assert_int_equal(lseek(t.fd, 0, SEEK_END), 0);
	target_abort(&t);
	(void)close(from);
}

static void old_file_can_be_read(void **state)
{
	struct folder *f = *state;
	struct target t;
	struct err e = {0};
	char buf[4] = "";
	int fd;

	assert_int_equal(target_open(&t, f->path, 7, "memory", &e), 0);
	assert_int_equal(target_old(&t), -ENOENT);
	put(f->path, "old");
	fd = target_old(&t);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, 3), 3);
	assert_string_equal(buf, "old");
	(void)close(fd);
	target_abort(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(committed_file_has_its_name),
		TEST(aborted_file_leaves_the_old_one),
		TEST(old_inode_is_not_written),
		TEST(nobody_else_may_read_the_new_one),
		TEST(link_is_followed_and_stays),
		TEST(only_regular_files_are_replaced),
		TEST(no_name_is_an_error),
		TEST(one_file_cannot_be_both),
		TEST(half_a_commit_is_a_whole_one),
		TEST(failed_first_name_leaves_both),
		TEST(copy_has_its_holes),
		TEST(shared_is_whole_or_not),
		TEST(zeros_are_not_copied),
		TEST(failed_share_is_no_reason_to_copy),
		TEST(a_folder_is_synced_once),
		TEST(old_file_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
