/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmds.c: /mmds and /mmds/config. A guest that cannot ask for data has none:
 * what was put before the start is lost then, and nothing can be put.
 */
#include <cjson/cJSON.h>
#include <errno.h>

#include "api/endpoints.h"
#include "base/cleanup.h"

static bool has_store(const struct api *a)
{
	return !a->vm || config_has_mmds(&a->config);
}

void api_get_mmds(struct api *a, struct call *c)
{
	cleanup_free char *text = NULL;

	(void)c;
	a->metrics->api.get.mmds++;
	if (!has_store(a)) {
		api_fault(a, "MMDS error: The MMDS data store is not "
			     "initialized.");
		return;
	}
	text = mmds_store_print(&a->config.mmds.store);
	api_json(a, text ? cJSON_CreateRaw(text) : NULL);
}

static void answer(struct api *a, struct metrics_pair *count, int ret,
		   struct err *e)
{
	count->count++;
	if (ret == -EINVAL) {
		count->fails++;
		api_fault(a, BODY_FAULT "%s.", e->text);
	} else if (ret == -E2BIG) {
		(void)err_wrap(e, "MMDS limit exceeded error: ");
		api_too_large(a, e->text);
	} else {
		api_done(a, ret, "MMDS error: ", e);
	}
}

void api_patch_mmds(struct api *a, struct call *c)
{
	int ret = mmds_store_patch(&a->config.mmds.store, c->req->body,
				   c->req->body_len, &c->err);

	answer(a, &a->metrics->api.patch.mmds, ret, &c->err);
}

static void put_data(struct api *a, struct call *c)
{
	struct mmds_store *s = &a->config.mmds.store;
	/* Without a store: what a patch of nothing says. */
	int ret = (has_store(a) ? mmds_store_put : mmds_store_patch)(
		s, c->req->body, c->req->body_len, &c->err);

	answer(a, &a->metrics->api.put.mmds, ret, &c->err);
}

static void put_config(struct api *a, struct call *c)
{
	struct body_mmds b;

	if (!api_parse(a, &a->metrics->api.put.mmds, &body_mmds_schema, &b,
		       sizeof(b)))
		return;
	if (b.version == MMDS_V1)
		api_deprecated(a);
	if (api_before_start(a))
		api_done(a, config_put_mmds(&a->config, &b, &c->err),
			 "MMMDS config error: ", &c->err);
	schema_exit(&body_mmds_schema, &b);
}

void api_put_mmds(struct api *a, struct call *c)
{
	const struct token *t = &c->token[1];
	struct metrics_pair *count = &a->metrics->api.put.mmds;

	if (!t->text || t->len == 0) {
		put_data(a, c);
	} else if (token_is(t, "config")) {
		put_config(a, c);
	} else {
		count->count++;
		count->fails++;
		api_fault(a, "Unrecognized PUT request path `%.*s`.",
			  (int)t->len, t->text);
	}
}
