/* SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics_line.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"

enum kind {
	ZERO,  /* nothing of ours counts this */
	GROWS, /* printed as the difference to the last line */
	STORE, /* printed as it stands */
	LEAST, /* the same; 0 means none yet */
	GREATEST,
	OPEN, /* an object begins */
	CLOSE,
};

struct field {
	const char *name;
	enum kind kind;
	size_t offset; /* in the counters of the group */
};

struct group {
	const char *name;
	const struct field *fields;
	size_t n_fields;
	size_t offset; /* in struct metrics_counters */
};

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

static const struct field api_server[] = {
	ROW(STORE, "process_startup_time_us", metrics_api, process.startup_us),
	ROW(STORE, "process_startup_time_cpu_us", metrics_api,
	    process.startup_cpu_us),
};

static const struct field balloon[] = {
	ZERO_ROW("activate_fails"),	    ZERO_ROW("inflate_count"),
	ZERO_ROW("stats_updates_count"),    ZERO_ROW("stats_update_fails"),
	ZERO_ROW("deflate_count"),	    ZERO_ROW("event_fails"),
	ZERO_ROW("free_page_report_count"), ZERO_ROW("free_page_report_freed"),
	ZERO_ROW("free_page_report_fails"), ZERO_ROW("free_page_hint_count"),
	ZERO_ROW("free_page_hint_freed"),   ZERO_ROW("free_page_hint_fails"),
};

