/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file: the bodies of requests under their sections' names.
 */
#include "api/body.h"

#include <errno.h>

#include "api/body_tables.h"
#include "base/err.h"

#define NULLABLE (FIELD_NULLABLE | FIELD_GIVEN)

/* A template, or the path of a file that holds one. */
static int take_cpu(const struct json *j, const struct json_tok *t, void *to,
		    struct err *e)
{
	struct body_cpu_config *c = to;
	int ret = -EINVAL;

	if (t->kind == JSON_STRING)
		return text_init(&c->path, j, t, e);
	if (t->kind == JSON_OBJECT)
		ret = body_cpu_fill(&c->inline_template, j, t, e);
	if (ret != -EINVAL)
		return ret;
	return err_set(e, ret,
		       "data did not match any variant of untagged enum "
		       "CustomCpuTemplateOrPath");
}

static void exit_cpu(void *to)
{
	struct body_cpu_config *c = to;

	cpu_template_exit(&c->inline_template);
	text_exit(&c->path);
}

static const struct field drive_item = {
	.kind = FIELD_STRUCT,
	.schema = &body_drive_schema,
};

static const struct field net_item = {
	.kind = FIELD_STRUCT,
	.schema = &body_net_schema,
};

#define AT(m)	 .at = offsetof(struct body_config, m)
#define GIVEN(m) .given = offsetof(struct body_config, has_##m)

/* In the order in which missing sections are reported. */
static const struct field config_fields[] = {
	{"balloon", FIELD_SPAN, FIELD_NULLABLE, AT(balloon),
	 .name_of = "struct BalloonDeviceConfig"},
	{"drives", FIELD_LIST, FIELD_REQUIRED, AT(drives),
	 .list = {&drive_item, sizeof(struct body_drive),
		  offsetof(struct body_config, n_drives)}},
	{"boot-source", FIELD_STRUCT, FIELD_REQUIRED, AT(boot_source),
	 .schema = &body_boot_source_schema},
	{"cpu-config", FIELD_VALUE, NULLABLE, AT(cpu), GIVEN(cpu),
	 .value = {take_cpu, exit_cpu}},
	{"logger", FIELD_STRUCT, NULLABLE, AT(logger), GIVEN(logger),
	 .schema = &body_logger_schema},
	{"machine-config", FIELD_STRUCT, NULLABLE, AT(machine), GIVEN(machine),
	 .schema = &body_machine_schema},
	{"metrics", FIELD_STRUCT, NULLABLE, AT(metrics), GIVEN(metrics),
	 .schema = &body_metrics_schema},
	{"mmds-config", FIELD_STRUCT, NULLABLE, AT(mmds), GIVEN(mmds),
	 .schema = &body_mmds_schema},
	{"network-interfaces", FIELD_LIST, 0, AT(nets),
	 .list = {&net_item, sizeof(struct body_net),
		  offsetof(struct body_config, n_nets)}},
	{"vsock", FIELD_STRUCT, NULLABLE, AT(vsock), GIVEN(vsock),
	 .schema = &body_vsock_schema},
	{"entropy", FIELD_SPAN, FIELD_NULLABLE, AT(entropy),
	 .name_of = "struct EntropyDeviceConfig"},
	{"pmem", FIELD_SPANS, 0, AT(pmem)},
	{"memory-hotplug", FIELD_SPAN, FIELD_NULLABLE, AT(memory_hotplug),
	 .name_of = "struct MemoryHotplugConfig"},
};

const struct schema body_config_schema = {
	.name = "VmmConfig",
	.fields = config_fields,
	.n_fields = ARRAY_LEN(config_fields),
	.open = true,
};
