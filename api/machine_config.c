/* SPDX-License-Identifier: Apache-2.0 */
#include "api/endpoints.h"
#include "api/print.h"

void api_get_machine_config(struct api *a, struct call *c)
{
	(void)c;
	a->metrics->api.get.machine_cfg++;
	api_json(a, print_machine(&a->config.machine));
}

/* Whether the body uses what is deprecated; counts it. */
static bool uses_template(struct api *a, const struct body_machine *b)
{
	if (b->has_cpu_template)
		a->metrics->api.deprecated_calls++;
	return b->has_cpu_template;
}

static void apply(struct api *a, const struct body_machine *b)
{
	struct err e;

	if (api_before_start(a))
		api_done(a, config_machine(&a->config, b, &e),
			 "Machine config error: ", &e);
}

void api_put_machine_config(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.put.machine_cfg;
	struct body_machine b;
	struct err e;

	count->count++;
	if (body_machine_parse(&b, c->req->body, c->req->body_len, &e) < 0) {
		count->fails++;
		api_fault(a, "%s", e.text);
		return;
	}
	c->deprecated = uses_template(a, &b);
	body_machine_defaults(&b);
	apply(a, &b);
}

void api_patch_machine_config(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.patch.machine_cfg;
	struct body_machine b;
	struct err e;

	count->count++;
	if (body_machine_patch_parse(&b, c->req->body, c->req->body_len, &e) <
	    0) {
		count->fails++;
		api_fault(a, "%s", e.text);
		return;
	}
	c->deprecated = uses_template(a, &b);
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
