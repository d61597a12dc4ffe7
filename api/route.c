/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c: from a request to its handler. The first part of the path selects
 * the resource; what is wrong with every request is said here.
 */
#include <ctype.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/quote.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"

#define THREAD "fc_api"

enum body_shown {
	BODY_SHOWN,
	BODY_HIDDEN,
	BODY_DEBUG,
	BODY_NO_MMDS, /* hidden if the guest's metadata may be in it */
};

struct route {
	const char *name;
	api_handler *handler[4]; /* by enum http_method */
	enum body_shown shown;	 /* in the log */
};

static const struct route routes[] = {
	{"", {[HTTP_GET] = api_get_instance_info}, BODY_SHOWN},
	{"version", {[HTTP_GET] = api_get_version}, BODY_SHOWN},
	{"vm",
	 {[HTTP_GET] = api_get_vm_config, [HTTP_PATCH] = api_patch_vm},
	 BODY_SHOWN},
	{"machine-config",
	 {[HTTP_GET] = api_get_machine_config,
	  [HTTP_PUT] = api_put_machine_config,
	  [HTTP_PATCH] = api_patch_machine_config},
	 BODY_SHOWN},
	{"cpu-config", {[HTTP_PUT] = api_put_cpu_config}, BODY_DEBUG},
	{"boot-source", {[HTTP_PUT] = api_put_boot_source}, BODY_SHOWN},
	{"drives",
	 {[HTTP_PUT] = api_put_drive,
	  [HTTP_PATCH] = api_patch_drive,
	  [HTTP_DELETE] = api_delete_device},
	 BODY_SHOWN},
	{"network-interfaces",
	 {[HTTP_PUT] = api_put_net,
	  [HTTP_PATCH] = api_patch_net,
	  [HTTP_DELETE] = api_delete_device},
	 BODY_SHOWN},
	{"vsock", {[HTTP_PUT] = api_put_vsock}, BODY_SHOWN},
	{"logger", {[HTTP_PUT] = api_put_logger}, BODY_SHOWN},
	{"metrics", {[HTTP_PUT] = api_put_metrics}, BODY_SHOWN},
	{"serial", {[HTTP_PUT] = api_put_serial}, BODY_SHOWN},
	{"actions", {[HTTP_PUT] = api_put_action}, BODY_SHOWN},
	{"snapshot", {[HTTP_PUT] = api_put_snapshot}, BODY_NO_MMDS},
	{"mmds",
	 {[HTTP_GET] = api_get_mmds,
	  [HTTP_PUT] = api_put_mmds,
	  [HTTP_PATCH] = api_patch_mmds},
	 BODY_HIDDEN},
};

bool api_check_id(struct api *a, struct metrics_pair *count)
{
	const struct token *t = &a->call.token[1];
	const char *fault = NULL;

	if (!t->text || t->len == 0)
		fault = "The ID cannot be empty.";
	for (size_t i = 0; !fault && i < t->len; i++) {
		if (!isalnum((unsigned char)t->text[i]) && t->text[i] != '_')
			fault = "API Resource IDs can only contain "
				"alphanumeric characters and underscores.";
	}
	if (!fault)
		return true;
	if (count) {
		count->count++;
		count->fails++;
	}
	api_fault(a, "%s", fault);
	return false;
}

bool api_same_id(const struct call *c, const struct text *id)
{
	const struct token *t = &c->token[1];

	return id->len == t->len && !memcmp(id->s, t->text, t->len);
}

bool api_parse(struct api *a, struct metrics_pair *count,
	       const struct schema *s, void *to, size_t to_bytes)
{
	const struct http_request *r = a->call.req;
	struct err e;
	int ret = body_parse(s, r->body, r->body_len, to, to_bytes, &e);

	if (count) {
		count->count++;
		count->fails += ret < 0;
	}
	if (ret < 0)
		api_fault(a, "%s", e.text);
	return ret == 0;
}

void api_deprecated(struct api *a)
{
	a->metrics->api.deprecated_calls++;
	a->call.deprecated = true;
}

bool token_is(const struct token *t, const char *s)
{
	return t->text && t->len == strlen(s) && !memcmp(t->text, s, t->len);
}

/* Split "/a/b" at its slashes; a slash at the end starts an empty token. */
static void split_path(struct call *c)
{
	const char *p = c->req->path + 1;
	const char *end = c->req->path + c->req->path_len;
	size_t n;

	for (unsigned int i = 0; i < PATH_TOKENS && p <= end; i++) {
		for (n = 0; p + n < end && p[n] != '/'; n++)
			;
		c->token[i] = (struct token){.text = p, .len = n};
		p += n + 1;
	}
}

static const struct route *find_route(const struct token *first)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (token_is(first, routes[i].name))
			return &routes[i];
	}
	return NULL;
}

static bool is_shown(const struct http_request *r, const struct route *route)
{
	enum body_shown shown = route ? route->shown : BODY_SHOWN;

	if (shown == BODY_NO_MMDS)
		return !memmem(r->body, r->body_len, "mmds", 4);
	return shown == BODY_SHOWN;
}

static void log_request(const struct http_request *r, const struct route *route)
{
	static const char *const verb[] = {"Get", "Put", "Patch", "Delete"};
	cleanup_free char *target = quote_debug(r->target, r->target_len);
	cleanup_free char *body = NULL;
	const char *hint = "";
	size_t bad;

	if (r->body && utf8_prefix(r->body, r->body_len, &bad) < r->body_len)
		body = strdup("\"inconvertible to UTF-8\"");
	else if (r->body)
		body = quote_debug(r->body, r->body_len);
	if (route && route->shown == BODY_DEBUG)
		hint = " To view the CPU template received by the API, "
		       "configure log-level to DEBUG.";
	if (body && is_shown(r, route))
		log_line(LOG_INFO, THREAD, __FILE__, __LINE__,
			 "The API server received a %s request on %s with body "
			 "%s.",
			 verb[r->method], target ? target : "?", body);
	else
		log_line(LOG_INFO, THREAD, __FILE__, __LINE__,
			 "The API server received a %s request on %s.%s",
			 verb[r->method], target ? target : "?", hint);
}

/* What is wrong with having, or lacking, a body, or NULL. */
static const char *body_fault(const struct http_request *r)
{
	switch (r->method) {
	case HTTP_GET:
		return r->body ? "GET request cannot have a body." : NULL;
	case HTTP_PUT:
		return r->body ? NULL : "Empty PUT request.";
	case HTTP_PATCH:
		return r->body ? NULL : "Empty PATCH request.";
	default:
		return r->body ? "Empty Delete request." : NULL;
	}
}

void api_unknown_path(struct api *a, const struct call *c)
{
	api_fault(a, "Invalid request method and/or path: %s %.*s.",
		  http_method_name(c->req->method), (int)c->token[0].len,
		  c->token[0].text);
}

void api_handle(struct server *s, struct http_request *r)
{
	struct api *a = container_of(s, struct api, server);
	struct call *c = &a->call;
	const struct route *route;
	const char *fault = body_fault(r);

	*c = (struct call){.req = r, .start_ns = clock_now_ns()};
	split_path(c);
	route = find_route(&c->token[0]);
	log_request(r, route);
	if (fault)
		api_fault(a, "%s", fault);
	else if (!route || !route->handler[r->method])
		api_unknown_path(a, c);
	else
		route->handler[r->method](a, c);
}
