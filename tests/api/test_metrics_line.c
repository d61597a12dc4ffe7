/* SPDX-License-Identifier: Apache-2.0 */
/* The line of metrics: its keys, their order and its length. */
#include "api/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/num.h"

/*
 * The keys of Firecracker 1.16.1 with a drive "d" and an interface "n", in its
 * order: pieces.
 */
static const char *const shape_1_16_1[] = {
	"{utc_timestamp_ms ",
	"api_server{process_startup_time_us process_startup_time_cpu_us} ",
	"balloon{activate_fails inflate_count stats_updates_count ",
	"stats_update_fails deflate_count event_fails ",
	"free_page_report_count free_page_report_freed ",
	"free_page_report_fails free_page_hint_count free_page_hint_freed ",
	"free_page_hint_fails} ",
	"block_d{activate_fails cfg_fails no_avail_buffer event_fails ",
	"execute_fails invalid_reqs_count flush_count queue_event_count ",
	"rate_limiter_event_count update_count update_fails read_bytes ",
	"write_bytes read_count write_count read_agg{min_us max_us sum_us} ",
	"write_agg{min_us max_us sum_us} rate_limiter_throttled_events ",
	"io_engine_throttled_events remaining_reqs_count} ",
	"block{activate_fails cfg_fails no_avail_buffer event_fails ",
	"execute_fails invalid_reqs_count flush_count queue_event_count ",
	"rate_limiter_event_count update_count update_fails read_bytes ",
	"write_bytes read_count write_count read_agg{min_us max_us sum_us} ",
	"write_agg{min_us max_us sum_us} rate_limiter_throttled_events ",
	"io_engine_throttled_events remaining_reqs_count} ",
	"deprecated_api{deprecated_http_api_calls} ",
	"get_api_requests{instance_info_count machine_cfg_count mmds_count ",
	"vmm_version_count hotplug_memory_count} ",
	"i8042{error_count missed_read_count missed_write_count read_count ",
	"reset_count write_count} ",
	"uart{error_count flush_count missed_read_count missed_write_count ",
	"read_count write_count rate_limiter_dropped_bytes} ",
	"latencies_us{full_create_snapshot diff_create_snapshot ",
	"load_snapshot pause_vm resume_vm vmm_full_create_snapshot ",
	"vmm_diff_create_snapshot vmm_load_snapshot vmm_pause_vm ",
	"vmm_resume_vm} ",
	"logger{missed_metrics_count metrics_fails missed_log_count ",
	"rate_limited_log_count} ",
	"mmds{rx_accepted rx_accepted_err rx_accepted_unusual rx_bad_eth ",
	"rx_invalid_token rx_no_token rx_count tx_bytes tx_count tx_errors ",
	"tx_frames connections_created connections_destroyed} ",
	"net_n{activate_fails cfg_fails mac_address_updates ",
	"no_rx_avail_buffer no_tx_avail_buffer event_fails ",
	"rx_queue_event_count rx_event_rate_limiter_count ",
	"rx_rate_limiter_throttled rx_tap_event_count rx_bytes_count ",
	"rx_packets_count rx_fails rx_count tap_read_fails tap_write_fails ",
	"tap_write_agg{min_us max_us sum_us} tx_bytes_count ",
	"tx_malformed_frames tx_fails tx_count tx_packets_count ",
	"tx_queue_event_count tx_rate_limiter_event_count ",
	"tx_rate_limiter_throttled tx_spoofed_mac_count ",
	"tx_remaining_reqs_count} ",
	"net{activate_fails cfg_fails mac_address_updates ",
	"no_rx_avail_buffer no_tx_avail_buffer event_fails ",
	"rx_queue_event_count rx_event_rate_limiter_count ",
	"rx_rate_limiter_throttled rx_tap_event_count rx_bytes_count ",
	"rx_packets_count rx_fails rx_count tap_read_fails tap_write_fails ",
	"tap_write_agg{min_us max_us sum_us} tx_bytes_count ",
	"tx_malformed_frames tx_fails tx_count tx_packets_count ",
	"tx_queue_event_count tx_rate_limiter_event_count ",
	"tx_rate_limiter_throttled tx_spoofed_mac_count ",
	"tx_remaining_reqs_count} ",
	"patch_api_requests{drive_count drive_fails network_count ",
	"network_fails machine_cfg_count machine_cfg_fails mmds_count ",
	"mmds_fails hotplug_memory_count hotplug_memory_fails pmem_count ",
	"pmem_fails} ",
	"put_api_requests{actions_count actions_fails boot_source_count ",
	"boot_source_fails drive_count drive_fails logger_count ",
	"logger_fails machine_cfg_count machine_cfg_fails cpu_cfg_count ",
	"cpu_cfg_fails metrics_count metrics_fails network_count ",
	"network_fails mmds_count mmds_fails vsock_count vsock_fails ",
	"pmem_count pmem_fails serial_count serial_fails ",
	"hotplug_memory_count hotplug_memory_fails} ",
	"seccomp{num_faults} ",
	"vcpu{exit_io_in exit_io_out exit_mmio_read exit_mmio_write ",
	"failures kvmclock_ctrl_fails exit_io_in_agg{min_us max_us sum_us} ",
	"exit_io_out_agg{min_us max_us sum_us} exit_mmio_read_agg{min_us ",
	"max_us sum_us} exit_mmio_write_agg{min_us max_us sum_us}} ",
	"vmm{panic_count} ",
	"signals{sigbus sigsegv sigxfsz sigxcpu sigpipe sighup sigill} ",
	"vsock{activate_fails cfg_fails rx_queue_event_fails ",
	"tx_queue_event_fails ev_queue_event_fails muxer_event_fails ",
	"conn_event_fails rx_queue_event_count tx_queue_event_count ",
	"rx_bytes_count tx_bytes_count rx_packets_count tx_packets_count ",
	"conns_added conns_killed conns_removed killq_resync ",
	"tx_flush_fails tx_write_fails rx_read_fails} ",
	"entropy{activate_fails entropy_event_fails entropy_event_count ",
	"entropy_bytes host_rng_fails entropy_rate_limiter_throttled ",
	"rate_limiter_event_count} ",
	"pmem{activate_fails cfg_fails event_fails queue_event_count ",
	"rate_limiter_throttled_events rate_limiter_event_count} ",
	"interrupts{triggers config_updates} ",
	"memory_hotplug{activate_fails queue_event_fails queue_event_count ",
	"plug_agg{min_us max_us sum_us} plug_count plug_bytes plug_fails ",
	"unplug_agg{min_us max_us sum_us} unplug_count unplug_bytes ",
	"unplug_fails unplug_discard_fails unplug_all_agg{min_us max_us ",
	"sum_us} unplug_all_count unplug_all_fails state_agg{min_us max_us ",
	"sum_us} state_count state_fails}}",
};

