/* SPDX-License-Identifier: Apache-2.0 */
#include "api/limits.h"

#include "api/body.h"
#include "virtio/limiter.h"

void limiter_apply(struct limiter *l, const struct limiter_cfg *cfg)
{
	if (cfg->has_bandwidth)
		limiter_set_bandwidth(l, cfg->bandwidth.size,
				      cfg->bandwidth.one_time_burst,
				      cfg->bandwidth.refill_time);
	if (cfg->has_ops)
		limiter_set_ops(l, cfg->ops.size, cfg->ops.one_time_burst,
				cfg->ops.refill_time);
}
