/* SPDX-License-Identifier: Apache-2.0 */
#include "api/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/num.h"
#include "virtio/limiter.h"

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

/* One metrics object and the pipe that it writes to. */
struct fixture {
	struct metrics m;
	int reader;
};

static int setup(void **state)
{
	static struct fixture fixture;
	struct fixture *f = &fixture;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	metrics_init(&f->m);
	metrics_set_fd(&f->m, fds[1]);
	f->reader = fds[0];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	metrics_exit(&f->m);
	(void)close(f->reader);
	return 0;
}

/* The line in the pipe, which must be one and whole; freed by the caller. */
static cJSON *read_line(struct fixture *f)
{
	static char line[METRICS_LINE_BYTES + 1];
	ssize_t n = read(f->reader, line, sizeof(line) - 1);
	cJSON *json;

	assert_true(n > 0);
	line[n] = '\0';
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
	json = cJSON_Parse(line);
	assert_non_null(json);
	return json;
}

static double value_in(const cJSON *json, const char *group, const char *key)
{
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(json, group);
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	assert_true(cJSON_IsNumber(item));
	return item->valuedouble;
}

#define assert_value(json, group, key, n) \
	assert_true(value_in((json), (group), (key)) == (n))

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
	struct fixture *f = *state;
	struct limiter limiter = {0};
	struct blk_counts c = {0};
	struct net_counts n = {0};
	char *shape = NULL;
	const char *at;
	size_t size;
	FILE *out = open_memstream(&shape, &size);
	cJSON *json;

	assert_non_null(out);
	assert_int_equal(metrics_attach_drive(&f->m, "d", &c), 0);
	assert_int_equal(metrics_attach_net(&f->m, "n", &n, &limiter, &limiter),
			 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
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
	static char line[METRICS_LINE_BYTES];
	enum { N = sizeof(now) / sizeof(uint64_t) };
	static unsigned int seen[N];
	uint64_t *values = (uint64_t *)(void *)&now;
	struct metrics_names names[METRICS_LISTS];
	char text[METRICS_DEVS][8];
	cJSON *json;
	size_t len;

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
	len = metrics_line_print(line, sizeof(line), 1, &now, &prev, names);
	assert_true(len > 0);
	json = cJSON_ParseWithLength(line, len);
	assert_non_null(json);
	mark_values(json, seen, N);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
	cJSON_Delete(json);
}

static void counters_stand_under_their_names(void **state)
{
	struct fixture *f = *state;
	struct serial_counts uart = {.reads = 3, .dropped_bytes = 9};
	struct i8042_counts i8042 = {.resets = 4};
	struct vcpu_counts vcpu[2] = {{.io_in = 5, .mmio_write = 1},
				      {.io_in = 6, .failures = 2}};
	cJSON *json;

	metrics_attach_uart(&f->m, &uart);
	metrics_attach_i8042(&f->m, &i8042);
	assert_int_equal(metrics_attach_vcpu(&f->m, &vcpu[0]), 0);
	assert_int_equal(metrics_attach_vcpu(&f->m, &vcpu[1]), 0);
	f->m.api.process.startup_us = 77;
	f->m.api.get.vmm_version = 2;
	f->m.api.patch.machine_cfg.fails = 8;
	f->m.api.put.boot_source.count = 7;
	f->m.api.latencies_us.vmm_pause_vm = 1234;
	f->m.api.signals.sighup = 1;
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "uart", "read_count", 3);
	assert_value(json, "uart", "rate_limiter_dropped_bytes", 9);
	assert_value(json, "i8042", "reset_count", 4);
	assert_value(json, "vcpu", "exit_io_in", 11);
	assert_value(json, "vcpu", "exit_mmio_write", 1);
	assert_value(json, "vcpu", "failures", 2);
	assert_value(json, "api_server", "process_startup_time_us", 77);
	assert_value(json, "get_api_requests", "vmm_version_count", 2);
	assert_value(json, "patch_api_requests", "machine_cfg_fails", 8);
	assert_value(json, "put_api_requests", "boot_source_count", 7);
	assert_value(json, "latencies_us", "vmm_pause_vm", 1234);
	assert_value(json, "signals", "sighup", 1);
	cJSON_Delete(json);
}

