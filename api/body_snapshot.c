/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of fields and variants is the order in which messages name them.
 */
#include "api/body_snapshot.h"

#include <errno.h>
#include <string.h>

#include "api/body_tables.h"
#include "base/err.h"
#include "base/num.h"

#define ADDITIONAL (FIELD_ADDITIONAL | FIELD_NULLABLE)

static const struct variant snapshot_types[] = {
	{"Diff", BODY_SNAPSHOT_DIFF},
	{"Full", BODY_SNAPSHOT_FULL},
	{0},
};

#define AT(m) .at = offsetof(struct body_create, m)
static const struct field create_fields[] = {
	{"snapshot_type", FIELD_ENUM, 0, AT(snapshot_type),
	 .variants = snapshot_types},
	{"snapshot_path", FIELD_PATH, FIELD_REQUIRED, AT(snapshot_path)},
	{"mem_file_path", FIELD_PATH, FIELD_REQUIRED, AT(mem_file_path)},
	{"live", FIELD_BOOL, FIELD_ADDITIONAL, AT(live)},
};
#undef AT

const struct schema body_create_schema = {
	.name = "CreateSnapshotParams",
	.fields = create_fields,
	.n_fields = ARRAY_LEN(create_fields),
};

static const struct variant backend_types[] = {
	{"File", BODY_MEM_FILE},
	{"Uffd", BODY_MEM_UFFD},
	{0},
};

#define AT(m) .at = offsetof(struct mem_backend, m)
static const struct field backend_fields[] = {
	{"backend_path", FIELD_PATH, FIELD_REQUIRED, AT(backend_path)},
	{"backend_type", FIELD_ENUM, FIELD_REQUIRED, AT(backend_type),
	 .variants = backend_types},
};
#undef AT

static const struct schema backend_schema = {
	.name = "MemBackendConfig",
	.fields = backend_fields,
	.n_fields = ARRAY_LEN(backend_fields),
};

#define AT(m) .at = offsetof(struct net_override, m)
static const struct field net_override_fields[] = {
	{"iface_id", FIELD_STRING, FIELD_REQUIRED, AT(iface_id)},
	{"host_dev_name", FIELD_STRING, FIELD_REQUIRED, AT(host_dev_name)},
	{"guest_mac", FIELD_PARSED, ADDITIONAL | FIELD_GIVEN, AT(guest_mac),
	 .given = offsetof(struct net_override, has_guest_mac),
	 .parse = body_parse_mac},
	{"rx_rate_limiter", FIELD_STRUCT, ADDITIONAL, AT(rx_rate_limiter),
	 .schema = &body_limiter_schema},
	{"tx_rate_limiter", FIELD_STRUCT, ADDITIONAL, AT(tx_rate_limiter),
	 .schema = &body_limiter_schema},
};
#undef AT

static const struct schema net_override_schema = {
	.name = "NetworkOverride",
	.fields = net_override_fields,
	.n_fields = ARRAY_LEN(net_override_fields),
	.open = true,
};

static const struct field net_override_item = {.kind = FIELD_STRUCT,
					       .schema = &net_override_schema};

#define AT(m)	 .at = offsetof(struct drive_override, m)
#define GIVEN(m) .given = offsetof(struct drive_override, has_##m)
static const struct field drive_override_fields[] = {
	{"drive_id", FIELD_STRING, FIELD_REQUIRED, AT(drive_id)},
	{"path_on_host", FIELD_STRING, FIELD_NULLABLE | FIELD_GIVEN,
	 AT(path_on_host), GIVEN(path_on_host)},
	{"rate_limiter", FIELD_STRUCT, FIELD_NULLABLE | FIELD_GIVEN,
	 AT(rate_limiter), GIVEN(rate_limiter), .schema = &body_limiter_schema},
};
#undef AT
#undef GIVEN

static const struct schema drive_override_schema = {
	.name = "DriveOverride",
	.fields = drive_override_fields,
	.n_fields = ARRAY_LEN(drive_override_fields),
};

static const struct field drive_override_item = {
	.kind = FIELD_STRUCT, .schema = &drive_override_schema};

#define AT(m) .at = offsetof(struct vsock_override, m)
static const struct field vsock_override_fields[] = {
	{"uds_path", FIELD_STRING, FIELD_REQUIRED, AT(uds_path)},
	{"guest_cid", FIELD_U32, ADDITIONAL | FIELD_GIVEN, AT(guest_cid),
	 .given = offsetof(struct vsock_override, has_guest_cid)},
};
#undef AT

static const struct schema vsock_override_schema = {
	.name = "VsockOverride",
	.fields = vsock_override_fields,
	.n_fields = ARRAY_LEN(vsock_override_fields),
};

/* As it stands: what it means is the business of the metadata's store. */
static int take_json(const struct json *j, const struct json_tok *t, void *to,
		     struct err *e)
{
	struct text *x = to;
	size_t len = t->end - t->at;
	char *s = strndup(j->text + t->at, len);

	if (!s)
		return err_set(e, -ENOMEM, "Out of memory");
	*x = (struct text){.s = s, .len = len};
	return 0;
}

static void free_text(void *to)
{
	text_exit(to);
}

#define AT(m) .at = offsetof(struct body_load, m)
static const struct field load_fields[] = {
	{"snapshot_path", FIELD_PATH, FIELD_REQUIRED, AT(snapshot_path)},
	{"mem_file_path", FIELD_PATH, FIELD_NULLABLE, AT(mem_file_path)},
	{"mem_backend", FIELD_STRUCT, FIELD_NULLABLE | FIELD_GIVEN,
	 AT(mem_backend), .given = offsetof(struct body_load, has_mem_backend),
	 .schema = &backend_schema},
	{"enable_diff_snapshots", FIELD_BOOL, 0, AT(enable_diff_snapshots)},
	{"track_dirty_pages", FIELD_BOOL, 0, AT(track_dirty_pages)},
	{"resume_vm", FIELD_BOOL, 0, AT(resume_vm)},
	{"network_overrides", FIELD_LIST, 0, AT(network_overrides),
	 .list = {&net_override_item, sizeof(struct net_override),
		  offsetof(struct body_load, n_network_overrides)}},
	{"vsock_override", FIELD_STRUCT, FIELD_NULLABLE, AT(vsock_override),
	 .schema = &vsock_override_schema},
	{"clock_realtime", FIELD_BOOL, 0, AT(clock_realtime)},
	{"drive_overrides", FIELD_LIST, FIELD_ADDITIONAL, AT(drive_overrides),
	 .list = {&drive_override_item, sizeof(struct drive_override),
		  offsetof(struct body_load, n_drive_overrides)}},
	{"mmds", FIELD_VALUE, ADDITIONAL, AT(mmds),
	 .value = {take_json, free_text}},
};

const struct schema body_load_schema = {
	.name = "LoadSnapshotConfig",
	.fields = load_fields,
	.n_fields = ARRAY_LEN(load_fields),
};
