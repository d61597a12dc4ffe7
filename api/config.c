/* SPDX-License-Identifier: Apache-2.0 */
#include "api/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "vmm/cmdline.h"

#define DEFAULT_MEM_MIB 128

static void boot_source_exit(struct boot_source *b)
{
	schema_exit(&body_boot_source_schema, &b->body);
	fd_close(&b->kernel_fd);
	fd_close(&b->initrd_fd);
}

static void drive_exit(struct drive *d)
{
	schema_exit(&body_drive_schema, &d->body);
	fd_close(&d->file.blk.fd);
}

static void set_defaults(struct config *c)
{
	c->machine = (struct machine_config){.vcpu_count = 1,
					     .mem_size_mib = DEFAULT_MEM_MIB};
	c->boot = (struct boot_source){.kernel_fd = -1, .initrd_fd = -1};
	c->vsock = (struct vsock_backend){.listener = -1};
	c->configured = false;
}

void config_init(struct config *c)
{
	*c = (struct config){0};
	set_defaults(c);
}

void config_clear(struct config *c)
{
	boot_source_exit(&c->boot);
	for (unsigned int i = 0; i < c->n_drives; i++)
		drive_exit(&c->drive[i]);
	c->n_drives = 0;
	for (unsigned int i = 0; i < c->n_ifaces; i++)
		iface_exit(&c->iface[i]);
	c->n_ifaces = 0;
	vsock_backend_exit(&c->vsock);
	set_defaults(c);
}

void config_exit(struct config *c)
{
	config_clear(c);
	cpu_template_exit(&c->custom);
	schema_exit(&body_serial_schema, &c->serial);
	mmds_exit(&c->mmds);
}

/* ---- machine ---- */

void body_machine_defaults(struct body_machine *b)
{
	b->has_smt = true;
	b->has_track_dirty_pages = true;
	b->has_huge_pages = true;
}

int config_machine(struct config *c, const struct body_machine *b,
		   struct err *e)
{
	struct machine_config m = c->machine;

	c->configured = true;
	if (b->has_vcpu_count)
		m.vcpu_count = b->vcpu_count;
	if (b->has_mem_size_mib)
		m.mem_size_mib = b->mem_size_mib;
	if (b->has_smt)
		m.smt = b->smt;
	if (b->has_track_dirty_pages)
		m.track_dirty_pages = b->track_dirty_pages;
	if (b->has_huge_pages)
		m.huge_2m = b->huge_pages == BODY_HUGE_2M;
	if (m.vcpu_count == 0 || m.vcpu_count > MAX_VCPUS ||
	    (m.smt && m.vcpu_count != 1 && m.vcpu_count % 2 != 0))
		return err_set(e, -EINVAL,
			       "The number of vCPUs must be greater than 0, "
			       "less than 32 and must be 1 or an even number "
			       "if SMT is enabled.");
	if (m.mem_size_mib == 0 || (m.huge_2m && m.mem_size_mib % 2 != 0))
		return err_set(e, -EINVAL,
			       "The memory size (MiB) is either 0, or not a "
			       "multiple of the configured page size.");
	/* The later of a static and a custom template wins. */
	if (b->has_cpu_template) {
		m.cpu_template = (enum cpu_template_name)b->cpu_template;
		c->has_custom = false;
	}
	c->machine = m;
	return 0;
}

void config_put_cpu(struct config *c, struct cpu_template *t)
{
	cpu_template_exit(&c->custom);
	c->custom = *t;
	*t = (struct cpu_template){0};
	c->has_custom = true;
	c->machine.cpu_template = CPU_TEMPLATE_NONE;
}

void config_put_serial(struct config *c, struct body_serial *b)
{
	schema_exit(&body_serial_schema, &c->serial);
	c->serial = *b;
	*b = (struct body_serial){0};
}

/* ---- boot source ---- */

