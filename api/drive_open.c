/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "api/config.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"

#define SECTOR_BYTES  512
#define LOCK_TRIES    10
#define LOCK_PAUSE_NS 10000000

bool drive_lock(struct drive_file *f, bool read_only)
{
	const struct flock lock = {
		.l_type = read_only ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	f->locked = fcntl(f->blk.fd, F_OFD_SETLK, &lock) == 0;
	/* Not every file system has locks. */
	return f->locked || (errno != EAGAIN && errno != EACCES);
}

/*
 * The kernel lets go of the files of a ring only a while after they were closed
 * or their process has ended: wait that long before believing a conflict.
 */
bool drive_lock_soon(struct drive_file *f, bool read_only)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	const uint32_t word = 0;
	bool locked = drive_lock(f, read_only);

	for (int i = 0; !locked && i < LOCK_TRIES; i++) {
		/* Nobody wakes it: a sleep by a call that is allowed anyway. */
		(void)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &pause);
		locked = drive_lock(f, read_only);
	}
	return locked;
}

/* Whether a drive of ours has locked the same file. */
static bool is_ours(const struct config *c, const struct drive_file *f)
{
	for (unsigned int i = 0; i < c->n_drives; i++) {
		const struct drive_file *have = &c->drive[i].file;

		if (have->locked && have->dev == f->dev && have->ino == f->ino)
			return true;
	}
	return false;
}

/*
 * Two writers of one image destroy it: take an open-file-description lock and
 * say so if another process has one. Firecracker allows it, so it is an error
 * on request only. Our own drives may share a file; one of them has the lock.
 */
static int lock(const struct config *c, const struct text *path, bool read_only,
		bool exclusive, struct drive_file *f, struct err *e)
{
	if (drive_lock(f, read_only) || is_ours(c, f) ||
	    drive_lock_soon(f, read_only))
		return 0;
	if (exclusive)
		return err_set(e, -EBUSY,
			       "Virtio backend error: Error manipulating the "
			       "backing file: Resource busy (os error 16) %s",
			       path->s);
	log_warn("The file '%s' is in use by another process: data may be lost",
		 path->s);
	return 0;
}

static void set_id(struct blk_file *f, const struct stat *st)
{
	char id[64];

	(void)snprintf(id, sizeof(id), "%ju%ju%ju", (uintmax_t)st->st_dev,
		       (uintmax_t)st->st_rdev, (uintmax_t)st->st_ino);
	memset(f->id, 0, sizeof(f->id));
	memcpy(f->id, id, strnlen(id, sizeof(f->id)));
}

/* -errno, or the descriptor of something that has a size. */
static int open_and_stat(const char *path, bool read_only, struct stat *st,
			 off_t *size)
{
	/* A FIFO must not hold the thread up; a file does not care. */
	cleanup_fd int fd = open(path, (read_only ? O_RDONLY : O_RDWR) |
					       O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, st) < 0)
		return -errno;
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	*size = lseek(fd, 0, SEEK_END);
	if (*size < 0)
		return -errno;
	return fd_steal(&fd);
}

int drive_open(const struct config *c, const struct text *path, bool read_only,
	       bool exclusive, struct drive_file *f, struct err *e)
{
	cleanup_fd int fd = -1;
	struct stat st = {0};
	char os[96];
	off_t size = 0;
	int ret;

	if (strlen(path->s) != path->len)
		return err_set(e, -EINVAL,
			       "Virtio backend error: Error manipulating the "
			       "backing file: file name contained an "
			       "unexpected NUL byte %s",
			       path->s);
	fd = open_and_stat(path->s, read_only, &st, &size);
	if (fd < 0) {
		err_os_text(-fd, os, sizeof(os));
		return err_set(e, fd,
			       "Virtio backend error: Error manipulating the "
			       "backing file: %s %s",
			       os, path->s);
	}
	*f = (struct drive_file){
		.blk = {.fd = fd,
			.bytes = (uint64_t)size / SECTOR_BYTES * SECTOR_BYTES},
		.dev = st.st_dev,
		.ino = st.st_ino,
	};
	set_id(&f->blk, &st);
	if (f->blk.bytes != (uint64_t)size)
		log_warn("Disk size %jd of '%s' is not a multiple of sector "
			 "size %d; the remainder will not be visible to the "
			 "guest.",
			 (intmax_t)size, path->s, SECTOR_BYTES);
	ret = lock(c, path, read_only, exclusive, f, e);
	if (ret == 0)
		(void)fd_steal(&fd);
	return ret;
}
