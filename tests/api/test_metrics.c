/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of a machine that comes and goes, and a target that fails. */
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

static void flush_in_a_flush_gives_up(void **state)
{
	struct fixture *f = *state;
	char rest[16];

	metrics_hold(&f->m);
	assert_int_equal(metrics_flush(&f->m), -EBUSY);
	metrics_release(&f->m);
	assert_int_equal(metrics_flush(&f->m), 0);
	cJSON_Delete(read_line(f));
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
		TEST(flush_in_a_flush_gives_up),
		TEST(no_target_is_no_error),
		TEST(attach_beyond_the_limits_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
