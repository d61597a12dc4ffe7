/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_live.c: /snapshot/create of a guest that runs, and runs on.
 *
 * The helper prepares, the loop pauses as PATCH /vm does, the helper takes what
 * must be of that moment, the loop resumes, the helper writes the rest.
 * Whatever fails, the guest runs on. If it ends meanwhile, the process does
 * when the files are whole, or away.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "snapshot/live.h"

#define ENDED "The guest has ended."

static void finished(struct job *j)
{
	struct api *a = api_of_job(j);
	bool guest_ended = a->live.guest_ended;

	if (a->live.armed)
		dirty_disarm(a->vm);
	if (a->call.ret == 0)
		log_info("Live snapshot: the microVM was paused for %" PRIu64
			 " us; %s.",
			 a->live.pause_us, a->live.report);
	a->live = (struct api_live){0};
	api_created(j);
	if (guest_ended)
		loop_stop(a->loop);
}

/* After an error too: the guest gets back what was in its way. */
static void finish(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;
	struct live *l = a->live.live;

	if (c->ret == 0)
		c->ret = live_write(l, &c->err);
	if (c->ret == 0)
		c->ret = api_sync_drives(&a->config, &c->err);
	if (c->ret == 0)
		c->ret = live_commit(l, &c->err);
	if (c->ret == 0)
		live_report(l, a->live.report, sizeof(a->live.report));
	live_free(l);
}

static void frozen(struct job *j)
{
	struct api *a = api_of_job(j);
	struct api_live *l = &a->live;

	/* First: devices may write to RAM at once, and wait for the helper. */
	api_run_job(a, finish, finished);
	api_resume(a);
	l->pause_us = (clock_now_ns() - l->pause_ns) / NS_PER_US;
	a->metrics->api.latencies_us.vmm_pause_vm = l->pause_us;
}

/*
 * A guest may have ended on its way into the pause: its vCPUs are parked in the
 * middle of whatever they did.
 */
static void freeze(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	if (__atomic_load_n(&a->vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE)
		c->ret = err_set(&c->err, -ESHUTDOWN, ENDED);
	else
		c->ret = live_freeze(a->live.live, &c->err);
}

void api_live_paused(struct api *a)
{
	api_run_job(a, freeze, frozen);
}

void api_live_failed(struct api *a, int code, const char *why)
{
	a->call.ret = err_set(&a->call.err, code, "%s", why);
	api_run_job(a, finish, finished);
}

static void opened(struct job *j)
{
	struct api *a = api_of_job(j);

	if (a->call.ret < 0) {
		api_run_job(a, finish, finished);
	} else if (a->live.guest_ended) {
		api_live_failed(a, -ESHUTDOWN, ENDED);
	} else {
		a->live.pause_ns = clock_now_ns();
		vm_pause(a->vm);
	}
}

static void open_files(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;
	const struct body_create *b = &c->create.body;
	const struct live_order order = {
		.vm = a->vm,
		.worker = a->worker,
		.files = {.config = c->create.config,
			  .config_len = strlen(c->create.config),
			  .state_path = b->snapshot_path.s,
			  .mem_path = b->mem_file_path.s,
			  .diff = b->snapshot_type == BODY_SNAPSHOT_DIFF},
		/* Else its thread does what drives ask for. */
		.may_protect = loop_backend_of(a->loop) == LOOP_URING,
	};

	c->ret = live_open(&a->live.live, &order, &c->err);
}

void api_live_create(struct api *a)
{
	struct call *c = &a->call;

	a->live = (struct api_live){.under_way = true};
	if (!dirty_on(a->vm)) {
		c->ret = dirty_arm(a->vm, &c->err);
		a->live.armed = c->ret == 0;
	}
	if (c->ret < 0)
		api_run_job(a, finish, finished);
	else
		api_run_job(a, open_files, opened);
}