static void counts_are_growth_and_times_are_not(void **state)
{
	struct fixture *f = *state;
	struct serial_counts uart = {.writes = 10};
	cJSON *json;

	metrics_attach_uart(&f->m, &uart);
	f->m.api.latencies_us.load_snapshot = 50;
	f->m.api.put.actions.count = 1;
	f->m.api.signals.sigpipe = 1;
	assert_int_equal(metrics_flush(&f->m), 0);
	cJSON_Delete(read_line(f));

	uart.writes = 12;
	f->m.api.signals.sigpipe = 2;
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "uart", "write_count", 2);
	assert_value(json, "put_api_requests", "actions_count", 0);
	assert_value(json, "latencies_us", "load_snapshot", 50);
	assert_value(json, "signals", "sigpipe", 1);
	cJSON_Delete(json);
}

static void drives_are_sorted_and_summed(void **state)
{
	struct fixture *f = *state;
	struct blk_counts b = {.reads = 2, .read_min_us = 7, .read_max_us = 9};
	struct blk_counts a = {.reads = 3, .read_min_us = 4, .read_max_us = 8};
	struct blk_counts c = {.reads = 1, .read_sum_us = 5};
	const cJSON *item, *agg;
	cJSON *json;

	assert_int_equal(metrics_attach_drive(&f->m, "b", &b), 0);
	assert_int_equal(metrics_attach_drive(&f->m, "c\"\n", &c), 0);
	assert_int_equal(metrics_attach_drive(&f->m, "a", &a), 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	item = cJSON_GetObjectItemCaseSensitive(json, "block_a");
	assert_non_null(item);
	assert_string_equal(item->next->string, "block_b");
	assert_string_equal(item->next->next->string, "block_c\"\n");
	assert_string_equal(item->next->next->next->string, "block");
	assert_value(json, "block_a", "read_count", 3);
	assert_value(json, "block_b", "read_count", 2);
	assert_value(json, "block", "read_count", 6);
	item = cJSON_GetObjectItemCaseSensitive(json, "block");
	agg = cJSON_GetObjectItemCaseSensitive(item, "read_agg");
	assert_true(agg->child->valuedouble == 4);
	assert_true(agg->child->next->valuedouble == 9);
	assert_true(agg->child->next->next->valuedouble == 5);
	cJSON_Delete(json);
}

static void interfaces_are_sorted_and_summed_with_their_limiters(void **state)
{
	struct fixture *f = *state;
	struct limiter rx = {.events = 2, .throttled = 3}, tx = {.events = 4};
	struct net_counts b = {.rx_bytes = 5, .tap_write_min_us = 9};
	struct net_counts a = {.rx_bytes = 6, .tap_write_min_us = 7};
	const cJSON *item;
	cJSON *json;

	assert_int_equal(metrics_attach_net(&f->m, "b", &b, &rx, &tx), 0);
	assert_int_equal(metrics_attach_net(&f->m, "a", &a, &tx, &tx), 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	item = cJSON_GetObjectItemCaseSensitive(json, "net_a");
	assert_non_null(item);
	assert_string_equal(item->next->string, "net_b");
	assert_string_equal(item->next->next->string, "net");
	assert_value(json, "net_a", "rx_bytes_count", 6);
	assert_value(json, "net_b", "rx_event_rate_limiter_count", 2);
	assert_value(json, "net_b", "rx_rate_limiter_throttled", 3);
	assert_value(json, "net", "rx_bytes_count", 11);
	assert_value(json, "net", "tx_rate_limiter_event_count", 8);
	item = cJSON_GetObjectItemCaseSensitive(json, "net");
	item = cJSON_GetObjectItemCaseSensitive(item, "tap_write_agg");
	assert_true(item->child->valuedouble == 7);
	cJSON_Delete(json);
}

static void vsock_goes_with_its_machine_and_mmds_stays(void **state)
{
	struct fixture *f = *state;
	struct vsock_counts vsock = {.conns_added = 3};
	struct mmds_counts mmds = {.rx_no_token = 4};
	cJSON *json;

	metrics_attach_vsock(&f->m, &vsock);
	metrics_attach_mmds(&f->m, &mmds);
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "vsock", "conns_added", 3);
	assert_value(json, "mmds", "rx_no_token", 4);
	cJSON_Delete(json);
	metrics_detach_all(&f->m);
	mmds.rx_no_token = 5;
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "vsock", "conns_added", 0);
	assert_value(json, "mmds", "rx_no_token", 1);
	cJSON_Delete(json);
}

