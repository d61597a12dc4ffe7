/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.h: what requests and the configuration file say, as structs.
 *
 * Each body has a parse function and, where it holds memory, an exit function.
 * parse fills *b from a text of len bytes and returns 0, -EINVAL or -ENOMEM;
 * after an error there is nothing to free. Messages are those that Firecracker
 * answers with, complete. exit accepts zeroed structs.
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

int body_machine_parse(struct body_machine *b, const char *text, size_t len,
		       struct err *e);
int body_machine_patch_parse(struct body_machine *b, const char *text,
			     size_t len, struct err *e);

/* Whether a PATCH changes anything. */
bool body_machine_any(const struct body_machine *b);

/* PUT /boot-source */
struct body_boot_source {
	struct text kernel_image_path;
	struct text initrd_path;
	struct text boot_args;
};

int body_boot_source_parse(struct body_boot_source *b, const char *text,
			   size_t len, struct err *e);
void body_boot_source_exit(struct body_boot_source *b);

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

int body_drive_parse(struct body_drive *b, const char *text, size_t len,
		     struct err *e);
int body_drive_patch_parse(struct body_drive *b, const char *text, size_t len,
			   struct err *e);
void body_drive_exit(struct body_drive *b);

/* PUT /actions */
enum body_action {
	BODY_FLUSH_METRICS,
	BODY_INSTANCE_START,
	BODY_SEND_CTRL_ALT_DEL,
};

int body_action_parse(enum body_action *a, const char *text, size_t len,
		      struct err *e);

/* PATCH /vm */
enum body_vm_state { BODY_VM_PAUSED, BODY_VM_RESUMED };

int body_vm_parse(enum body_vm_state *s, const char *text, size_t len,
		  struct err *e);

/* PUT /logger */
struct body_logger {
	struct text log_path;
	struct text module;
	int level; /* enum log_level */
	bool show_level, show_log_origin;
	bool has_level, has_show_level, has_show_log_origin;
};

int body_logger_parse(struct body_logger *b, const char *text, size_t len,
		      struct err *e);
void body_logger_exit(struct body_logger *b);

/* PUT /metrics */
struct body_metrics {
	struct text metrics_path;
};

int body_metrics_parse(struct body_metrics *b, const char *text, size_t len,
		       struct err *e);
void body_metrics_exit(struct body_metrics *b);

/* PUT /serial */
struct body_serial {
	struct text serial_out_path;
	struct bucket_cfg rate_limiter; /* bytes */
	bool has_rate_limiter;
};

int body_serial_parse(struct body_serial *b, const char *text, size_t len,
		      struct err *e);
void body_serial_exit(struct body_serial *b);

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
 * The configuration file. Messages lack the words about requests and the full
 * stop. Sections that other modules read are spans of the text.
 */
struct body_config {
	struct body_boot_source boot_source;
	struct body_drive *drives;
	unsigned int n_drives;
	struct body_machine machine;
	struct body_logger logger;
	struct body_metrics metrics;
	struct body_cpu_config cpu;
	bool has_machine, has_logger, has_metrics, has_cpu;
	struct span network_interfaces, vsock, mmds_config;
	struct span balloon, entropy, pmem, memory_hotplug;
};

int body_config_parse(struct body_config *b, const char *text, size_t len,
		      struct err *e);
void body_config_exit(struct body_config *b);

#endif
