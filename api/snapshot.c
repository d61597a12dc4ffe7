/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.c: /snapshot/create and /snapshot/load.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/endpoints.h"
#include "base/log.h"
#include "snapshot/snapshot.h"

/* ---- create ---- */

/* What the guest wrote is as durable as the memory that knows of it. */
int api_sync_drives(const struct config *c, struct err *e)
{
	for (unsigned int i = 0; i < c->n_drives; i++) {
		const struct drive *d = &c->drive[i];

		if (!d->body.is_read_only && fdatasync(blk_fd(d->blk)) < 0 &&
		    errno != EINVAL)
			return err_sys(e, "Cannot flush drive '%s'",
				       d->body.drive_id.s);
	}
	return 0;
}

static void create_work(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;
	const struct body_create *b = &c->create.body;

	c->ret = api_sync_drives(&a->config, &c->err);
	if (c->ret == 0)
		c->ret = snapshot_create(
			a->vm,
			&(struct snapshot_order){
				.config = c->create.config,
				.config_len = strlen(c->create.config),
				.state_path = b->snapshot_path.s,
				.mem_path = b->mem_file_path.s,
				.diff = b->snapshot_type == BODY_SNAPSHOT_DIFF,
			},
			&c->err);
}

void api_created(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;
	struct metrics_api *m = &a->metrics->api;
	bool diff = c->create.body.snapshot_type == BODY_SNAPSHOT_DIFF;

	free(c->create.config);
	schema_exit(&body_create_schema, &c->create.body);
	if (c->ret < 0)
		api_done(a, c->ret, "Create snapshot error: ", &c->err);
	else if (diff)
		api_took(a, "create diff snapshot",
			 &m->latencies_us.vmm_diff_create_snapshot,
			 &m->latencies_us.diff_create_snapshot);
	else
		api_took(a, "create full snapshot",
			 &m->latencies_us.vmm_full_create_snapshot,
			 &m->latencies_us.full_create_snapshot);
}

/* What would not be refused by the kernel, but by whoever reads on. */
static const char *create_fault(const struct api *a,
				const struct body_create *b)
{
	if (b->live && a->vm->state == VM_PAUSED)
		return "`live` is for a microVM that runs; this one is paused.";
	if (!b->live && a->vm->state != VM_PAUSED)
		return "Cannot save the microVM state: Operation not allowed: "
		       "save/restore unavailable while running";
	if (strlen(b->snapshot_path.s) != b->snapshot_path.len)
		return "Cannot perform open on the snapshot backing file: file "
		       "name contained an unexpected NUL byte";
	if (strlen(b->mem_file_path.s) != b->mem_file_path.len)
		return "Cannot perform open on the memory backing file: file "
		       "name contained an unexpected NUL byte";
	if (text_equal(&b->snapshot_path, &b->mem_file_path))
		return "State and memory need two files.";
	return NULL;
}

static void create(struct api *a, struct call *c)
{
	struct body_create *b = &c->create.body;
	const char *fault;

	if (!api_parse(a, NULL, &body_create_schema, b, sizeof(*b)))
		return;
	if (!api_after_start(a)) {
		schema_exit(&body_create_schema, b);
		return;
	}
	fault = create_fault(a, b);
	if (!fault) {
		cJSON *t = print_vm_config(&a->config);

		c->create.config = cJSON_PrintUnformatted(t);
		cJSON_Delete(t);
		if (!c->create.config)
			fault = "Out of memory";
	}
	if (!fault) {
		if (b->live)
			api_live_create(a);
		else
			api_run_job(a, create_work, api_created);
		return;
	}
	api_fault(a, "Create snapshot error: %s", fault);
	schema_exit(&body_create_schema, b);
}

/* ---- load ---- */

static void load_end(struct api *a)
{
	a->load = NULL;
	load_exit(&a->call.load.files);
	schema_exit(&body_load_schema, &a->call.load.body);
}

static void undo_work(struct job *j)
{
	config_unlink_vsock(&api_of_job(j)->config);
}

static void undo_done(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	config_clear(&a->config);
	load_end(a);
	(void)err_wrap(&c->err, "Failed to restore from snapshot: ");
	api_done(a, c->ret, "Load snapshot error: ", &c->err);
}

/* The process can try again with other files. */
static void load_failed(struct api *a)
{
	start_failed(a);
	api_run_job(a, undo_work, undo_done);
}

static void load_worked(struct api *a)
{
	struct metrics_api *m = &a->metrics->api;

	load_succeeded(a->load, &a->config);
	a->call.ret = start_finish(a, &a->call.err);
	if (a->call.ret == 0 && a->call.load.body.resume_vm) {
		log_info("Artificially kick devices");
		api_resume(a);
	}
	load_end(a);
	if (a->call.ret < 0) {
		api_done(a, a->call.ret, "Load snapshot error: ", &a->call.err);
		return;
	}
	api_took(a, "load snapshot", NULL, &m->latencies_us.load_snapshot);
	m->latencies_us.vmm_load_snapshot = m->latencies_us.load_snapshot;
}

static void load_built(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	if (c->ret == 0)
		c->ret = snapshot_devices(&a->load->snapshot, a->vm_starting,
					  &c->err);
	if (c->ret == 0)
		c->ret = start_watch(a, &c->err);
	if (c->ret == 0)
		load_worked(a);
	else
		load_failed(a);
}

static void load_build(struct job *j)
{
	struct api *a = api_of_job(j);

	a->call.ret = start_build(a, &a->call.err);
}

static void load_opened(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	if (c->ret == 0)
		c->ret = start_prepare(a, &c->err);
	if (c->ret == 0)
		api_run_job(a, load_build, load_built);
	else
		load_failed(a);
}

static void load_open(struct job *j)
{
	struct api *a = api_of_job(j);

	struct call *c = &a->call;

	c->ret = load_files(a->load, &c->load.body, &a->config, &c->err);
}

/* Rules that the table of fields does not know; without a place. */
static const char *load_fault(const struct body_load *b)
{
	if (!b->mem_file_path.s && !b->has_mem_backend)
		return "missing field: either `mem_backend` or "
		       "`mem_file_path` is required";
	if (b->mem_file_path.s && b->has_mem_backend)
		return "too many fields: either `mem_backend` or "
		       "`mem_file_path` exclusively is required";
	return NULL;
}

static void load(struct api *a, struct call *c)
{
	struct body_load *b = &c->load.body;
	const char *fault;

	if (!api_parse(a, NULL, &body_load_schema, b, sizeof(*b)))
		return;
	fault = load_fault(b);
	if (fault) {
		api_fault(a, BODY_FAULT "%s.", fault);
		schema_exit(&body_load_schema, b);
		return;
	}
	if (b->mem_file_path.s || b->enable_diff_snapshots)
		api_deprecated(a);
	if (api_before_start(a) && !a->config.configured) {
		a->load = &c->load.files;
		load_init(a->load);
		api_run_job(a, load_open, load_opened);
		return;
	}
	if (!a->vm)
		api_fault(a, "Load snapshot error: Loading a microVM snapshot "
			     "not allowed after configuring boot-specific "
			     "resources.");
	schema_exit(&body_load_schema, b);
}

void api_put_snapshot(struct api *a, struct call *c)
{
	if (token_is(&c->token[1], "create"))
		create(a, c);
	else if (token_is(&c->token[1], "load"))
		load(a, c);
	else
		api_fault(a, "Invalid request method and/or path: PUT %.*s.",
			  (int)c->req->path_len, c->req->path);
}
