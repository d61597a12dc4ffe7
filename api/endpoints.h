/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoints.h: one handler a method and path; see api.h for how they work.
 */
#ifndef API_ENDPOINTS_H
#define API_ENDPOINTS_H

#include "api/api.h"

api_handler api_get_instance_info;  /* info.c: GET / */
api_handler api_get_version;	    /* info.c */
api_handler api_get_vm_config;	    /* info.c */
api_handler api_get_machine_config; /* machine_config.c */
api_handler api_put_machine_config;
api_handler api_patch_machine_config;
api_handler api_put_cpu_config;
api_handler api_put_boot_source; /* boot_source.c */
api_handler api_put_drive;	 /* drives.c */
api_handler api_patch_drive;
api_handler api_delete_device;
api_handler api_put_net; /* net.c */
api_handler api_patch_net;
api_handler api_put_vsock;
api_handler api_get_mmds; /* mmds.c */
api_handler api_put_mmds;
api_handler api_patch_mmds;
api_handler api_put_logger; /* observe.c */
api_handler api_put_metrics;
api_handler api_put_serial;
api_handler api_put_action;   /* actions.c */
api_handler api_patch_vm;     /* pause.c */
api_handler api_put_snapshot; /* snapshot.c */

#endif
