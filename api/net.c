/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c: /network-interfaces and /vsock.
 */
#include "api/endpoints.h"
#include "api/limits.h"
#include "virtio/net.h"

/* Parse and check what PUT and PATCH have in common; answers if it is bad. */
static bool parse(struct api *a, struct call *c, struct metrics_pair *count,
		  const struct schema *s)
{
	struct body_net *b = &c->net;

	if (!api_check_id(a, count) || !api_parse(a, count, s, b, sizeof(*b)))
		return false;
	if (api_same_id(c, &b->iface_id))
		return true;
	count->fails++;
	api_fault(a,
		  "The id from the path [%.*s] does not match the id from the "
		  "body [%s]!",
		  (int)c->token[1].len, c->token[1].text, b->iface_id.s);
	schema_exit(s, b);
	return false;
}

static void put_net_work(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	c->ret = config_put_net(&a->config, &c->net, &c->err);
}

static void put_net_done(struct job *j)
{
	struct api *a = api_of_job(j);

	api_done(a, a->call.ret, "Network config error: ", &a->call.err);
}

void api_put_net(struct api *a, struct call *c)
{
	if (!parse(a, c, &a->metrics->api.put.network, &body_net_schema))
		return;
	if (!a->vm) {
		api_run_job(a, put_net_work, put_net_done);
		return;
	}
	schema_exit(&body_net_schema, &c->net);
	api_fault(a, "PCI is not enabled");
}

static void set_limiters(struct iface *n, const struct body_net *b)
{
	limiter_merge(&n->body.rx_rate_limiter, &b->rx_rate_limiter);
	limiter_merge(&n->body.tx_rate_limiter, &b->tx_rate_limiter);
	limiter_apply(net_rx_limiter(n->net), &b->rx_rate_limiter);
	limiter_apply(net_tx_limiter(n->net), &b->tx_rate_limiter);
}

void api_patch_net(struct api *a, struct call *c)
{
	struct iface *n;

	if (!parse(a, c, &a->metrics->api.patch.network,
		   &body_net_patch_schema))
		return;
	n = config_find_net(&a->config, &c->net.iface_id);
	if (api_after_start(a) && n) {
		set_limiters(n, &c->net);
		api_ok(a);
	} else if (a->vm) {
		api_fault(a, "Network config error: Unable to update the net "
			     "device: Failed perform action on device: Device "
			     "not found");
	}
	schema_exit(&body_net_patch_schema, &c->net);
}

static void put_vsock_work(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	c->ret = config_put_vsock(&a->config, &c->vsock, &c->err);
}

static void put_vsock_done(struct job *j)
{
	struct api *a = api_of_job(j);

	api_done(a, a->call.ret, "Vsock config error: ", &a->call.err);
}

void api_put_vsock(struct api *a, struct call *c)
{
	if (!api_parse(a, &a->metrics->api.put.vsock, &body_vsock_schema,
		       &c->vsock, sizeof(c->vsock)))
		return;
	if (c->vsock.vsock_id.s)
		api_deprecated(a);
	api_run_early(a, &body_vsock_schema, &c->vsock, put_vsock_work,
		      put_vsock_done);
}
