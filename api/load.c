/* SPDX-License-Identifier: Apache-2.0 */
#include "api/load.h"

#include <errno.h>
#include <string.h>

#include "api/body_snapshot.h"
#include "api/config.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/memory.h"
#include "vmm/saved.h"

void load_init(struct load *l)
{
	*l = (struct load){.mem_fd = -1};
}

void load_exit(struct load *l)
{
	snapshot_exit(&l->snapshot);
	saved_free(l->saved);
	fd_close(&l->mem_fd);
	load_init(l);
}

static int no_nul(const struct text *t, const char *prefix, struct err *e)
{
	if (strlen(t->s) == t->len)
		return 0;
	return err_set(e, -EINVAL,
		       "%sfile name contained an unexpected NUL byte", prefix);
}

/* ---- overrides: the request's word counts ---- */

static void take_text(struct text *to, struct text *from)
{
	text_exit(to);
	*to = *from;
	*from = (struct text){0};
}

static int override_net(struct body_config *b, struct net_override *o,
			struct err *e)
{
	for (unsigned int i = 0; i < b->n_nets; i++) {
		if (text_equal(&b->nets[i].iface_id, &o->iface_id)) {
			take_text(&b->nets[i].host_dev_name, &o->host_dev_name);
			return 0;
		}
	}
	return err_set(e, -ENODEV, "Unknown Network Device.");
}

static int override(struct body_config *b, struct body_load *l, struct err *e)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < l->n_network_overrides; i++)
		ret = override_net(b, &l->network_overrides[i], e);
	if (ret == 0 && l->vsock_override.uds_path.s) {
		if (b->has_vsock)
			take_text(&b->vsock.uds_path,
				  &l->vsock_override.uds_path);
		else
			ret = err_set(e, -ENODEV, "Unknown Vsock Device.");
	}
	return ret < 0 ? err_wrap(e, "Failed to get snapshot state from "
				     "file: ")
		       : 0;
}

/* ---- the configuration ---- */

static int apply_machine(struct config *c, struct body_config *b,
			 const struct body_load *l, uint64_t mem_bytes,
			 struct err *e)
{
	struct body_machine *m = &b->machine;
	int ret;

	body_machine_defaults(m);
	m->track_dirty_pages = l->track_dirty_pages || l->enable_diff_snapshots;
	m->huge_pages = BODY_HUGE_NONE;
	ret = config_machine(c, m, e);
	if (ret < 0)
		return err_wrap(e, "Failed to build microVM from snapshot: ");
	if (c->machine.mem_size_mib > UINT64_MAX / MIB ||
	    c->machine.mem_size_mib * MIB != mem_bytes)
		return err_set(e, -EINVAL,
			       "Failed to restore guest memory: The state is "
			       "of %llu bytes, the machine of %llu MiB",
			       (unsigned long long)mem_bytes,
			       (unsigned long long)c->machine.mem_size_mib);
	return 0;
}

/* What a PUT of the device says, as the restoring of one. */
static int device_error(const char *kind, const char *put, struct err *e)
{
	size_t n = strlen(put);

	if (strncmp(e->text, put, n) == 0)
		memmove(e->text, e->text + n, strlen(e->text + n) + 1);
	return err_wrap(e,
			"Failed to build microVM from snapshot: Failed to "
			"restore devices: Error restoring MMIO devices: %s: ",
			kind);
}

static int apply_devices(struct config *c, struct body_config *b, struct err *e)
{
	for (unsigned int i = 0; i < b->n_drives; i++) {
		if (config_put_drive(c, &b->drives[i], e) < 0)
			return device_error("Block",
					    "Unable to create the virtio block "
					    "device: ",
					    e);
	}
	for (unsigned int i = 0; i < b->n_nets; i++) {
		if (config_put_net(c, &b->nets[i], e) < 0)
			return device_error("Net",
					    "Could not create the network "
					    "device: ",
					    e);
	}
	if (b->has_vsock && config_put_vsock(c, &b->vsock, e) < 0)
		return device_error(
			"VsockUnixBackend",
			"Cannot create backend for vsock device: ", e);
	if (b->has_mmds && config_put_mmds(c, &b->mmds, e) < 0)
		return err_wrap(e, "Failed to build microVM from snapshot: ");
	return 0;
}

static int open_memory(struct load *l, const struct body_load *b, struct err *e)
{
	const struct text *path = b->has_mem_backend
					  ? &b->mem_backend.backend_path
					  : &b->mem_file_path;
	int ret;

	if (b->has_mem_backend && b->mem_backend.backend_type != BODY_MEM_FILE)
		return err_set(e, -ENOTSUP,
			       "Failed to load guest memory: Error creating "
			       "guest memory from uffd: Page servers are not "
			       "supported by this version");
	ret = no_nul(path, "Failed to load guest memory: ", e);
	if (ret == 0)
		ret = memory_open(path->s, &l->snapshot.file, e);
	if (ret < 0)
		return err_wrap(e, "Failed to load guest memory: Error "
				   "creating guest memory from file: ");
	l->mem_fd = ret;
	return 0;
}

static int apply(struct load *l, struct body_load *b, struct body_config *body,
		 struct config *c, struct err *e)
{
	int ret = override(body, b, e);

	if (ret == 0)
		ret = apply_machine(c, body, b, l->snapshot.file.mem_bytes, e);
	if (ret == 0)
		ret = open_memory(l, b, e);
	if (ret == 0)
		ret = snapshot_saved(&l->snapshot, c->machine.vcpu_count,
				     &l->saved, e);
	if (ret < 0)
		return ret;
	l->saved->realtime = b->clock_realtime;
	/* For /vm/config: the kernel is in the memory. */
	c->boot.body = body->boot_source;
	body->boot_source = (struct body_boot_source){0};
	return apply_devices(c, body, e);
}

int load_files(struct load *l, struct body_load *b, struct config *c,
	       struct err *e)
{
	struct body_config body;
	const char *text;
	size_t len;
	int ret;

	ret = no_nul(&b->snapshot_path,
		     "Failed to get snapshot state from file: Failed to open "
		     "snapshot file: ",
		     e);
	if (ret == 0)
		ret = snapshot_open(&l->snapshot, b->snapshot_path.s, e);
	if (ret < 0)
		return ret;
	text = snapshot_config(&l->snapshot, &len);
	ret = schema_parse(&body_config_schema, text, len, &body, sizeof(body),
			   e);
	if (ret < 0)
		return err_wrap(e, "Failed to get snapshot state from file: "
				   "The configuration in it: ");
	ret = apply(l, b, &body, c, e);
	schema_exit(&body_config_schema, &body);
	return ret;
}