static const struct field block[] = {
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

static const struct field deprecated_api[] = {
	ROW(GROWS, "deprecated_http_api_calls", metrics_api, deprecated_calls),
};

static const struct field get_api_requests[] = {
	ROW(GROWS, "instance_info_count", metrics_api, get.instance_info),
	ROW(GROWS, "machine_cfg_count", metrics_api, get.machine_cfg),
	ROW(GROWS, "mmds_count", metrics_api, get.mmds),
	ROW(GROWS, "vmm_version_count", metrics_api, get.vmm_version),
	ROW(GROWS, "hotplug_memory_count", metrics_api, get.hotplug_memory),
};

static const struct field i8042[] = {
	ROW(GROWS, "error_count", i8042_counts, errors),
	ROW(GROWS, "missed_read_count", i8042_counts, missed_reads),
	ROW(GROWS, "missed_write_count", i8042_counts, missed_writes),
	ROW(GROWS, "read_count", i8042_counts, reads),
	ROW(GROWS, "reset_count", i8042_counts, resets),
	ROW(GROWS, "write_count", i8042_counts, writes),
};

static const struct field uart[] = {
	ROW(GROWS, "error_count", serial_counts, errors),
	ROW(GROWS, "flush_count", serial_counts, flushes),
	ROW(GROWS, "missed_read_count", serial_counts, missed_reads),
	ROW(GROWS, "missed_write_count", serial_counts, missed_writes),
	ROW(GROWS, "read_count", serial_counts, reads),
	ROW(GROWS, "write_count", serial_counts, writes),
	ROW(GROWS, "rate_limiter_dropped_bytes", serial_counts, dropped_bytes),
};

#define LATENCY(member) ROW(STORE, #member, metrics_api, latencies_us.member)

static const struct field latencies_us[] = {
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

static const struct field logger[] = {
	ROW(GROWS, "missed_metrics_count", metrics_api, logger.missed_metrics),
	ROW(GROWS, "metrics_fails", metrics_api, logger.metrics_fails),
	ROW(GROWS, "missed_log_count", metrics_api, logger.missed_log),
	ROW(GROWS, "rate_limited_log_count", metrics_api,
	    logger.rate_limited_log),
};

static const struct field mmds[] = {
	ZERO_ROW("rx_accepted"),
	ZERO_ROW("rx_accepted_err"),
	ZERO_ROW("rx_accepted_unusual"),
	ZERO_ROW("rx_bad_eth"),
	ZERO_ROW("rx_invalid_token"),
	ZERO_ROW("rx_no_token"),
	ZERO_ROW("rx_count"),
	ZERO_ROW("tx_bytes"),
	ZERO_ROW("tx_count"),
	ZERO_ROW("tx_errors"),
	ZERO_ROW("tx_frames"),
	ZERO_ROW("connections_created"),
	ZERO_ROW("connections_destroyed"),
};

static const struct field net[] = {
	ZERO_ROW("activate_fails"),
	ZERO_ROW("cfg_fails"),
	ZERO_ROW("mac_address_updates"),
	ZERO_ROW("no_rx_avail_buffer"),
	ZERO_ROW("no_tx_avail_buffer"),
	ZERO_ROW("event_fails"),
	ZERO_ROW("rx_queue_event_count"),
	ZERO_ROW("rx_event_rate_limiter_count"),
	ZERO_ROW("rx_rate_limiter_throttled"),
	ZERO_ROW("rx_tap_event_count"),
	ZERO_ROW("rx_bytes_count"),
	ZERO_ROW("rx_packets_count"),
	ZERO_ROW("rx_fails"),
	ZERO_ROW("rx_count"),
	ZERO_ROW("tap_read_fails"),
	ZERO_ROW("tap_write_fails"),
	ZERO_AGG("tap_write_agg"),
	ZERO_ROW("tx_bytes_count"),
	ZERO_ROW("tx_malformed_frames"),
	ZERO_ROW("tx_fails"),
	ZERO_ROW("tx_count"),
	ZERO_ROW("tx_packets_count"),
	ZERO_ROW("tx_queue_event_count"),
	ZERO_ROW("tx_rate_limiter_event_count"),
	ZERO_ROW("tx_rate_limiter_throttled"),
	ZERO_ROW("tx_spoofed_mac_count"),
	ZERO_ROW("tx_remaining_reqs_count"),
};

#define PAIR_BASE patch.
static const struct field patch_api_requests[] = {
	PAIR(drive), PAIR(network),	   PAIR(machine_cfg),
	PAIR(mmds),  PAIR(hotplug_memory), PAIR(pmem),
};
#undef PAIR_BASE

#define PAIR_BASE put.
static const struct field put_api_requests[] = {
	PAIR(actions),	      PAIR(boot_source), PAIR(drive),	PAIR(logger),
	PAIR(machine_cfg),    PAIR(cpu_cfg),	 PAIR(metrics), PAIR(network),
	PAIR(mmds),	      PAIR(vsock),	 PAIR(pmem),	PAIR(serial),
	PAIR(hotplug_memory),
};
#undef PAIR_BASE

static const struct field seccomp[] = {ZERO_ROW("num_faults")};

static const struct field vcpu[] = {
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

static const struct field vmm[] = {ZERO_ROW("panic_count")};

static const struct field signals[] = {
	ROW(STORE, "sigbus", metrics_api, signals.sigbus),
	ROW(STORE, "sigsegv", metrics_api, signals.sigsegv),
	ROW(STORE, "sigxfsz", metrics_api, signals.sigxfsz),
	ROW(STORE, "sigxcpu", metrics_api, signals.sigxcpu),
	ROW(GROWS, "sigpipe", metrics_api, signals.sigpipe),
	ROW(STORE, "sighup", metrics_api, signals.sighup),
	ROW(STORE, "sigill", metrics_api, signals.sigill),
};

static const struct field vsock[] = {
	ZERO_ROW("activate_fails"),	  ZERO_ROW("cfg_fails"),
	ZERO_ROW("rx_queue_event_fails"), ZERO_ROW("tx_queue_event_fails"),
	ZERO_ROW("ev_queue_event_fails"), ZERO_ROW("muxer_event_fails"),
	ZERO_ROW("conn_event_fails"),	  ZERO_ROW("rx_queue_event_count"),
	ZERO_ROW("tx_queue_event_count"), ZERO_ROW("rx_bytes_count"),
	ZERO_ROW("tx_bytes_count"),	  ZERO_ROW("rx_packets_count"),
	ZERO_ROW("tx_packets_count"),	  ZERO_ROW("conns_added"),
	ZERO_ROW("conns_killed"),	  ZERO_ROW("conns_removed"),
	ZERO_ROW("killq_resync"),	  ZERO_ROW("tx_flush_fails"),
	ZERO_ROW("tx_write_fails"),	  ZERO_ROW("rx_read_fails"),
};

static const struct field entropy[] = {
	ZERO_ROW("activate_fails"),
	ZERO_ROW("entropy_event_fails"),
	ZERO_ROW("entropy_event_count"),
	ZERO_ROW("entropy_bytes"),
	ZERO_ROW("host_rng_fails"),
	ZERO_ROW("entropy_rate_limiter_throttled"),
	ZERO_ROW("rate_limiter_event_count"),
};

static const struct field pmem[] = {
	ZERO_ROW("activate_fails"),
	ZERO_ROW("cfg_fails"),
	ZERO_ROW("event_fails"),
	ZERO_ROW("queue_event_count"),
	ZERO_ROW("rate_limiter_throttled_events"),
	ZERO_ROW("rate_limiter_event_count"),
};

static const struct field interrupts[] = {
	ZERO_ROW("triggers"),
	ZERO_ROW("config_updates"),
};

static const struct field memory_hotplug[] = {
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

/* In the order of the line; block's drives stand before it. */
static const struct group groups[] = {
	GROUP(api_server, api),
	GROUP(balloon, api),
	GROUP(block, block),
	GROUP(deprecated_api, api),
	GROUP(get_api_requests, api),
	GROUP(i8042, i8042),
	GROUP(uart, uart),
	GROUP(latencies_us, api),
	GROUP(logger, api),
	GROUP(mmds, api),
	GROUP(net, api),
	GROUP(patch_api_requests, api),
	GROUP(put_api_requests, api),
	GROUP(seccomp, api),
	GROUP(vcpu, vcpu),
	GROUP(vmm, api),
	GROUP(signals, api),
	GROUP(vsock, api),
	GROUP(entropy, api),
	GROUP(pmem, api),
	GROUP(interrupts, api),
	GROUP(memory_hotplug, api),
};

_Static_assert(sizeof(struct metrics_counters) % sizeof(uint64_t) == 0,
	       "nothing but uint64_t");

/* Text that grows to the end of a buffer and then stops. */
struct text {
	char *buf;
	size_t len, size;
	bool full;
	bool comma; /* wanted before the next key */
};

static void put(struct text *t, const char *s, size_t n)
{
	if (n > t->size - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->buf + t->len, s, n);
	t->len += n;
}

static void put_string(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

static void put_number(struct text *t, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(t, digits + at, sizeof(digits) - at);
}

/* The inside of a JSON string: ids from a configuration file are any text. */
static void put_escaped(struct text *t, const char *s)
{
	static const char hex[] = "0123456789abcdef";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			put(t, "\\", 1);
		} else if (c < 0x20) {
			put_string(t, c < 0x10 ? "\\u000" : "\\u001");
			put(t, &hex[c & 15], 1);
			continue;
		}
		put(t, s, 1);
	}
}

/* "<name><id>": */
static void put_key(struct text *t, const char *name, const char *id)
{
	if (t->comma)
		put(t, ",", 1);
	put(t, "\"", 1);
	put_string(t, name);
	put_escaped(t, id);
	put_string(t, "\":");
	t->comma = true;
}

static void open_object(struct text *t)
{
	put(t, "{", 1);
	t->comma = false;
}

static void close_object(struct text *t)
{
	put(t, "}", 1);
	t->comma = true;
}

static uint64_t load(const void *base, size_t offset)
{
	uint64_t n;

	memcpy(&n, (const char *)base + offset, sizeof(n));
	return n;
}

static void put_field(struct text *t, const struct field *f, const void *now,
		      const void *prev)
{
	if (f->kind == CLOSE) {
		close_object(t);
		return;
	}
	put_key(t, f->name, "");
	if (f->kind == OPEN)
		open_object(t);
	else if (f->kind == ZERO)
		put(t, "0", 1);
	else if (f->kind == GROWS)
		put_number(t, load(now, f->offset) - load(prev, f->offset));
	else
		put_number(t, load(now, f->offset));
}

static void put_fields(struct text *t, const struct field *fields, size_t n,
		       const void *now, const void *prev)
{
	open_object(t);
	for (size_t i = 0; i < n; i++)
		put_field(t, &fields[i], now, prev);
	close_object(t);
}

void metrics_line_add_drive(struct blk_counts *all,
			    const struct blk_counts *one)
{
	for (size_t i = 0; i < ARRAY_LEN(block); i++) {
		const struct field *f = &block[i];
		uint64_t a = load(all, f->offset);
		uint64_t b = load(one, f->offset);

		if (f->kind == GROWS)
			a += b;
		else if (f->kind == LEAST)
			a = a && (!b || a < b) ? a : b;
		else if (f->kind == GREATEST)
			a = MAX(a, b);
		else
			continue;
		memcpy((char *)all + f->offset, &a, sizeof(a));
	}
}

size_t metrics_line_print(char *buf, size_t size, uint64_t time_ms,
			  const struct metrics_counters *now,
			  const struct metrics_counters *prev,
			  const char *const *ids, unsigned int n_drives)
{
	struct text t = {.buf = buf, .size = size};

	open_object(&t);
	put_key(&t, "utc_timestamp_ms", "");
	put_number(&t, time_ms);
	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		const struct group *g = &groups[i];

		for (unsigned int d = 0; g->fields == block && d < n_drives;
		     d++) {
			put_key(&t, "block_", ids[d]);
			put_fields(&t, block, ARRAY_LEN(block), &now->drive[d],
				   &prev->drive[d]);
		}
		put_key(&t, g->name, "");
		put_fields(&t, g->fields, g->n_fields,
			   (const char *)now + g->offset,
			   (const char *)prev + g->offset);
	}
	close_object(&t);
	put(&t, "\n", 1);
	return t.full ? 0 : t.len;
}
