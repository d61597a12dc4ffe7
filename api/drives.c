/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "api/endpoints.h"
#include "api/limits.h"
#include "base/num.h"

/* Parse and check what PUT and PATCH have in common; answers if it is bad. */
static bool parse(struct api *a, struct call *c, struct metrics_pair *count,
		  const struct schema *s)
{
	struct body_drive *b = &c->drive.body;

	if (!api_check_id(a, count) || !api_parse(a, count, s, b, sizeof(*b)))
		return false;
	if (api_same_id(c, &b->drive_id))
		return true;
	count->fails++;
	schema_exit(s, b);
	api_fault(a, "The id from the path does not match the id from the "
		     "body!");
	return false;
}

/* ---- PUT ---- */

static void put_work(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	c->ret = config_put_drive(&a->config, &c->drive.body, &c->err);
}

static void put_done(struct job *j)
{
	struct api *a = api_of_job(j);

	api_done(a, a->call.ret, "Drive config error: ", &a->call.err);
}

void api_put_drive(struct api *a, struct call *c)
{
	if (!parse(a, c, &a->metrics->api.put.drive, &body_drive_schema))
		return;
	if (!a->vm) {
		api_run_job(a, put_work, put_done);
		return;
	}
	schema_exit(&body_drive_schema, &c->drive.body);
	api_fault(a, "PCI is not enabled");
}

/* ---- PATCH ---- */

static void patch_reply(struct api *a, int ret, const char *why)
{
	schema_exit(&body_drive_schema, &a->call.drive.body);
	if (ret < 0)
		api_fault(a,
			  "Drive config error: Unable to patch the block "
			  "device: %s Please verify the request arguments.",
			  why);
	else
		api_ok(a);
}

static void patch_open(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;
	const struct drive *d =
		config_find_drive(&a->config, &c->drive.body.drive_id);

	c->ret = drive_open(&a->config, &c->drive.body.path_on_host,
			    d->body.is_read_only, d->body.exclusive,
			    &c->drive.file, &c->err);
}

static void set_limiter(struct drive *d, const struct body_drive *patch)
{
	if (!patch->has_rate_limiter)
		return;
	limiter_merge(&d->body.rate_limiter, &patch->rate_limiter);
	limiter_apply(blk_limiter(d->blk), &patch->rate_limiter);
	d->body.has_rate_limiter = true;
}

static void patch_lock(struct job *j)
{
	struct api *a = api_of_job(j);
	struct drive *d =
		config_find_drive(&a->config, &a->call.drive.body.drive_id);

	(void)drive_lock_soon(&d->file, d->body.is_read_only);
}

/* The drive is done: from now on its descriptor is the device's alone. */
static void patch_done(struct api *a, struct drive *d)
{
	d->file.blk.fd = -1;
	patch_reply(a, 0, NULL);
}

static void patch_locked(struct job *j)
{
	struct api *a = api_of_job(j);

	patch_done(a,
		   config_find_drive(&a->config, &a->call.drive.body.drive_id));
}

static const char *swap_error(int err)
{
	switch (err) {
	case -ETIMEDOUT:
		return "Block: Virtio backend error: Requests in flight did "
		       "not end within 200 ms; the old file stays.";
	case -EBUSY:
		return "Block: Virtio backend error: The file is being "
		       "replaced already.";
	default:
		return "Block: Virtio backend error: The kernel did not take "
		       "the file; the old file stays.";
	}
}

static void patch_swapped(struct blk_swap *w, int ret)
{
	struct api *a = container_of(w, struct api, swap);
	struct call *c = &a->call;
	struct drive *d =
		config_find_drive(&a->config, &c->drive.body.drive_id);
	bool was_locked = d->file.locked;

	if (ret < 0) {
		patch_reply(a, ret, swap_error(ret));
		return;
	}
	text_exit(&d->body.path_on_host);
	d->body.path_on_host = c->drive.body.path_on_host;
	c->drive.body.path_on_host = (struct text){0};
	d->file = c->drive.file;
	set_limiter(d, &c->drive.body);
	/* The same file again: its lock has gone with the old descriptor. */
	if (was_locked && !d->file.locked)
		api_run_job(a, patch_lock, patch_locked);
	else
		patch_done(a, d);
}

static void patch_opened(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;
	const struct drive *d =
		config_find_drive(&a->config, &c->drive.body.drive_id);

	if (c->ret < 0) {
		(void)err_wrap(&c->err, "Block: ");
		patch_reply(a, c->ret, c->err.text);
		return;
	}
	a->swap.done = patch_swapped;
	blk_swap(d->blk, &c->drive.file.blk, &a->swap);
}

void api_patch_drive(struct api *a, struct call *c)
{
	struct drive *d;

	if (!parse(a, c, &a->metrics->api.patch.drive,
		   &body_drive_patch_schema))
		return;
	if (!api_after_start(a)) {
		schema_exit(&body_drive_schema, &c->drive.body);
		return;
	}
	d = config_find_drive(&a->config, &c->drive.body.drive_id);
	if (!d) {
		patch_reply(a, -ENOENT,
			    "Failed perform action on device: Device not "
			    "found");
	} else if (c->drive.body.path_on_host.s) {
		api_run_job(a, patch_open, patch_opened);
	} else if (c->drive.body.has_rate_limiter) {
		set_limiter(d, &c->drive.body);
		patch_reply(a, 0, NULL);
	} else {
		patch_reply(a, -EINVAL,
			    "Block: Running method expected different "
			    "backend.");
	}
}

/* ---- DELETE, of drives and of interfaces ---- */

void api_delete_device(struct api *a, struct call *c)
{
	(void)c;
	if (api_check_id(a, NULL) && api_after_start(a))
		api_fault(a, "PCI is not enabled");
}
