/* SPDX-License-Identifier: Apache-2.0 */
#include "api/endpoints.h"
#include "api/print.h"

void api_get_machine_config(struct api *a, struct call *c)
{
	(void)c;
	a->metrics->api.get.machine_cfg++;
	api_json(a, print_machine(&a->config.machine));
}

static void apply(struct api *a, const struct body_machine *b)
{
	struct err e;

	if (b->has_cpu_template)
		api_deprecated(a);
	if (api_before_start(a))
		api_done(a, config_machine(&a->config, b, &e),
			 "Machine config error: ", &e);
}

void api_put_machine_config(struct api *a, struct call *c)
{
	struct body_machine b;

	(void)c;
	if (!api_parse(a, &a->metrics->api.put.machine_cfg,
		       &body_machine_schema, &b, sizeof(b)))
		return;
	body_machine_defaults(&b);
	apply(a, &b);
}

void api_patch_machine_config(struct api *a, struct call *c)
{
	struct body_machine b;

	(void)c;
	if (!api_parse(a, &a->metrics->api.patch.machine_cfg,
		       &body_machine_patch_schema, &b, sizeof(b)))
		return;
	if (!body_machine_any(&b))
		api_fault(a, "Empty PATCH request.");
	else
		apply(a, &b);
}

void api_put_cpu_config(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.put.cpu_cfg;
	struct cpu_template t;
	struct err e;

	count->count++;
	if (body_cpu_parse(&t, c->req->body, c->req->body_len, &e) < 0) {
		count->fails++;
		api_fault(a, "%s", e.text);
		return;
	}
	if (api_before_start(a)) {
		config_put_cpu(&a->config, &t);
		api_ok(a);
	}
	cpu_template_exit(&t);
}
