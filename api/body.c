/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of fields and variants is the order in which messages name them.
 */
#include "api/body.h"

#include <errno.h>
#include <string.h>

#include "api/body_tables.h"
#include "base/err.h"
#include "base/log.h"

#define REQUIRED (FIELD_REQUIRED | FIELD_GIVEN)
#define NULLABLE (FIELD_NULLABLE | FIELD_GIVEN)

int body_parse(const struct schema *s, const char *text, size_t len, void *to,
	       size_t to_bytes, struct err *e)
{
	struct err inner;
	int ret = schema_parse(s, text, len, to, to_bytes, &inner);

	if (!ret)
		return 0;
	if (ret != -EINVAL)
		return err_set(e, ret, "%s", inner.text);
	return err_set(e, ret, BODY_FAULT "%s.", inner.text);
}

#define AT(m) .at = offsetof(struct bucket_cfg, m)
static const struct field bucket_fields[] = {
	{"size", FIELD_U64, FIELD_REQUIRED, AT(size)},
	{"one_time_burst", FIELD_U64, NULLABLE, AT(one_time_burst),
	 .given = offsetof(struct bucket_cfg, has_one_time_burst)},
	{"refill_time", FIELD_U64, FIELD_REQUIRED, AT(refill_time)},
};
#undef AT

const struct schema body_bucket_schema = {
	.name = "TokenBucketConfig",
	.fields = bucket_fields,
	.n_fields = ARRAY_LEN(bucket_fields),
	.open = true,
};

