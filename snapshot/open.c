/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open.c: a state file read and checked. What is in its sections is for load.c
 * to say; nothing here needs a machine, so that mayflyctl can link it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"

static const uint32_t known[] = {
	TAG_CONFIG, TAG_CPUID, TAG_VCPU,   TAG_CHIPS,
	TAG_COM1,   TAG_I8042, TAG_VIRTIO, TAG_DIFF,
};

/* The whole file, up to one byte more than it may have. */
static int read_file(struct snapshot *s, int fd, size_t *len, struct err *e)
{
	s->data = malloc(STATE_MAX_BYTES + 1);
	if (!s->data)
		return err_code(e, -ENOMEM, "State of the microVM");
	for (*len = 0; *len <= STATE_MAX_BYTES;) {
		ssize_t n =
			read(fd, s->data + *len, STATE_MAX_BYTES + 1 - *len);

		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "IO Error");
		if (n > 0)
			*len += (size_t)n;
	}
	return err_set(e, -EFBIG, "The file has more than %u bytes",
		       STATE_MAX_BYTES);
}

int snapshot_parse(struct snapshot *s, const uint8_t *data, size_t len,
		   struct err *e)
{
	int ret = state_parse(&s->file, data, len, e);

	return ret == 0
		       ? state_check_known(&s->file, known, ARRAY_LEN(known), e)
		       : ret;
}

static int read_and_parse(struct snapshot *s, int fd, struct err *e)
{
	size_t len = 0;
	int ret = read_file(s, fd, &len, e);

	if (ret == 0)
		ret = snapshot_parse(s, s->data, len, e);
	return ret < 0 ? err_wrap(e, "Failed to load snapshot state from "
				     "file: ")
		       : 0;
}

int snapshot_open(struct snapshot *s, const char *path, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret;

	*s = (struct snapshot){0};
	if (fd < 0)
		ret = err_sys(e, "Failed to open snapshot file");
	else
		ret = read_and_parse(s, fd, e);
	if (ret == 0)
		return 0;
	snapshot_exit(s);
	return err_wrap(e, "Failed to get snapshot state from file: ");
}

void snapshot_exit(struct snapshot *s)
{
	free(s->data);
	*s = (struct snapshot){0};
}

const char *snapshot_config(const struct snapshot *s, size_t *len)
{
	struct archive a = state_find(&s->file, TAG_CONFIG, 0);

	*len = a.failed ? 0 : a.size;
	return (const char *)a.in;
}