static void drive_attached_later_keeps_growth_apart(void **state)
{
	struct fixture *f = *state;
	struct blk_counts b = {.writes = 100}, a = {.writes = 1};
	cJSON *json;

	assert_int_equal(metrics_attach_drive(&f->m, "b", &b), 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	cJSON_Delete(read_line(f));
	assert_int_equal(metrics_attach_drive(&f->m, "a", &a), 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "block_a", "write_count", 1);
	assert_value(json, "block_b", "write_count", 0);
	cJSON_Delete(json);
}

static void machine_that_went_away_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct serial_counts uart = {.writes = 10};
	struct vcpu_counts vcpu = {.io_in = 5};
	cJSON *json;

	metrics_attach_uart(&f->m, &uart);
	assert_int_equal(metrics_attach_vcpu(&f->m, &vcpu), 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	cJSON_Delete(read_line(f));
	metrics_detach_all(&f->m);
	vcpu.io_in = 2;
	assert_int_equal(metrics_attach_vcpu(&f->m, &vcpu), 0);
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "uart", "write_count", 0);
	assert_value(json, "vcpu", "exit_io_in", 2);
	cJSON_Delete(json);
}

/* Fill the pipe but for `room` pages of 4 KiB. */
static void fill_pipe(struct fixture *f, unsigned int room)
{
	static const char page[4096];
	unsigned int n = 0;

	while (write(f->m.fd, page, sizeof(page)) == sizeof(page))
		n++;
	assert_int_equal(errno, EAGAIN);
	assert_true(n >= room);
	for (; room > 0; room--) {
		char drop[4096];

		assert_int_equal(read(f->reader, drop, sizeof(drop)),
				 sizeof(drop));
	}
}

/* Read all that is in the pipe; returns what follows the filling. */
static size_t drain(struct fixture *f, char *buf, size_t size)
{
	size_t len = 0;
	char c;

	while (read(f->reader, &c, 1) == 1) {
		if (c == '\0')
			continue;
		assert_true(len < size);
		buf[len++] = c;
	}
	return len;
}

static void lost_line_is_counted_and_its_counts_are_not_lost(void **state)
{
	struct fixture *f = *state;
	char rest[16];
	cJSON *json;

	fill_pipe(f, 0);
	f->m.api.get.instance_info = 3;
	assert_int_equal(metrics_flush(&f->m), -EAGAIN);
	assert_int_equal(metrics_flush(&f->m), -EAGAIN);
	assert_int_equal(drain(f, rest, sizeof(rest)), 0);
	f->m.api.get.instance_info = 4;
	assert_int_equal(metrics_flush(&f->m), 0);
	json = read_line(f);
	assert_value(json, "get_api_requests", "instance_info_count", 4);
	assert_value(json, "logger", "missed_metrics_count", 2);
	cJSON_Delete(json);
}