/* The line, parsed; freed by the caller. */
static cJSON *print_line(const struct metrics_counters *now,
			 const struct metrics_counters *prev,
			 const struct metrics_names *names)
{
	static char line[METRICS_LINE_BYTES];
	size_t len =
		metrics_line_print(line, sizeof(line), 1, now, prev, names);
	cJSON *json = cJSON_ParseWithLength(line, len);

	assert_true(len > 0);
	assert_non_null(json);
	return json;
}

static void print_shape(FILE *out, const cJSON *json)
{
	const cJSON *item;
	const char *space = "";

	(void)fputc('{', out);
	cJSON_ArrayForEach(item, json)
	{
		(void)fprintf(out, "%s%s", space, item->string);
		if (cJSON_IsObject(item))
			print_shape(out, item);
		space = " ";
	}
	(void)fputc('}', out);
}

static void line_has_firecrackers_keys_in_its_order(void **state)
{
	static const struct metrics_counters now, prev;
	const struct metrics_names names[METRICS_LISTS] = {
		[METRICS_DRIVES] = {.n = 1, .name = {"d"}},
		[METRICS_IFACES] = {.n = 1, .name = {"n"}},
	};
	char *shape = NULL;
	const char *at;
	size_t size;
	FILE *out = open_memstream(&shape, &size);
	cJSON *json = print_line(&now, &prev, names);

	(void)state;
	assert_non_null(out);
	print_shape(out, json);
	assert_int_equal(fclose(out), 0);
	at = shape;
	for (size_t i = 0; i < ARRAY_LEN(shape_1_16_1); i++) {
		size_t len = strlen(shape_1_16_1[i]);

		assert_int_equal(strncmp(at, shape_1_16_1[i], len), 0);
		at += len;
	}
	assert_string_equal(at, "");
	free(shape);
	cJSON_Delete(json);
}

/* Count in seen[] the numbers from 1000 up that stand in json. */
static void mark_values(const cJSON *json, unsigned int *seen, size_t n)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, json)
	{
		if (cJSON_IsObject(item))
			mark_values(item, seen, n);
		else if (item->valuedouble >= 1000 &&
			 item->valuedouble < (double)(1000 + n))
			seen[(size_t)item->valuedouble - 1000]++;
	}
}

static void every_counter_stands_in_the_line_once(void **state)
{
	static struct metrics_counters now, prev;
	enum { N = sizeof(now) / sizeof(uint64_t) };
	static unsigned int seen[N];
	uint64_t *values = (uint64_t *)(void *)&now;
	struct metrics_names names[METRICS_LISTS];
	char text[METRICS_DEVS][8];
	cJSON *json;

	(void)state;
	for (size_t i = 0; i < N; i++)
		values[i] = 1000 + i;
	for (size_t i = 0; i < METRICS_DEVS; i++) {
		(void)snprintf(text[i], sizeof(text[i]), "%zu", i);
		names[METRICS_DRIVES].name[i] = text[i];
		names[METRICS_IFACES].name[i] = text[i];
	}
	names[METRICS_DRIVES].n = METRICS_DEVS;
	names[METRICS_IFACES].n = METRICS_DEVS;
	json = print_line(&now, &prev, names);
	mark_values(json, seen, N);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
	cJSON_Delete(json);
}

static void longest_line_fits(void **state)
{
	static struct metrics_counters now, prev;
	static char line[METRICS_LINE_BYTES];
	struct metrics_names names[METRICS_LISTS];
	char id[65];

	(void)state;
	memset(&now, 0xff, sizeof(now));
	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	for (size_t i = 0; i < METRICS_DEVS; i++) {
		names[METRICS_DRIVES].name[i] = id;
		names[METRICS_IFACES].name[i] = id;
	}
	for (unsigned int n = 0; n <= METRICS_DEVS; n++) {
		names[METRICS_DRIVES].n = n;
		names[METRICS_IFACES].n = METRICS_DEVS - n;
		assert_true(metrics_line_print(line, sizeof(line), UINT64_MAX,
					       &now, &prev, names) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_has_firecrackers_keys_in_its_order),
		cmocka_unit_test(every_counter_stands_in_the_line_once),
		cmocka_unit_test(longest_line_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
