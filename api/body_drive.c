/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of /drives. The order of fields and variants is the order in which
 * messages name them.
 */
#include "api/body.h"

#include "api/body_tables.h"

static const struct variant cache_types[] = {
	{"Unsafe", BODY_CACHE_UNSAFE},
	{"Writeback", BODY_CACHE_WRITEBACK},
	{0},
};

static const struct variant io_engines[] = {
	{"Async", BODY_ENGINE_ASYNC},
	{"Sync", BODY_ENGINE_SYNC},
	{0},
};

#define AT(m)	 .at = offsetof(struct body_drive, m)
#define GIVEN(m) .given = offsetof(struct body_drive, has_##m)
#define NULLABLE (FIELD_NULLABLE | FIELD_GIVEN)

static const struct field drive_fields[] = {
	{"drive_id", FIELD_STRING, FIELD_REQUIRED, AT(drive_id)},
	{"partuuid", FIELD_STRING, FIELD_NULLABLE, AT(partuuid)},
	{"is_root_device", FIELD_BOOL, FIELD_REQUIRED, AT(is_root_device)},
	{"cache_type", FIELD_ENUM, 0, AT(cache_type), .variants = cache_types},
	{"is_read_only", FIELD_BOOL, NULLABLE, AT(is_read_only),
	 GIVEN(is_read_only)},
	{"path_on_host", FIELD_STRING, FIELD_NULLABLE, AT(path_on_host)},
	{"rate_limiter", FIELD_STRUCT, NULLABLE, AT(rate_limiter),
	 GIVEN(rate_limiter), .schema = &body_limiter_schema},
	{"io_engine", FIELD_ENUM, NULLABLE, AT(io_engine), GIVEN(io_engine),
	 .variants = io_engines},
	{"socket", FIELD_STRING, FIELD_NULLABLE, AT(socket)},
	{"exclusive", FIELD_BOOL, FIELD_ADDITIONAL, AT(exclusive)},
};

static const struct field patch_fields[] = {
	{"drive_id", FIELD_STRING, FIELD_REQUIRED, AT(drive_id)},
	{"path_on_host", FIELD_STRING, FIELD_NULLABLE, AT(path_on_host)},
	{"rate_limiter", FIELD_STRUCT, NULLABLE, AT(rate_limiter),
	 GIVEN(rate_limiter), .schema = &body_limiter_schema},
};

const struct schema body_drive_schema = {
	.name = "BlockDeviceConfig",
	.fields = drive_fields,
	.n_fields = ARRAY_LEN(drive_fields),
};

const struct schema body_drive_patch_schema = {
	.name = "BlockDeviceUpdateConfig",
	.fields = patch_fields,
	.n_fields = ARRAY_LEN(patch_fields),
};