/* Like drives, kernels may be links; a FIFO must not hold the thread up. */
static int open_read(const struct text *path)
{
	int fd;

	if (strlen(path->s) != path->len)
		return -EINVAL;
	fd = open(path->s, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int open_error(int ret, const char *what, const struct text *path,
		      struct err *e)
{
	char os[96] = "file name contained an unexpected NUL byte";

	if (strlen(path->s) == path->len)
		err_os_text(-ret, os, sizeof(os));
	return err_set(e, ret, "%s%s", what, os);
}

int config_put_boot_source(struct config *c, struct body_boot_source *b,
			   struct err *e)
{
	struct boot_source new = {.body = *b, .kernel_fd = -1, .initrd_fd = -1};
	struct cmdline cmdline;
	int ret = 0;

	c->configured = true;
	*b = (struct body_boot_source){0};
	if (new.body.boot_args.s)
		ret = cmdline_init(&cmdline, new.body.boot_args.s, e);
	if (ret < 0) {
		(void)err_wrap(e, "The kernel command line is invalid: ");
	} else if ((new.kernel_fd = open_read(&new.body.kernel_image_path)) <
		   0) {
		ret = open_error(new.kernel_fd,
				 "The kernel file cannot be opened: ",
				 &new.body.kernel_image_path, e);
	} else if (new.body.initrd_path.s &&
		   (new.initrd_fd = open_read(&new.body.initrd_path)) < 0) {
		ret = open_error(new.initrd_fd,
				 "The initrd file cannot be opened due to "
				 "invalid path or invalid permissions. ",
				 &new.body.initrd_path, e);
	}
	if (ret < 0) {
		boot_source_exit(&new);
		return ret;
	}
	boot_source_exit(&c->boot);
	c->boot = new;
	return 0;
}

/* ---- drives ---- */

struct drive *config_find_drive(struct config *c, const struct text *id)
{
	for (unsigned int i = 0; i < c->n_drives; i++) {
		if (text_equal(&c->drive[i].body.drive_id, id))
			return &c->drive[i];
	}
	return NULL;
}

static bool other_root(const struct config *c, const struct drive *same)
{
	return c->n_drives > 0 && c->drive[0].body.is_root_device &&
	       &c->drive[0] != same;
}

static int check_drive(const struct config *c, const struct drive *same,
		       const struct body_drive *b, struct err *e)
{
	if (b->is_root_device && other_root(c, same))
		return err_set(e, -EEXIST,
			       "A root block device already exists!");
	if (!same && c->n_drives == CONFIG_MAX_DRIVES)
		return err_code(e, -EMFILE,
				"Unable to create the virtio block device");
	if (b->socket.s && !b->path_on_host.s && !b->has_is_read_only &&
	    !b->has_io_engine && !b->has_rate_limiter)
		return err_set(e, -EOPNOTSUPP,
			       "Unable to create the virtio block device: "
			       "Vhost user backend error: Vhost-user devices "
			       "are not supported.");
	if (b->socket.s || !b->path_on_host.s)
		return err_set(e, -EINVAL,
			       "Unable to create the virtio block device: "
			       "Invalid block config.");
	return 0;
}

/* The root drive goes first, whenever it comes: it is /dev/vda. */
static void place_drive(struct config *c, struct drive *same,
			const struct drive *new)
{
	struct drive *at = &c->drive[c->n_drives];

	if (same) {
		drive_exit(same);
		at = same;
	} else {
		c->n_drives++;
	}
	if (new->body.is_root_device) {
		memmove(&c->drive[1], &c->drive[0],
			(size_t)(at - c->drive) * sizeof(*at));
		at = &c->drive[0];
	}
	*at = *new;
	/* A drive that takes the place of one on the same file has no lock. */
	(void)drive_lock(&at->file, at->body.is_read_only);
}

int config_put_drive(struct config *c, struct body_drive *b, struct err *e)
{
	struct drive *same = config_find_drive(c, &b->drive_id);
	struct drive new = {.body = *b, .file.blk.fd = -1};
	int ret;

	c->configured = true;
	*b = (struct body_drive){0};
	ret = check_drive(c, same, &new.body, e);
	if (ret == 0) {
		ret = drive_open(c, &new.body.path_on_host,
				 new.body.is_read_only, new.body.exclusive,
				 &new.file, e);
		if (ret < 0)
			(void)err_wrap(e, "Unable to create the virtio block "
					  "device: ");
	}
	if (ret < 0) {
		drive_exit(&new);
		return ret;
	}
	place_drive(c, same, &new);
	return 0;
}

static void bucket_merge(bool *has, struct bucket_cfg *to,
			 const struct bucket_cfg *from)
{
	*to = *from;
	*has = from->size != 0 && from->refill_time != 0;
}

void limiter_merge(struct limiter_cfg *to, const struct limiter_cfg *patch)
{
	if (patch->has_bandwidth)
		bucket_merge(&to->has_bandwidth, &to->bandwidth,
			     &patch->bandwidth);
	if (patch->has_ops)
		bucket_merge(&to->has_ops, &to->ops, &patch->ops);
}
