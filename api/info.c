/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c: what the monitor says of itself: GET /, /version, /vm/config. Keys
 * of devices that we do not have are there, because clients' schemas are
 * closed.
 */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>

#include "api/endpoints.h"
#include "api/print.h"
#include "api/version.h"

void api_get_instance_info(struct api *a, struct call *c)
{
	static const char *const state[] = {
		[VM_NOT_STARTED] = "Not started",
		[VM_RUNNING] = "Running",
		[VM_PAUSED] = "Paused",
	};
	cJSON *t = cJSON_CreateObject();

	(void)c;
	a->metrics->api.get.instance_info++;
	cJSON_AddStringToObject(t, "id", a->args->id);
	cJSON_AddStringToObject(t, "state",
				state[a->vm ? a->vm->state : VM_NOT_STARTED]);
	cJSON_AddStringToObject(t, "vmm_version", FIRECRACKER_VERSION);
	cJSON_AddStringToObject(t, "app_name", "Firecracker");
	api_json(a, t);
}

void api_get_version(struct api *a, struct call *c)
{
	cJSON *t = cJSON_CreateObject();

	(void)c;
	a->metrics->api.get.vmm_version++;
	cJSON_AddStringToObject(t, "firecracker_version", FIRECRACKER_VERSION);
	api_json(a, t);
}

static cJSON *print_drive(const struct body_drive *b)
{
	static const char *const cache[] = {
		[BODY_CACHE_UNSAFE] = "Unsafe",
		[BODY_CACHE_WRITEBACK] = "Writeback",
	};
	static const char *const engine[] = {
		[BODY_ENGINE_SYNC] = "Sync",
		[BODY_ENGINE_ASYNC] = "Async",
	};
	cJSON *t = cJSON_CreateObject();

	print_text(t, "drive_id", &b->drive_id);
	print_text(t, "partuuid", &b->partuuid);
	cJSON_AddBoolToObject(t, "is_root_device", b->is_root_device);
	cJSON_AddStringToObject(t, "cache_type", cache[b->cache_type]);
	cJSON_AddBoolToObject(t, "is_read_only", b->is_read_only);
	print_text(t, "path_on_host", &b->path_on_host);
	cJSON_AddItemToObject(t, "rate_limiter", print_limiter(b));
	cJSON_AddStringToObject(t, "io_engine", engine[b->io_engine]);
	cJSON_AddNullToObject(t, "socket");
	if (b->exclusive)
		cJSON_AddTrueToObject(t, "exclusive");
	return t;
}

static cJSON *print_boot_source(const struct body_boot_source *b)
{
	cJSON *t = cJSON_CreateObject();

	if (b->kernel_image_path.s)
		print_text(t, "kernel_image_path", &b->kernel_image_path);
	else
		cJSON_AddStringToObject(t, "kernel_image_path", "");
	print_text(t, "initrd_path", &b->initrd_path);
	print_text(t, "boot_args", &b->boot_args);
	return t;
}

void api_get_vm_config(struct api *a, struct call *c)
{
	const struct config *cfg = &a->config;
	cJSON *t, *drives;

	if (!token_is(&c->token[1], "config")) {
		api_unknown_path(a, c);
		return;
	}
	t = cJSON_CreateObject();
	cJSON_AddNullToObject(t, "balloon");
	drives = cJSON_AddArrayToObject(t, "drives");
	for (unsigned int i = 0; i < cfg->n_drives; i++)
		cJSON_AddItemToArray(drives, print_drive(&cfg->drive[i].body));
	cJSON_AddItemToObject(t, "boot-source",
			      print_boot_source(&cfg->boot.body));
	cJSON_AddNullToObject(t, "cpu-config");
	cJSON_AddNullToObject(t, "logger");
	cJSON_AddItemToObject(t, "machine-config",
			      print_machine(&cfg->machine));
	cJSON_AddNullToObject(t, "metrics");
	cJSON_AddNullToObject(t, "mmds-config");
	cJSON_AddArrayToObject(t, "network-interfaces");
	cJSON_AddNullToObject(t, "vsock");
	cJSON_AddNullToObject(t, "entropy");
	cJSON_AddArrayToObject(t, "pmem");
	cJSON_AddNullToObject(t, "memory-hotplug");
	api_json(a, t);
}
