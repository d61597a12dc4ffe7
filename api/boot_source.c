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
	if (api_parse(a, &a->metrics->api.put.boot_source,
		      &body_boot_source_schema, &c->boot_source,
		      sizeof(c->boot_source)))
		api_run_early(a, &body_boot_source_schema, &c->boot_source,
			      work, done);
}
