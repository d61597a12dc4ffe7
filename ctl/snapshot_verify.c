/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "ctl/memfile.h"
#include "ctl/snapshot.h"
#include "ctl/text.h"
#include "snapshot/memory.h"
#include "snapshot/partial.h"
#include "snapshot/target.h"

/*
 * The memory file as a load opens it: what a create that was killed between its
 * two names has left gets its name here, too.
 */
static int open_memory(const struct snapshot *s, const char *path,
		       struct err *e)
{
	cleanup_fd int fd = target_read(path, state_number(&s->file));
	struct stat st;

	if (fd < 0)
		return err_code(e, fd, "Cannot open");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "Cannot look at the file");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "Not a regular file");
	if ((uint64_t)st.st_size < s->file.mem_bytes)
		return err_set(e, -EINVAL,
			       "The file has %lld bytes, the snapshot's RAM "
			       "%" PRIu64,
			       (long long)st.st_size, s->file.mem_bytes);
	if (partial_check(&s->file, fd, e) < 0)
		return e->code;
	return fd_steal(&fd);
}

static void tell_difference(const char *path, uint64_t bytes, uint32_t i,
			    uint32_t is, uint32_t should)
{
	uint64_t at = (uint64_t)i * MEMORY_CHUNK_BYTES;

	text_print(stdout, path, strlen(path));
	(void)printf(": chunk %" PRIu32 " (bytes %" PRIu64 " to %" PRIu64
		     ") differs: CRC32C 0x%08" PRIx32 ", not 0x%08" PRIx32 "\n",
		     i, at, MIN(at + MEMORY_CHUNK_BYTES, bytes) - 1, is,
		     should);
}

/* Returns how many chunks differ, or an error. */
static int compare(const struct snapshot *s, const char *path, int fd,
		   struct err *e)
{
	uint32_t n = memfile_chunks(s->file.mem_bytes);
	cleanup_free uint32_t *should = snapshot_digests(s, e);
	cleanup_free uint32_t *is = NULL;
	struct progress p = progress_begin("verify", s->file.mem_bytes);
	int bad = 0;

	if (!should)
		return e->code;
	is = calloc((size_t)n + 1, sizeof(*is));
	if (!is)
		return err_code(e, -ENOMEM, "Digests of the memory file");
	if (memfile_digests(fd, s->file.mem_bytes, is, &p, e) < 0)
		return e->code;
	progress_end(&p);
	for (uint32_t i = 0; i < n; i++) {
		if (is[i] == should[i])
			continue;
		tell_difference(path, s->file.mem_bytes, i, is[i], should[i]);
		bad++;
	}
	if (bad == 0) {
		text_print(stdout, path, strlen(path));
		(void)printf(": ok, %" PRIu32 " chunks\n", n);
	}
	return bad;
}

static int verify_memory(const struct snapshot *s, const char *path)
{
	struct err e;
	cleanup_fd int fd = open_memory(s, path, &e);
	int ret = fd < 0 ? fd : compare(s, path, fd, &e);

	if (ret < 0)
		return snapshot_failed(path, &e);
	return ret == 0 ? CTL_GOOD : CTL_BAD;
}

int snapshot_verify(int argc, char **argv)
{
	struct snapshot s;
	int ret;

	if (argc < 2 || argc > 3 || argv[1][0] == '-')
		return snapshot_usage();
	ret = snapshot_load(&s, argv[1]);
	if (ret != CTL_GOOD)
		return ret;
	text_print(stdout, argv[1], strlen(argv[1]));
	(void)printf(": ok, %u sections\n", s.file.n_sections);
	if (argc == 3)
		ret = verify_memory(&s, argv[2]);
	snapshot_exit(&s);
	return ret;
}
