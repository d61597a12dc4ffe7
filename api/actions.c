/* SPDX-License-Identifier: Apache-2.0 */
#include "api/endpoints.h"

static void start_work(struct job *j)
{
	struct api *a = api_of_job(j);

	a->call.ret = start_build(a, &a->call.err);
	if (a->call.ret == 0)
		start_seal(a);
}

static void start_done(struct job *j)
{
	struct api *a = api_of_job(j);

	if (a->call.ret < 0)
		start_failed(a);
	else
		a->call.ret = start_finish(a, &a->call.err);
	api_done(a, a->call.ret, "Start microvm error: ", &a->call.err);
}

static void instance_start(struct api *a, struct call *c)
{
	if (!api_before_start(a))
		return;
	c->ret = start_prepare(a, &c->err);
	if (c->ret == 0) {
		api_run_job(a, start_work, start_done);
		return;
	}
	start_failed(a);
	api_done(a, c->ret, "Start microvm error: ", &c->err);
}

static void flush_metrics(struct api *a)
{
	if (!api_after_start(a))
		return;
	/* A target that is full is counted there and is no client's fault. */
	(void)metrics_flush(a->metrics);
	api_ok(a);
}

static void send_ctrl_alt_del(struct api *a)
{
	if (!api_after_start(a))
		return;
	if (i8042_ctrl_alt_del(&a->vm->i8042) < 0)
		api_fault(a, "Internal VMM error: I8042 error: i8042 internal "
			     "buffer full.");
	else
		api_ok(a);
}

void api_put_action(struct api *a, struct call *c)
{
	int action;

	if (!api_parse(a, &a->metrics->api.put.actions, &body_action_schema,
		       &action, sizeof(action)))
		return;
	switch ((enum body_action)action) {
	case BODY_INSTANCE_START:
		instance_start(a, c);
		break;
	case BODY_FLUSH_METRICS:
		flush_metrics(a);
		break;
	case BODY_SEND_CTRL_ALT_DEL:
		send_ctrl_alt_del(a);
		break;
	}
}
