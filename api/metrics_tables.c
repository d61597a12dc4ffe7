/* SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics_tables.h"

#include "base/num.h"

/* PAIR_BASE is the member of struct metrics_api that holds the pair. */
#define ZERO_ROW(key)        \
	{                    \
		key, ZERO, 0 \
	}
#define ROW(k, key, type, member)                     \
	{                                             \
		key, k, offsetof(struct type, member) \
	}
#define PAIR(member)                                                       \
	ROW(GROWS, #member "_count", metrics_api, PAIR_BASE member.count), \
		ROW(GROWS, #member "_fails", metrics_api,                  \
		    PAIR_BASE member.fails)
#define ZERO_AGG(key)                                           \
	{key, OPEN, 0}, ZERO_ROW("min_us"), ZERO_ROW("max_us"), \
		ZERO_ROW("sum_us"),                             \
	{                                                       \
		NULL, CLOSE, 0                                  \
	}
#define AGG(key, type, prefix)                                       \
	{key, OPEN, 0}, ROW(LEAST, "min_us", type, prefix##_min_us), \
		ROW(GREATEST, "max_us", type, prefix##_max_us),      \
		ROW(GROWS, "sum_us", type, prefix##_sum_us),         \
	{                                                            \
		NULL, CLOSE, 0                                       \
	}

static const struct metrics_field api_server[] = {
	ROW(STORE, "process_startup_time_us", metrics_api, process.startup_us),
	ROW(STORE, "process_startup_time_cpu_us", metrics_api,
	    process.startup_cpu_us),
};

static const struct metrics_field balloon[] = {
	ZERO_ROW("activate_fails"),	    ZERO_ROW("inflate_count"),
	ZERO_ROW("stats_updates_count"),    ZERO_ROW("stats_update_fails"),
	ZERO_ROW("deflate_count"),	    ZERO_ROW("event_fails"),
	ZERO_ROW("free_page_report_count"), ZERO_ROW("free_page_report_freed"),
	ZERO_ROW("free_page_report_fails"), ZERO_ROW("free_page_hint_count"),
	ZERO_ROW("free_page_hint_freed"),   ZERO_ROW("free_page_hint_fails"),
};

static const struct metrics_field block[] = {
	ROW(GROWS, "activate_fails", blk_counts, activate_fails),
	ROW(GROWS, "cfg_fails", blk_counts, cfg_fails),
	ROW(GROWS, "no_avail_buffer", blk_counts, no_avail_buffer),
	ROW(GROWS, "event_fails", blk_counts, event_fails),
	ROW(GROWS, "execute_fails", blk_counts, execute_fails),
	ROW(GROWS, "invalid_reqs_count", blk_counts, invalid_reqs),
	ROW(GROWS, "flush_count", blk_counts, flushes),
	ROW(GROWS, "queue_event_count", blk_counts, queue_events),
	ROW(GROWS, "rate_limiter_event_count", blk_counts, rate_limiter_events),
	ROW(GROWS, "update_count", blk_counts, updates),
	ROW(GROWS, "update_fails", blk_counts, update_fails),
	ROW(GROWS, "read_bytes", blk_counts, read_bytes),
	ROW(GROWS, "write_bytes", blk_counts, write_bytes),
	ROW(GROWS, "read_count", blk_counts, reads),
	ROW(GROWS, "write_count", blk_counts, writes),
	AGG("read_agg", blk_counts, read),
	AGG("write_agg", blk_counts, write),
	ROW(GROWS, "rate_limiter_throttled_events", blk_counts, throttled),
	ROW(GROWS, "io_engine_throttled_events", blk_counts, engine_throttled),
	ROW(GROWS, "remaining_reqs_count", blk_counts, remaining_reqs),
};

static const struct metrics_field deprecated_api[] = {
	ROW(GROWS, "deprecated_http_api_calls", metrics_api, deprecated_calls),
};

static const struct metrics_field get_api_requests[] = {
	ROW(GROWS, "instance_info_count", metrics_api, get.instance_info),
	ROW(GROWS, "machine_cfg_count", metrics_api, get.machine_cfg),
	ROW(GROWS, "mmds_count", metrics_api, get.mmds),
	ROW(GROWS, "vmm_version_count", metrics_api, get.vmm_version),
	ROW(GROWS, "hotplug_memory_count", metrics_api, get.hotplug_memory),
};

static const struct metrics_field i8042[] = {
	ROW(GROWS, "error_count", i8042_counts, errors),
	ROW(GROWS, "missed_read_count", i8042_counts, missed_reads),
	ROW(GROWS, "missed_write_count", i8042_counts, missed_writes),
	ROW(GROWS, "read_count", i8042_counts, reads),
	ROW(GROWS, "reset_count", i8042_counts, resets),
	ROW(GROWS, "write_count", i8042_counts, writes),
};

static const struct metrics_field uart[] = {
	ROW(GROWS, "error_count", serial_counts, errors),
	ROW(GROWS, "flush_count", serial_counts, flushes),
	ROW(GROWS, "missed_read_count", serial_counts, missed_reads),
	ROW(GROWS, "missed_write_count", serial_counts, missed_writes),
	ROW(GROWS, "read_count", serial_counts, reads),
	ROW(GROWS, "write_count", serial_counts, writes),
	ROW(GROWS, "rate_limiter_dropped_bytes", serial_counts, dropped_bytes),
};

#define LATENCY(member) ROW(STORE, #member, metrics_api, latencies_us.member)

static const struct metrics_field latencies_us[] = {
	LATENCY(full_create_snapshot),
	LATENCY(diff_create_snapshot),
	LATENCY(load_snapshot),
	LATENCY(pause_vm),
	LATENCY(resume_vm),
	LATENCY(vmm_full_create_snapshot),
	LATENCY(vmm_diff_create_snapshot),
	LATENCY(vmm_load_snapshot),
	LATENCY(vmm_pause_vm),
	LATENCY(vmm_resume_vm),
};

static const struct metrics_field logger[] = {
	ROW(GROWS, "missed_metrics_count", metrics_api, logger.missed_metrics),
	ROW(GROWS, "metrics_fails", metrics_api, logger.metrics_fails),
	ROW(GROWS, "missed_log_count", metrics_api, logger.missed_log),
	ROW(GROWS, "rate_limited_log_count", metrics_api,
	    logger.rate_limited_log),
};

static const struct metrics_field mmds[] = {
	ROW(GROWS, "rx_accepted", mmds_counts, rx_accepted),
	ROW(GROWS, "rx_accepted_err", mmds_counts, rx_accepted_err),
	ROW(GROWS, "rx_accepted_unusual", mmds_counts, rx_accepted_unusual),
	ROW(GROWS, "rx_bad_eth", mmds_counts, rx_bad_eth),
	ROW(GROWS, "rx_invalid_token", mmds_counts, rx_invalid_token),
	ROW(GROWS, "rx_no_token", mmds_counts, rx_no_token),
	ROW(GROWS, "rx_count", mmds_counts, rx_count),
	ROW(GROWS, "tx_bytes", mmds_counts, tx_bytes),
	ROW(GROWS, "tx_count", mmds_counts, tx_count),
	ROW(GROWS, "tx_errors", mmds_counts, tx_errors),
	ROW(GROWS, "tx_frames", mmds_counts, tx_frames),
	ROW(GROWS, "connections_created", mmds_counts, connections_created),
	ROW(GROWS, "connections_destroyed", mmds_counts, connections_destroyed),
};

static const struct metrics_field net[] = {
	ROW(GROWS, "activate_fails", metrics_net, dev.activate_fails),
	ROW(GROWS, "cfg_fails", metrics_net, dev.cfg_fails),
	ZERO_ROW("mac_address_updates"),
	ROW(GROWS, "no_rx_avail_buffer", metrics_net, dev.no_rx_avail_buffer),
	ROW(GROWS, "no_tx_avail_buffer", metrics_net, dev.no_tx_avail_buffer),
	ROW(GROWS, "event_fails", metrics_net, dev.event_fails),
	ROW(GROWS, "rx_queue_event_count", metrics_net, dev.rx_queue_events),
	ROW(GROWS, "rx_event_rate_limiter_count", metrics_net,
	    rx_limiter_events),
	ROW(GROWS, "rx_rate_limiter_throttled", metrics_net, rx_throttled),
	ROW(GROWS, "rx_tap_event_count", metrics_net, dev.rx_tap_events),
	ROW(GROWS, "rx_bytes_count", metrics_net, dev.rx_bytes),
	ROW(GROWS, "rx_packets_count", metrics_net, dev.rx_packets),
	ROW(GROWS, "rx_fails", metrics_net, dev.rx_fails),
	ROW(GROWS, "rx_count", metrics_net, dev.rx_count),
	ROW(GROWS, "tap_read_fails", metrics_net, dev.tap_read_fails),
	ROW(GROWS, "tap_write_fails", metrics_net, dev.tap_write_fails),
	AGG("tap_write_agg", metrics_net, dev.tap_write),
	ROW(GROWS, "tx_bytes_count", metrics_net, dev.tx_bytes),
	ROW(GROWS, "tx_malformed_frames", metrics_net, dev.tx_malformed),
	ROW(GROWS, "tx_fails", metrics_net, dev.tx_fails),
	ROW(GROWS, "tx_count", metrics_net, dev.tx_count),
	ROW(GROWS, "tx_packets_count", metrics_net, dev.tx_packets),
	ROW(GROWS, "tx_queue_event_count", metrics_net, dev.tx_queue_events),
	ROW(GROWS, "tx_rate_limiter_event_count", metrics_net,
	    tx_limiter_events),
	ROW(GROWS, "tx_rate_limiter_throttled", metrics_net, tx_throttled),
	ROW(GROWS, "tx_spoofed_mac_count", metrics_net, dev.tx_spoofed_mac),
	ROW(GROWS, "tx_remaining_reqs_count", metrics_net, dev.tx_remaining),
};

#define PAIR_BASE patch.
static const struct metrics_field patch_api_requests[] = {
	PAIR(drive), PAIR(network),	   PAIR(machine_cfg),
	PAIR(mmds),  PAIR(hotplug_memory), PAIR(pmem),
};
#undef PAIR_BASE

#define PAIR_BASE put.
static const struct metrics_field put_api_requests[] = {
	PAIR(actions),	      PAIR(boot_source), PAIR(drive),	PAIR(logger),
	PAIR(machine_cfg),    PAIR(cpu_cfg),	 PAIR(metrics), PAIR(network),
	PAIR(mmds),	      PAIR(vsock),	 PAIR(pmem),	PAIR(serial),
	PAIR(hotplug_memory),
};
#undef PAIR_BASE

static const struct metrics_field seccomp[] = {ZERO_ROW("num_faults")};

static const struct metrics_field vcpu[] = {
	ROW(GROWS, "exit_io_in", vcpu_counts, io_in),
	ROW(GROWS, "exit_io_out", vcpu_counts, io_out),
	ROW(GROWS, "exit_mmio_read", vcpu_counts, mmio_read),
	ROW(GROWS, "exit_mmio_write", vcpu_counts, mmio_write),
	ROW(GROWS, "failures", vcpu_counts, failures),
	ZERO_ROW("kvmclock_ctrl_fails"),
	ZERO_AGG("exit_io_in_agg"),
	ZERO_AGG("exit_io_out_agg"),
	ZERO_AGG("exit_mmio_read_agg"),
	ZERO_AGG("exit_mmio_write_agg"),
};

static const struct metrics_field vmm[] = {ZERO_ROW("panic_count")};

static const struct metrics_field signals[] = {
	ROW(STORE, "sigbus", metrics_api, signals.sigbus),
	ROW(STORE, "sigsegv", metrics_api, signals.sigsegv),
	ROW(STORE, "sigxfsz", metrics_api, signals.sigxfsz),
	ROW(STORE, "sigxcpu", metrics_api, signals.sigxcpu),
	ROW(GROWS, "sigpipe", metrics_api, signals.sigpipe),
	ROW(STORE, "sighup", metrics_api, signals.sighup),
	ROW(STORE, "sigill", metrics_api, signals.sigill),
};

static const struct metrics_field vsock[] = {
	ROW(GROWS, "activate_fails", vsock_counts, activate_fails),
	ROW(GROWS, "cfg_fails", vsock_counts, cfg_fails),
	ROW(GROWS, "rx_queue_event_fails", vsock_counts, rx_queue_event_fails),
	ROW(GROWS, "tx_queue_event_fails", vsock_counts, tx_queue_event_fails),
	ROW(GROWS, "ev_queue_event_fails", vsock_counts, ev_queue_event_fails),
	ROW(GROWS, "muxer_event_fails", vsock_counts, muxer_event_fails),
	ROW(GROWS, "conn_event_fails", vsock_counts, conn_event_fails),
	ROW(GROWS, "rx_queue_event_count", vsock_counts, rx_queue_events),
	ROW(GROWS, "tx_queue_event_count", vsock_counts, tx_queue_events),
	ROW(GROWS, "rx_bytes_count", vsock_counts, rx_bytes),
	ROW(GROWS, "tx_bytes_count", vsock_counts, tx_bytes),
	ROW(GROWS, "rx_packets_count", vsock_counts, rx_packets),
	ROW(GROWS, "tx_packets_count", vsock_counts, tx_packets),
	ROW(GROWS, "conns_added", vsock_counts, conns_added),
	ROW(GROWS, "conns_killed", vsock_counts, conns_killed),
	ROW(GROWS, "conns_removed", vsock_counts, conns_removed),
	ROW(GROWS, "killq_resync", vsock_counts, killq_resync),
	ROW(GROWS, "tx_flush_fails", vsock_counts, tx_flush_fails),
	ROW(GROWS, "tx_write_fails", vsock_counts, tx_write_fails),
	ROW(GROWS, "rx_read_fails", vsock_counts, rx_read_fails),
};

static const struct metrics_field entropy[] = {
	ZERO_ROW("activate_fails"),
	ZERO_ROW("entropy_event_fails"),
	ZERO_ROW("entropy_event_count"),
	ZERO_ROW("entropy_bytes"),
	ZERO_ROW("host_rng_fails"),
	ZERO_ROW("entropy_rate_limiter_throttled"),
	ZERO_ROW("rate_limiter_event_count"),
};

static const struct metrics_field pmem[] = {
	ZERO_ROW("activate_fails"),
	ZERO_ROW("cfg_fails"),
	ZERO_ROW("event_fails"),
	ZERO_ROW("queue_event_count"),
	ZERO_ROW("rate_limiter_throttled_events"),
	ZERO_ROW("rate_limiter_event_count"),
};

static const struct metrics_field interrupts[] = {
	ZERO_ROW("triggers"),
	ZERO_ROW("config_updates"),
};

static const struct metrics_field memory_hotplug[] = {
	ZERO_ROW("activate_fails"),    ZERO_ROW("queue_event_fails"),
	ZERO_ROW("queue_event_count"), ZERO_AGG("plug_agg"),
	ZERO_ROW("plug_count"),	       ZERO_ROW("plug_bytes"),
	ZERO_ROW("plug_fails"),	       ZERO_AGG("unplug_agg"),
	ZERO_ROW("unplug_count"),      ZERO_ROW("unplug_bytes"),
	ZERO_ROW("unplug_fails"),      ZERO_ROW("unplug_discard_fails"),
	ZERO_AGG("unplug_all_agg"),    ZERO_ROW("unplug_all_count"),
	ZERO_ROW("unplug_all_fails"),  ZERO_AGG("state_agg"),
	ZERO_ROW("state_count"),       ZERO_ROW("state_fails"),
};

#define GROUP(table, member)                                      \
	{                                                         \
#table, table, ARRAY_LEN(table),                  \
			offsetof(struct metrics_counters, member) \
	}

#define SUM(table, prefix, items, member)                                 \
	{                                                                 \
#table, table, ARRAY_LEN(table),                          \
			offsetof(struct metrics_counters, table), prefix, \
			items, offsetof(struct metrics_counters, member), \
			sizeof(((struct metrics_counters *)NULL)->table)  \
	}

const struct metrics_group metrics_groups[] = {
	GROUP(api_server, api),
	GROUP(balloon, api),
	SUM(block, "block_", METRICS_DRIVES, drive),
	GROUP(deprecated_api, api),
	GROUP(get_api_requests, api),
	GROUP(i8042, i8042),
	GROUP(uart, uart),
	GROUP(latencies_us, api),
	GROUP(logger, api),
	GROUP(mmds, mmds),
	SUM(net, "net_", METRICS_IFACES, iface),
	GROUP(patch_api_requests, api),
	GROUP(put_api_requests, api),
	GROUP(seccomp, api),
	GROUP(vcpu, vcpu),
	GROUP(vmm, api),
	GROUP(signals, api),
	GROUP(vsock, vsock),
	GROUP(entropy, api),
	GROUP(pmem, api),
	GROUP(interrupts, api),
	GROUP(memory_hotplug, api),
};

const size_t metrics_n_groups = ARRAY_LEN(metrics_groups);
