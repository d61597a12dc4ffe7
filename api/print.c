/* SPDX-License-Identifier: Apache-2.0 */
#include "api/print.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>

#include "api/config.h"
#include "api/quote.h"
#include "base/cleanup.h"

static cJSON *make_text(const struct text *t)
{
	cleanup_free char *quoted = t->s ? quote_json(t->s, t->len) : NULL;

	return quoted ? cJSON_CreateRaw(quoted) : cJSON_CreateNull();
}

void print_text(cJSON *to, const char *name, const struct text *t)
{
	cJSON_AddItemToObject(to, name, make_text(t));
}

void print_item(cJSON *list, const struct text *t)
{
	cJSON_AddItemToArray(list, make_text(t));
}

void print_u64(cJSON *to, const char *name, uint64_t v)
{
	char buf[24];

	(void)snprintf(buf, sizeof(buf), "%" PRIu64, v);
	cJSON_AddRawToObject(to, name, buf);
}

cJSON *print_machine(const struct machine_config *m)
{
	static const char *const template[] = {
		[CPU_TEMPLATE_C3] = "C3",   [CPU_TEMPLATE_T2] = "T2",
		[CPU_TEMPLATE_T2S] = "T2S", [CPU_TEMPLATE_T2CL] = "T2CL",
		[CPU_TEMPLATE_T2A] = "T2A",
	};
	cJSON *t = cJSON_CreateObject();

	print_u64(t, "vcpu_count", m->vcpu_count);
	print_u64(t, "mem_size_mib", m->mem_size_mib);
	cJSON_AddBoolToObject(t, "smt", m->smt);
	if (m->cpu_template != CPU_TEMPLATE_NONE)
		cJSON_AddStringToObject(t, "cpu_template",
					template[m->cpu_template]);
	cJSON_AddBoolToObject(t, "track_dirty_pages", m->track_dirty_pages);
	cJSON_AddStringToObject(t, "huge_pages", m->huge_2m ? "2M" : "None");
	return t;
}

static bool is_on(bool has, const struct bucket_cfg *b)
{
	return has && b->size != 0 && b->refill_time != 0;
}

static void print_bucket(cJSON *to, const char *name, bool has,
			 const struct bucket_cfg *b)
{
	cJSON *t;

	if (!is_on(has, b)) {
		cJSON_AddNullToObject(to, name);
		return;
	}
	t = cJSON_AddObjectToObject(to, name);
	print_u64(t, "size", b->size);
	if (b->has_one_time_burst && b->one_time_burst != 0)
		print_u64(t, "one_time_burst", b->one_time_burst);
	else
		cJSON_AddNullToObject(t, "one_time_burst");
	print_u64(t, "refill_time", b->refill_time);
}

cJSON *print_limiter(const struct limiter_cfg *l)
{
	cJSON *t;

	if (!is_on(l->has_bandwidth, &l->bandwidth) &&
	    !is_on(l->has_ops, &l->ops))
		return cJSON_CreateNull();
	t = cJSON_CreateObject();
	print_bucket(t, "bandwidth", l->has_bandwidth, &l->bandwidth);
	print_bucket(t, "ops", l->has_ops, &l->ops);
	return t;
}
