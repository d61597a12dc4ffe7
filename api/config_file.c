/* SPDX-License-Identifier: Apache-2.0 */
#include "api/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/api.h"
#include "api/observe.h"
#include "base/cleanup.h"

#define READ_BYTES 16384

/* Make room for one more read and a NUL. */
static int grow(char **buf, size_t *room, size_t len)
{
	size_t want = *room ? *room * 2 : READ_BYTES;
	char *p;

	if (*room - len > READ_BYTES / 2)
		return 0;
	if (len > CONFIG_FILE_MAX_BYTES)
		return -EFBIG;
	p = realloc(*buf, want);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*room = want;
	return 0;
}

/* As Firecracker says it: without the path. */
static int os_fault(struct err *e, int ret)
{
	char os[96];

	err_os_text(-ret, os, sizeof(os));
	return err_set(e, ret, "%s", os);
}

int config_file_read(const char *path, char **text, size_t *len, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = NULL;
	size_t room = 0, have = 0;
	ssize_t n;
	int ret;

	if (fd < 0)
		return os_fault(e, -errno);
	for (;;) {
		ret = grow(&buf, &room, have);
		if (ret < 0)
			return os_fault(e, ret);
		n = read(fd, buf + have, room - have - 1);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return os_fault(e, -errno);
		have += n > 0 ? (size_t)n : 0;
	}
	buf[have] = '\0';
	*len = have;
	*text = ptr_steal(&buf);
	return 0;
}

static int apply_cpu(struct config *c, struct body_cpu_config *b, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int ret;

	if (b->path.s) {
		ret = config_file_read(b->path.s, &text, &len, e);
		if (ret == 0)
			ret = body_cpu_file_parse(&b->inline_template, text,
						  len, e);
		if (ret < 0)
			return err_wrap(e, "File operation error: ");
	}
	config_put_cpu(c, &b->inline_template);
	return 0;
}

static int apply_machine(struct config *c, struct body_machine *b,
			 struct err *e)
{
	int ret;

	body_machine_defaults(b);
	ret = config_machine(c, b, e);
	return ret < 0 ? err_wrap(e, "VM config error: ") : 0;
}

static int apply_drives(struct config *c, struct body_config *b, struct err *e)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < b->n_drives; i++)
		ret = config_put_drive(c, &b->drives[i], e);
	return ret < 0 ? err_wrap(e, "Block device error: ") : 0;
}

static int apply_nets(struct config *c, struct body_config *b, struct err *e)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < b->n_nets; i++)
		ret = config_put_net(c, &b->nets[i], e);
	if (ret < 0)
		return err_wrap(e, "Network device error: ");
	if (b->has_vsock && config_put_vsock(c, &b->vsock, e) < 0)
		return err_wrap(e, "Vsock device error: ");
	if (b->has_mmds && config_put_mmds(c, &b->mmds, e) < 0)
		return err_wrap(e, "MMDS config error: ");
	return 0;
}

/* Leaving a device out in silence would give the guest another machine. */
static int refuse_rest(const struct body_config *b, const char *text,
		       struct err *e)
{
	const struct {
		const char *name;
		const struct span *span;
	} section[] = {
		{"balloon", &b->balloon},
		{"entropy", &b->entropy},
		{"pmem", &b->pmem},
		{"memory-hotplug", &b->memory_hotplug},
	};

	for (size_t i = 0; i < sizeof(section) / sizeof(section[0]); i++) {
		const struct span *s = section[i].span;

		if (s->len > 2 || (s->len == 2 && text[s->at] == '{'))
			return err_set(e, -EOPNOTSUPP,
				       "The section `%s` is not supported by "
				       "this version.",
				       section[i].name);
	}
	return 0;
}

static int apply(struct api *a, struct body_config *b, const char *text,
		 struct err *e)
{
	struct config *c = &a->config;
	int ret = 0;

	if (b->has_logger && observe_logger(&b->logger, e) < 0)
		return err_wrap(e, "Logger error: ");
	if (b->has_metrics &&
	    observe_metrics(a->metrics, &b->metrics.metrics_path, e) < 0)
		return err_wrap(e, "Metrics error: ");
	if (b->has_machine)
		ret = apply_machine(c, &b->machine, e);
	if (ret == 0 && b->has_cpu)
		ret = apply_cpu(c, &b->cpu, e);
	if (ret < 0)
		return ret;
	if (config_put_boot_source(c, &b->boot_source, e) < 0)
		return err_wrap(e, "Boot source error: ");
	ret = apply_drives(c, b, e);
	if (ret == 0)
		ret = apply_nets(c, b, e);
	return ret < 0 ? ret : refuse_rest(b, text, e);
}

int config_file_apply(struct api *a, const char *text, size_t len,
		      struct err *e)
{
	struct body_config b;
	int ret =
		schema_parse(&body_config_schema, text, len, &b, sizeof(b), e);

	if (ret < 0)
		return err_wrap(e, "Invalid JSON: ");
	ret = apply(a, &b, text, e);
	schema_exit(&body_config_schema, &b);
	return ret;
}
