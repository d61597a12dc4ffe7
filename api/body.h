/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.h: what requests and the configuration file say, as structs.
 *
 * Each body has a struct and a table that fills it; what it then points to is
 * freed by schema_exit().
 *
 * Only what the text alone tells is checked: syntax, types, ranges of types,
 * names. Whether 0 vCPUs are a machine is the endpoint's business. `has_x`
 * tells that x was given and is not null; a text that was not given has s NULL.
 */
#ifndef API_BODY_H
#define API_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/schema.h"
#include "vmm/x86/cpu.h"

struct err;

/* What messages about a body begin with. */
#define BODY_FAULT \
	"An error occurred when deserializing the json body of a request: "

/*
 * Fill *to from the body of a request. Returns 0, -EINVAL or -ENOMEM; after an
 * error there is nothing to free. Messages are those that Firecracker answers
 * with, complete.
 */
int body_parse(const struct schema *s, const char *text, size_t len, void *to,
	       size_t to_bytes, struct err *e);

/* A token bucket; off where size or refill_time is 0. */
struct bucket_cfg {
	uint64_t size;
	uint64_t one_time_burst;
	uint64_t refill_time; /* ms */
	bool has_one_time_burst;
};

struct limiter_cfg {
	bool has_bandwidth, has_ops;
	struct bucket_cfg bandwidth; /* bytes */
	struct bucket_cfg ops;
};

/* PUT and PATCH /machine-config. cpu_template is deprecated. */
struct body_machine {
	uint8_t vcpu_count;
	uint64_t mem_size_mib;
	bool smt;
	int cpu_template; /* enum cpu_template_name */
	bool track_dirty_pages;
	int huge_pages; /* enum body_huge_pages */
	bool has_vcpu_count, has_mem_size_mib, has_smt, has_cpu_template;
	bool has_track_dirty_pages, has_huge_pages;
};

enum body_huge_pages { BODY_HUGE_NONE, BODY_HUGE_2M };

extern const struct schema body_machine_schema;
extern const struct schema body_machine_patch_schema;

/* Whether a PATCH changes anything. */
bool body_machine_any(const struct body_machine *b);

/* PUT /boot-source */
struct body_boot_source {
	struct text kernel_image_path;
	struct text initrd_path;
	struct text boot_args;
};

extern const struct schema body_boot_source_schema;

/* PUT and PATCH /drives/{id}; PATCH has drive_id, path_on_host, rate_limiter */
struct body_drive {
	struct text drive_id;
	struct text partuuid;
	struct text path_on_host;
	struct text socket;
	bool is_root_device;
	bool is_read_only;
	bool exclusive; /* additional: a lock held elsewhere is an error */
	int cache_type; /* enum body_cache_type */
	int io_engine;	/* enum body_io_engine */
	struct limiter_cfg rate_limiter;
	bool has_is_read_only, has_io_engine, has_rate_limiter;
};

enum body_cache_type { BODY_CACHE_UNSAFE, BODY_CACHE_WRITEBACK };
enum body_io_engine { BODY_ENGINE_SYNC, BODY_ENGINE_ASYNC };

extern const struct schema body_drive_schema;
extern const struct schema body_drive_patch_schema;

/* PUT and PATCH /network-interfaces/{id}; PATCH has an id and limiters */
struct body_net {
	struct text iface_id;
	struct text host_dev_name;
	uint8_t guest_mac[6];
	uint16_t mtu;
	struct limiter_cfg rx_rate_limiter, tx_rate_limiter;
	bool has_guest_mac, has_mtu;
};

extern const struct schema body_net_schema;
extern const struct schema body_net_patch_schema;

/* PUT /vsock */
struct body_vsock {
	struct text vsock_id; /* deprecated */
	struct text uds_path;
	uint32_t guest_cid;
	uint32_t max_connections; /* additional */
	bool has_max_connections;
};

extern const struct schema body_vsock_schema;

/* PUT /mmds/config */
struct body_mmds {
	struct text *network_interfaces;
	unsigned int n_network_interfaces;
	int version;	       /* enum mmds_version */
	uint32_t ipv4_address; /* host byte order */
	bool imds_compat;
	bool has_ipv4_address;
};

extern const struct schema body_mmds_schema;

/* PUT /actions: an int */
enum body_action {
	BODY_FLUSH_METRICS,
	BODY_INSTANCE_START,
	BODY_SEND_CTRL_ALT_DEL,
};

extern const struct schema body_action_schema;

/* PATCH /vm: an int */
enum body_vm_state { BODY_VM_PAUSED, BODY_VM_RESUMED };

extern const struct schema body_vm_schema;

/* PUT /logger */
struct body_logger {
	struct text log_path;
	struct text module;
	int level; /* enum log_level */
	bool show_level, show_log_origin;
	bool has_level, has_show_level, has_show_log_origin;
};

extern const struct schema body_logger_schema;

/* PUT /metrics */
struct body_metrics {
	struct text metrics_path;
};

extern const struct schema body_metrics_schema;

/* PUT /serial */
struct body_serial {
	struct text serial_out_path;
	struct bucket_cfg rate_limiter; /* bytes */
	bool has_rate_limiter;
};

extern const struct schema body_serial_schema;

/* PUT /cpu-config; cpu_template_exit() frees *t. */
int body_cpu_parse(struct cpu_template *t, const char *text, size_t len,
		   struct err *e);

/* A cpu-config file named by the configuration file: messages as there. */
int body_cpu_file_parse(struct cpu_template *t, const char *text, size_t len,
			struct err *e);

/* cpu-config of the configuration file: one of the two. */
struct body_cpu_config {
	struct cpu_template inline_template;
	struct text path; /* of a file; NULL: inline */
};

/*
 * The configuration file, for schema_parse(): messages lack the words about
 * requests and the full stop. Sections of devices that we do not have are spans
 * of the text.
 */
struct body_config {
	struct body_boot_source boot_source;
	struct body_drive *drives;
	unsigned int n_drives;
	struct body_machine machine;
	struct body_logger logger;
	struct body_metrics metrics;
	struct body_cpu_config cpu;
	struct body_net *nets;
	unsigned int n_nets;
	struct body_vsock vsock;
	struct body_mmds mmds;
	bool has_machine, has_logger, has_metrics, has_cpu, has_vsock, has_mmds;
	struct span balloon, entropy, pmem, memory_hotplug;
};

extern const struct schema body_config_schema;

#endif
