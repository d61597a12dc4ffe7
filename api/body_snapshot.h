/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body_snapshot.h: the bodies of /snapshot, see body.h.
 */
#ifndef API_BODY_SNAPSHOT_H
#define API_BODY_SNAPSHOT_H

#include "api/body.h"

/* PUT /snapshot/create */
enum body_snapshot_type { BODY_SNAPSHOT_FULL, BODY_SNAPSHOT_DIFF };

struct body_create {
	int snapshot_type; /* enum body_snapshot_type */
	struct text snapshot_path;
	struct text mem_file_path;
	bool live; /* additional: of a guest that runs, and runs on */
};

extern const struct schema body_create_schema;

/* PUT /snapshot/load */
enum body_mem_backend { BODY_MEM_FILE, BODY_MEM_UFFD };

struct mem_backend {
	struct text backend_path;
	int backend_type; /* enum body_mem_backend */
};

struct net_override {
	struct text iface_id;
	struct text host_dev_name;
	/* Additional. */
	uint8_t guest_mac[6];
	struct limiter_cfg rx_rate_limiter, tx_rate_limiter;
	bool has_guest_mac;
};

/* Additional. */
struct drive_override {
	struct text drive_id;
	struct text path_on_host;
	struct limiter_cfg rate_limiter;
	bool has_path_on_host, has_rate_limiter;
};

struct vsock_override {
	struct text uds_path;
	uint32_t guest_cid; /* additional */
	bool has_guest_cid;
};

struct body_load {
	struct text snapshot_path;
	struct text mem_file_path; /* deprecated */
	struct mem_backend mem_backend;
	bool has_mem_backend;
	bool enable_diff_snapshots; /* deprecated */
	bool track_dirty_pages;
	bool resume_vm;
	struct net_override *network_overrides;
	unsigned int n_network_overrides;
	struct vsock_override vsock_override;
	bool clock_realtime;
	struct drive_override *drive_overrides; /* additional */
	unsigned int n_drive_overrides;
	struct text mmds; /* additional: JSON; s NULL: not given */
};

extern const struct schema body_load_schema;

#endif