#define BUCKET(m)                                                            \
	{                                                                    \
#m, FIELD_STRUCT, NULLABLE, offsetof(struct limiter_cfg, m), \
			offsetof(struct limiter_cfg, has_##m),               \
			.schema = &body_bucket_schema                        \
	}
static const struct field limiter_fields[] = {BUCKET(bandwidth), BUCKET(ops)};
#undef BUCKET

const struct schema body_limiter_schema = {
	.name = "RateLimiterConfig",
	.fields = limiter_fields,
	.n_fields = ARRAY_LEN(limiter_fields),
};

static const struct variant cpu_templates[] = {
	{"C3", CPU_TEMPLATE_C3},
	{"T2", CPU_TEMPLATE_T2},
	{"T2S", CPU_TEMPLATE_T2S},
	{"None", CPU_TEMPLATE_NONE},
	{"T2CL", CPU_TEMPLATE_T2CL},
	{"T2A", CPU_TEMPLATE_T2A},
	{0},
};

static const struct variant huge_pages[] = {
	{"None", BODY_HUGE_NONE},
	{"2M", BODY_HUGE_2M},
	{0},
};

#define FIELD(m, kind, flags)                                              \
#m, kind, (flags) | FIELD_GIVEN, offsetof(struct body_machine, m), \
		offsetof(struct body_machine, has_##m)
static const struct field machine_fields[] = {
	{FIELD(vcpu_count, FIELD_U8, FIELD_REQUIRED)},
	{FIELD(mem_size_mib, FIELD_USIZE, FIELD_REQUIRED)},
	{FIELD(smt, FIELD_BOOL, 0)},
	{FIELD(cpu_template, FIELD_ENUM, FIELD_NULLABLE),
	 .variants = cpu_templates},
	{FIELD(track_dirty_pages, FIELD_BOOL, 0)},
	{FIELD(huge_pages, FIELD_ENUM, 0), .variants = huge_pages},
};

static const struct field machine_patch_fields[] = {
	{FIELD(vcpu_count, FIELD_U8, FIELD_NULLABLE)},
	{FIELD(mem_size_mib, FIELD_USIZE, FIELD_NULLABLE)},
	{FIELD(smt, FIELD_BOOL, FIELD_NULLABLE)},
	{FIELD(cpu_template, FIELD_ENUM, FIELD_NULLABLE),
	 .variants = cpu_templates},
	{FIELD(track_dirty_pages, FIELD_BOOL, FIELD_NULLABLE)},
	{FIELD(huge_pages, FIELD_ENUM, FIELD_NULLABLE), .variants = huge_pages},
};
#undef FIELD

const struct schema body_machine_schema = {
	.name = "MachineConfig",
	.fields = machine_fields,
	.n_fields = ARRAY_LEN(machine_fields),
};

const struct schema body_machine_patch_schema = {
	.name = "MachineConfigUpdate",
	.fields = machine_patch_fields,
	.n_fields = ARRAY_LEN(machine_patch_fields),
};

bool body_machine_any(const struct body_machine *b)
{
	return b->has_vcpu_count || b->has_mem_size_mib || b->has_smt ||
	       b->has_cpu_template || b->has_track_dirty_pages ||
	       b->has_huge_pages;
}

#define AT(m) .at = offsetof(struct body_boot_source, m)
static const struct field boot_source_fields[] = {
	{"kernel_image_path", FIELD_STRING, FIELD_REQUIRED,
	 AT(kernel_image_path)},
	{"initrd_path", FIELD_STRING, FIELD_NULLABLE, AT(initrd_path)},
	{"boot_args", FIELD_STRING, FIELD_NULLABLE, AT(boot_args)},
};
#undef AT

const struct schema body_boot_source_schema = {
	.name = "BootSourceConfig",
	.fields = boot_source_fields,
	.n_fields = ARRAY_LEN(boot_source_fields),
};

static const struct variant actions[] = {
	{"FlushMetrics", BODY_FLUSH_METRICS},
	{"InstanceStart", BODY_INSTANCE_START},
	{"SendCtrlAltDel", BODY_SEND_CTRL_ALT_DEL},
	{0},
};

static const struct field action_fields[] = {
	{"action_type", FIELD_ENUM, FIELD_REQUIRED, .variants = actions},
};

const struct schema body_action_schema = {
	.name = "ActionBody",
	.fields = action_fields,
	.n_fields = ARRAY_LEN(action_fields),
};

static const struct variant vm_states[] = {
	{"Paused", BODY_VM_PAUSED},
	{"Resumed", BODY_VM_RESUMED},
	{0},
};

static const struct field vm_fields[] = {
	{"state", FIELD_ENUM, FIELD_REQUIRED, .variants = vm_states},
};

const struct schema body_vm_schema = {
	.name = "Vm",
	.fields = vm_fields,
	.n_fields = ARRAY_LEN(vm_fields),
};

static int parse_level(const struct text *s, void *to, struct err *e)
{
	enum log_level level;

	if (strlen(s->s) != s->len || !log_level_parse(s->s, &level))
		return err_set(e, -EINVAL, "Invalid LevelFilter");
	*(int *)to = (int)level;
	return 0;
}

#define AT(m)	 .at = offsetof(struct body_logger, m)
#define GIVEN(m) .given = offsetof(struct body_logger, has_##m)
static const struct field logger_fields[] = {
	{"log_path", FIELD_PATH, FIELD_NULLABLE, AT(log_path)},
	{"level", FIELD_PARSED, NULLABLE, AT(level), GIVEN(level),
	 .parse = parse_level},
	{"show_level", FIELD_BOOL, NULLABLE, AT(show_level), GIVEN(show_level)},
	{"show_log_origin", FIELD_BOOL, NULLABLE, AT(show_log_origin),
	 GIVEN(show_log_origin)},
	{"module", FIELD_STRING, FIELD_NULLABLE, AT(module)},
};
#undef AT
#undef GIVEN

const struct schema body_logger_schema = {
	.name = "LoggerConfig",
	.fields = logger_fields,
	.n_fields = ARRAY_LEN(logger_fields),
};

static const struct field metrics_fields[] = {
	{"metrics_path", FIELD_PATH, FIELD_REQUIRED,
	 .at = offsetof(struct body_metrics, metrics_path)},
};

const struct schema body_metrics_schema = {
	.name = "MetricsConfig",
	.fields = metrics_fields,
	.n_fields = ARRAY_LEN(metrics_fields),
	.open = true,
};

static const struct field serial_fields[] = {
	{"serial_out_path", FIELD_PATH, FIELD_NULLABLE,
	 .at = offsetof(struct body_serial, serial_out_path)},
	{"rate_limiter", FIELD_STRUCT, NULLABLE,
	 .at = offsetof(struct body_serial, rate_limiter),
	 .given = offsetof(struct body_serial, has_rate_limiter),
	 .schema = &body_bucket_schema},
};

const struct schema body_serial_schema = {
	.name = "SerialConfig",
	.fields = serial_fields,
	.n_fields = ARRAY_LEN(serial_fields),
};
