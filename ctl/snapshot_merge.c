/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_merge.c: a memory file and the diffs of later snapshots become one.
 * What is a hole in a diff did not change; what became zero is data there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "ctl/memfile.h"
#include "ctl/snapshot.h"
#include "snapshot/target.h"

struct merge {
	const char *state, *out, *base;
	char **diff;
	int n_diffs;
	uint64_t bytes; /* of each of the files */
};

static int open_file(const char *path, uint64_t *bytes, struct err *e)
{
	cleanup_fd int fd =
		open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s: Not a regular file", path);
	*bytes = (uint64_t)st.st_size;
	return fd_steal(&fd);
}

static int set_length(int fd, uint64_t bytes, struct err *e)
{
	return ftruncate(fd, (off_t)bytes) < 0
		       ? err_sys(e, "Cannot set the length")
		       : 0;
}

static int add_base(struct merge *m, struct target *t, struct err *e)
{
	cleanup_fd int fd = open_file(m->base, &m->bytes, e);
	struct progress p = progress_begin(m->base, m->bytes);
	int ret;

	if (fd < 0)
		return fd;
	if (target_share(t, fd, m->bytes) == 0)
		return 0;
	ret = set_length(t->fd, m->bytes, e);
	if (ret == 0)
		ret = memfile_lay_over(fd, t->fd, m->bytes, &p, e);
	progress_end(&p);
	return ret < 0 ? err_wrap(e, "%s: ", m->base) : 0;
}

static int add_diff(const struct merge *m, const char *path, int to,
		    struct err *e)
{
	uint64_t bytes = 0;
	cleanup_fd int fd = open_file(path, &bytes, e);
	struct progress p = progress_begin(path, m->bytes);
	int ret;

	if (fd < 0)
		return fd;
	if (bytes != m->bytes)
		return err_set(e, -EINVAL,
			       "%s has %" PRIu64 " bytes, %s %" PRIu64
			       ": they are not of one guest",
			       path, bytes, m->base, m->bytes);
	ret = memfile_lay_over(fd, to, m->bytes, &p, e);
	progress_end(&p);
	return ret < 0 ? err_wrap(e, "%s: ", path) : 0;
}

/* The result is what the last snapshot's state says. */
static int check_result(const struct merge *m, const struct snapshot *s, int fd,
			struct err *e)
{
	cleanup_free uint32_t *should = snapshot_digests(s, e);
	cleanup_free uint32_t *is = NULL;
	struct progress p = progress_begin("verify", m->bytes);
	uint32_t n = memfile_chunks(m->bytes);

	if (!should)
		return e->code;
	if (s->file.mem_bytes != m->bytes)
		return err_set(e, -EINVAL,
			       "%s is of a guest of %" PRIu64 " bytes",
			       m->state, s->file.mem_bytes);
	is = calloc((size_t)n + 1, sizeof(*is));
	if (!is)
		return err_code(e, -ENOMEM, "Digests of the memory file");
	if (memfile_digests(fd, m->bytes, is, &p, e) < 0)
		return e->code;
	progress_end(&p);
	for (uint32_t i = 0; i < n; i++) {
		if (is[i] != should[i])
			return err_set(e, -EBADMSG,
				       "Chunk %" PRIu32 " of the result is not "
				       "what %s says: a file is missing, "
				       "changed, or not in its place",
				       i, m->state);
	}
	return 0;
}

/* What target_commit() does for two. */
static int commit(struct target *t, struct err *e)
{
	if (target_sync(t, "memory", e) < 0)
		return e->code;
	if (rename(t->temp, t->path) < 0)
		return err_sys(e, "Cannot rename '%s'", t->temp);
	free(t->temp);
	t->temp = NULL;
	return target_sync(t, "memory", e); /* of the folder */
}

static int merge(struct merge *m, const struct snapshot *s, struct err *e)
{
	struct target t = {.fd = -1};
	uint64_t number;
	int ret = 0;

	if (getrandom(&number, sizeof(number), 0) < 0)
		return err_sys(e, "No random bytes for a name");
	ret = target_open(&t, m->out, number, "memory", e);
	if (ret == 0)
		ret = add_base(m, &t, e);
	for (int i = 0; ret == 0 && i < m->n_diffs; i++)
		ret = add_diff(m, m->diff[i], t.fd, e);
	if (ret == 0 && s)
		ret = check_result(m, s, t.fd, e);
	if (ret == 0)
		ret = commit(&t, e);
	target_abort(&t);
	return ret;
}

static int run(struct merge *m)
{
	struct snapshot s = {0};
	struct err e;
	int ret = m->state ? snapshot_load(&s, m->state) : CTL_GOOD;

	if (ret != CTL_GOOD)
		return ret;
	if (merge(m, m->state ? &s : NULL, &e) < 0)
		ret = snapshot_failed("merge", &e);
	snapshot_exit(&s);
	return ret;
}

int snapshot_merge(int argc, char **argv)
{
	struct merge m = {0};
	int opt;

	while ((opt = getopt(argc, argv, "+o:s:")) != -1) {
		if (opt == 'o')
			m.out = optarg;
		else if (opt == 's')
			m.state = optarg;
		else
			return snapshot_usage();
	}
	if (!m.out || argc - optind < 2)
		return snapshot_usage();
	m.base = argv[optind];
	m.diff = argv + optind + 1;
	m.n_diffs = argc - optind - 1;
	return run(&m);
}
