/* SPDX-License-Identifier: Apache-2.0 */
#include "api/endpoints.h"

static void work(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	c->ret = config_put_boot_source(&a->config, &c->boot_source, &c->err);
}

static void done(struct job *j)
{
	struct api *a = api_of_job(j);

	api_done(a, a->call.ret, "Boot source error: ", &a->call.err);
	/* A start is to come: the helper has time now. */
	if (a->call.ret == 0)
		probe_start(&a->probe, a->worker);
}

void api_put_boot_source(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.put.boot_source;

	count->count++;
	if (body_boot_source_parse(&c->boot_source, c->req->body,
				   c->req->body_len, &c->err) < 0) {
		count->fails++;
		api_fault(a, "%s", c->err.text);
	} else if (api_before_start(a)) {
		api_run_job(a, work, done);
	} else {
		body_boot_source_exit(&c->boot_source);
	}
}
