/* SPDX-License-Identifier: Apache-2.0 */
#include "api/load.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "api/body_snapshot.h"
#include "api/config.h"
#include "api/override.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "snapshot/memory.h"
#include "snapshot/origin.h"
#include "vmm/gmem.h"
#include "vmm/pager.h"
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
	pager_free(l->pager);
	mmds_store_exit(&l->mmds);
	load_init(l);
}

static int no_nul(const struct text *t, const char *prefix, struct err *e)
{
	if (strlen(t->s) == t->len)
		return 0;
	return err_set(e, -EINVAL,
		       "%sfile name contained an unexpected NUL byte", prefix);
}

/* ---- the configuration ---- */

/* A page server brings them as they were; a file has those of its own. */
static void choose_pages(struct body_machine *m, const struct load *l)
{
	if (l->pager)
		return;
	if (gmem_file_page(l->mem_fd) > GMEM_PAGE_BYTES) {
		m->huge_pages = BODY_HUGE_2M;
		return;
	}
	if (m->huge_pages != BODY_HUGE_NONE)
		log_warn("The guest had pages of 2 MiB, its memory file gives "
			 "it pages of 4 KiB");
	m->huge_pages = BODY_HUGE_NONE;
}

static int apply_machine(struct config *c, struct body_config *b,
			 const struct body_load *l, const struct load *from,
			 struct err *e)
{
	struct body_machine *m = &b->machine;
	uint64_t mem_bytes = from->snapshot.file.mem_bytes;
	int ret;

	body_machine_defaults(m);
	m->track_dirty_pages = l->track_dirty_pages || l->enable_diff_snapshots;
	choose_pages(m, from);
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

static int wrong_order(const char *kind, const struct text *id, struct err *e)
{
	return err_set(e, -EINVAL,
		       "Failed to build microVM from snapshot: The "
		       "configuration has %s '%s' twice, or not in its place",
		       kind, id->s);
}

/*
 * A state tells its devices by their number alone. A PUT replaces what has the
 * same name, and moves a root drive to the front: both would give the guest
 * another's files.
 */
static int check_names(const struct body_config *b, struct err *e)
{
	for (unsigned int i = 1; i < b->n_drives; i++) {
		const struct body_drive *d = b->drives;
		bool twice = false;

		for (unsigned int j = 0; !twice && j < i; j++)
			twice = text_equal(&d[j].drive_id, &d[i].drive_id);
		if (twice || d[i].is_root_device)
			return wrong_order("drive", &d[i].drive_id, e);
	}
	for (unsigned int i = 1; i < b->n_nets; i++) {
		for (unsigned int j = 0; j < i; j++) {
			if (text_equal(&b->nets[j].iface_id,
				       &b->nets[i].iface_id))
				return wrong_order("interface",
						   &b->nets[i].iface_id, e);
		}
	}
	return 0;
}

/* In the order in which start_prepare() makes them. */
static int check_devices(const struct snapshot *s, const struct body_config *b,
			 struct err *e)
{
	uint32_t kind[MAX_VIRTIO_DEVS];
	uint64_t all = (uint64_t)b->n_drives + b->n_nets + b->has_vsock;

	if (all > MAX_VIRTIO_DEVS)
		return err_set(e, -EINVAL,
			       "Failed to build microVM from snapshot: Its "
			       "configuration has %llu virtio devices, at most "
			       "%d are possible",
			       (unsigned long long)all, MAX_VIRTIO_DEVS);
	for (unsigned int i = 0; i < all; i++)
		kind[i] = i < b->n_drives		? VIRTIO_ID_BLOCK
			  : i < b->n_drives + b->n_nets ? VIRTIO_ID_NET
							: VIRTIO_ID_VSOCK;
	if (check_names(b, e) < 0)
		return e->code;
	return snapshot_check_devices(s, kind, (unsigned int)all, e);
}

/* A drive that is not as it was is accepted, but said. */
static int compare_drive(const struct load *l, const struct body_load *b,
			 const struct config *c, unsigned int i, struct err *e)
{
	const struct drive *d = &c->drive[i];
	struct origin_file was, now;
	char what[200];
	int ret = snapshot_drive(&l->snapshot, i, &was, e);

	if (ret <= 0)
		return ret;
	ret = origin_file_read(&now, d->file.blk.fd, e);
	if (ret == 0 &&
	    origin_file_differs(&was, &now,
				override_has_file(b, &d->body.drive_id), what,
				sizeof(what)))
		log_warn("The file '%s' of drive '%s' is not as it was when "
			 "the snapshot was made: %s",
			 d->body.path_on_host.s, d->body.drive_id.s, what);
	return ret;
}

/* The new document, so that what is wrong with it is known before the rest. */
static int read_mmds(struct load *l, const struct body_load *b,
		     const struct config *c, struct err *e)
{
	int ret;

	if (!b->mmds.s)
		return 0;
	mmds_store_init(&l->mmds, c->mmds.store.limit);
	ret = mmds_store_put(&l->mmds, b->mmds.s, b->mmds.len, e);
	l->has_mmds = ret == 0;
	return ret < 0 ? err_wrap(e, "mmds: ") : 0;
}

void load_succeeded(struct load *l, struct config *c)
{
	struct mmds_store old = c->mmds.store;

	if (!l->has_mmds)
		return;
	c->mmds.store = l->mmds;
	l->mmds = old;
	l->has_mmds = false;
}

static int open_memory(struct load *l, const struct body_load *b, struct err *e)
{
	const struct text *path = b->has_mem_backend
					  ? &b->mem_backend.backend_path
					  : &b->mem_file_path;
	int ret;

	if (b->has_mem_backend &&
	    b->mem_backend.backend_type == BODY_MEM_UFFD) {
		ret = pager_open(&l->pager, path->s, path->len, e);
		return ret < 0 ? err_wrap(e, PAGER_FAULT) : 0;
	}
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
	int ret = check_devices(&l->snapshot, body, e);

	if (ret == 0)
		ret = override_devices(body, b, e);
	if (ret == 0)
		ret = read_mmds(l, b, c, e);
	if (ret == 0)
		ret = open_memory(l, b, e);
	if (ret == 0)
		ret = apply_machine(c, body, b, l, e);
	if (ret == 0)
		ret = snapshot_saved(&l->snapshot, c->machine.vcpu_count,
				     &l->saved, e);
	if (ret < 0)
		return ret;
	l->saved->realtime = b->clock_realtime;
	/* For /vm/config: the kernel is in the memory. */
	c->boot.body = body->boot_source;
	body->boot_source = (struct body_boot_source){0};
	ret = apply_devices(c, body, e);
	for (unsigned int i = 0; ret == 0 && i < c->n_drives; i++)
		ret = compare_drive(l, b, c, i, e);
	return ret == 0 ? snapshot_check_host(&l->snapshot, e) : ret;
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
