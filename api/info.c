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
	cJSON_AddItemToObject(t, "rate_limiter",
			      print_limiter(&b->rate_limiter));
	cJSON_AddStringToObject(t, "io_engine", engine[b->io_engine]);
	cJSON_AddNullToObject(t, "socket");
	if (b->exclusive)
		cJSON_AddTrueToObject(t, "exclusive");
	return t;
}

static cJSON *print_net(const struct body_net *b)
{
	const uint8_t *m = b->guest_mac;
	cJSON *t = cJSON_CreateObject();
	char mac[18];

	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0],
		       m[1], m[2], m[3], m[4], m[5]);
	print_text(t, "iface_id", &b->iface_id);
	print_text(t, "host_dev_name", &b->host_dev_name);
	if (b->has_guest_mac)
		cJSON_AddStringToObject(t, "guest_mac", mac);
	else
		cJSON_AddNullToObject(t, "guest_mac");
	if (b->has_mtu)
		print_u64(t, "mtu", b->mtu);
	else
		cJSON_AddNullToObject(t, "mtu");
	cJSON_AddItemToObject(t, "rx_rate_limiter",
			      print_limiter(&b->rx_rate_limiter));
	cJSON_AddItemToObject(t, "tx_rate_limiter",
			      print_limiter(&b->tx_rate_limiter));
	return t;
}

static cJSON *print_vsock(const struct body_vsock *b)
{
	cJSON *t;

	if (!b->uds_path.s)
		return cJSON_CreateNull();
	t = cJSON_CreateObject();
	print_u64(t, "guest_cid", b->guest_cid);
	print_text(t, "uds_path", &b->uds_path);
	if (b->has_max_connections)
		print_u64(t, "max_connections", b->max_connections);
	return t;
}

static cJSON *print_mmds(const struct config *c)
{
	uint32_t ip = c->mmds.ipv4;
	cJSON *t, *list;
	char text[16];

	if (!config_has_mmds(c))
		return cJSON_CreateNull();
	t = cJSON_CreateObject();
	cJSON_AddStringToObject(t, "version",
				c->mmds.version == MMDS_V1 ? "V1" : "V2");
	list = cJSON_AddArrayToObject(t, "network_interfaces");
	for (unsigned int i = 0; i < c->n_ifaces; i++) {
		if (c->iface[i].mmds)
			print_item(list, &c->iface[i].body.iface_id);
	}
	(void)snprintf(text, sizeof(text), "%u.%u.%u.%u", ip >> 24,
		       ip >> 16 & 255, ip >> 8 & 255, ip & 255);
	cJSON_AddStringToObject(t, "ipv4_address", text);
	cJSON_AddBoolToObject(t, "imds_compat", c->mmds.imds_compat);
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

cJSON *print_vm_config(const struct config *cfg)
{
	cJSON *t = cJSON_CreateObject();
	cJSON *list;

	cJSON_AddNullToObject(t, "balloon");
	list = cJSON_AddArrayToObject(t, "drives");
	for (unsigned int i = 0; i < cfg->n_drives; i++)
		cJSON_AddItemToArray(list, print_drive(&cfg->drive[i].body));
	cJSON_AddItemToObject(t, "boot-source",
			      print_boot_source(&cfg->boot.body));
	cJSON_AddNullToObject(t, "cpu-config");
	cJSON_AddNullToObject(t, "logger");
	cJSON_AddItemToObject(t, "machine-config",
			      print_machine(&cfg->machine));
	cJSON_AddNullToObject(t, "metrics");
	cJSON_AddItemToObject(t, "mmds-config", print_mmds(cfg));
	list = cJSON_AddArrayToObject(t, "network-interfaces");
	for (unsigned int i = 0; i < cfg->n_ifaces; i++)
		cJSON_AddItemToArray(list, print_net(&cfg->iface[i].body));
	cJSON_AddItemToObject(t, "vsock", print_vsock(&cfg->vsock.body));
	cJSON_AddNullToObject(t, "entropy");
	cJSON_AddArrayToObject(t, "pmem");
	cJSON_AddNullToObject(t, "memory-hotplug");
	return t;
}

void api_get_vm_config(struct api *a, struct call *c)
{
	if (token_is(&c->token[1], "config"))
		api_json(a, print_vm_config(&a->config));
	else
		api_unknown_path(a, c);
}