static void half_a_line_is_completed_first(void **state)
{
	static char text[2 * METRICS_LINE_BYTES];
	struct fixture *f = *state;
	cJSON *json;
	const char *end;
	size_t len;

	fill_pipe(f, 1);
	f->m.api.get.instance_info = 3;
	assert_int_equal(metrics_flush(&f->m), 0);
	assert_int_equal(metrics_flush(&f->m), -EAGAIN);
	len = drain(f, text, sizeof(text) - 1);
	f->m.api.get.instance_info = 5;
	assert_int_equal(metrics_flush(&f->m), 0);
	len += drain(f, text + len, sizeof(text) - 1 - len);
	text[len] = '\0';

	json = cJSON_ParseWithOpts(text, &end, 0);
	assert_non_null(json);
	assert_int_equal(*end, '\n');
	assert_value(json, "get_api_requests", "instance_info_count", 3);
	cJSON_Delete(json);
	json = cJSON_Parse(end);
	assert_non_null(json);
	assert_value(json, "get_api_requests", "instance_info_count", 2);
	assert_value(json, "logger", "missed_metrics_count", 1);
	cJSON_Delete(json);
}

static void error_of_the_target_is_returned_and_counted(void **state)
{
	struct fixture *f = *state;

	metrics_set_fd(&f->m, open("/dev/full", O_WRONLY | O_CLOEXEC));
	assert_int_equal(metrics_flush(&f->m), -ENOSPC);
	assert_int_equal(f->m.api.logger.missed_metrics, 1);
}

static void line_that_does_not_fit_is_refused(void **state)
{
	static char id[METRICS_LINE_BYTES];
	struct fixture *f = *state;
	struct blk_counts c = {0};

	memset(id, 'x', sizeof(id) - 1);
	assert_int_equal(metrics_attach_drive(&f->m, id, &c), 0);
	assert_int_equal(metrics_flush(&f->m), -EMSGSIZE);
	assert_int_equal(f->m.api.logger.metrics_fails, 1);
	metrics_detach_all(&f->m);
	assert_int_equal(metrics_flush(&f->m), 0);
	cJSON_Delete(read_line(f));
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

static void flush_in_a_flush_gives_up(void **state)
{
	struct fixture *f = *state;
	char rest[16];

	f->m.busy = true;
	assert_int_equal(metrics_flush(&f->m), -EBUSY);
	f->m.busy = false;
	assert_int_equal(drain(f, rest, sizeof(rest)), 0);
}

static void no_target_is_no_error(void **state)
{
	struct fixture *f = *state;

	assert_true(metrics_has_target(&f->m));
	metrics_set_fd(&f->m, -1);
	assert_false(metrics_has_target(&f->m));
	assert_int_equal(metrics_flush(&f->m), 0);
}

static void attach_beyond_the_limits_fails(void **state)
{
	struct fixture *f = *state;
	struct vcpu_counts vcpu = {0};
	struct blk_counts c = {0};

	for (unsigned int i = 0; i < MAX_VCPUS; i++)
		assert_int_equal(metrics_attach_vcpu(&f->m, &vcpu), 0);
	assert_int_equal(metrics_attach_vcpu(&f->m, &vcpu), -ENOSPC);
	for (unsigned int i = 0; i < METRICS_DEVS; i++)
		assert_int_equal(metrics_attach_drive(&f->m, "x", &c), 0);
	assert_int_equal(metrics_attach_drive(&f->m, "x", &c), -ENOSPC);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(line_has_firecrackers_keys_in_its_order),
		cmocka_unit_test(every_counter_stands_in_the_line_once),
		TEST(counters_stand_under_their_names),
		TEST(counts_are_growth_and_times_are_not),
		TEST(drives_are_sorted_and_summed),
		TEST(interfaces_are_sorted_and_summed_with_their_limiters),
		TEST(vsock_goes_with_its_machine_and_mmds_stays),
		TEST(drive_attached_later_keeps_growth_apart),
		TEST(machine_that_went_away_leaves_no_trace),
		TEST(lost_line_is_counted_and_its_counts_are_not_lost),
		TEST(half_a_line_is_completed_first),
		TEST(error_of_the_target_is_returned_and_counted),
		TEST(line_that_does_not_fit_is_refused),
		cmocka_unit_test(longest_line_fits),
		TEST(flush_in_a_flush_gives_up),
		TEST(no_target_is_no_error),
		TEST(attach_beyond_the_limits_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
