/* SPDX-License-Identifier: Apache-2.0 */
#include "api/body.h"

#include <stdio.h>

#include "base/log.h"
#include "base/num.h"
#include "tests/api/body_check.h"

static void machine_says_what_was_given(void **state)
{
	struct body_machine b;

	(void)state;
	assert_parses(
		&body_machine_schema, &b,
		"{\"vcpu_count\":32,\"mem_size_mib\":18446744073709551615,"
		"\"smt\":true,\"cpu_template\":\"T2S\","
		"\"track_dirty_pages\":true,\"huge_pages\":\"2M\"}");
	assert_int_equal(b.vcpu_count, 32);
	assert_true(b.mem_size_mib == UINT64_MAX);
	assert_int_equal(b.cpu_template, CPU_TEMPLATE_T2S);
	assert_int_equal(b.huge_pages, BODY_HUGE_2M);
	assert_true(b.smt && b.track_dirty_pages && b.has_cpu_template);
	assert_parses(&body_machine_schema, &b,
		      "{\"vcpu_count\":0,\"mem_size_mib\":0,"
		      "\"cpu_template\":null}");
	assert_true(b.has_vcpu_count && b.has_mem_size_mib);
	assert_false(b.has_smt || b.has_cpu_template || b.has_huge_pages);
	assert_int_equal(b.cpu_template, CPU_TEMPLATE_NONE);
	assert_parses(&body_machine_schema, &b,
		      "{\"vcpu_count\":1,\"mem_size_mib\":1,"
		      "\"cpu_template\":\"None\"}");
	assert_true(b.has_cpu_template);
}

static void machine_errors_are_firecrackers(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"{\"mem_size_mib\":64}",
		 PREFIX "missing field `vcpu_count` at line 1 column 19."},
		{"{\"vcpu_count\":2}",
		 PREFIX "missing field `mem_size_mib` at line 1 column 16."},
		{"{\"vcpu_count\":256,\"mem_size_mib\":64}", PREFIX
		 "invalid value: integer `256`, expected u8 at line 1 column "
		 "17."},
		{"{\"vcpu_count\":18446744073709551616}", PREFIX
		 "invalid type: floating point `1.8446744073709552e+19`, "
		 "expected u8 at line 1 column 34."},
		{"{\"vcpu_count\":2,\"mem_size_mib\":-1}",
		 PREFIX "invalid value: integer `-1`, expected usize at line 1 "
			"column 33."},
		{"{\"vcpu_count\":2,\"smt\":null}", PREFIX
		 "invalid type: null, expected a boolean at line 1 column "
		 "26."},
		{"{\"huge_pages\":null}",
		 PREFIX "expected value at line 1 column 15."},
		{"{\"huge_pages\":\"1G\"}", PREFIX
		 "unknown variant `1G`, expected `None` or `2M` at line 1 "
		 "column 18."},
		{"{\"cpu_template\":\"t2\"}", PREFIX
		 "unknown variant `t2`, expected one of `C3`, `T2`, `T2S`, "
		 "`None`, `T2CL`, `T2A` at line 1 column 20."},
		{"{\n\"vcpu_count\":1,\n\"foo\":2}", PREFIX
		 "unknown field `foo`, expected one of `vcpu_count`, "
		 "`mem_size_mib`, `smt`, `cpu_template`, "
		 "`track_dirty_pages`, `huge_pages` at line 3 column 5."},
		{"null",
		 PREFIX "invalid type: null, expected struct MachineConfig "
			"at line 1 column 4."},
		{"[3,77]", PREFIX "invalid type: sequence, expected struct "
				  "MachineConfig at line 1 column 0."},
		{"{", PREFIX "EOF while parsing an object at line 1 column 1."},
	};
	struct body_machine b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_refused(&body_machine_schema, &b, cases[i].text,
			       cases[i].want);
}

static void machine_patch_takes_any_subset(void **state)
{
	struct body_machine b;

	(void)state;
	assert_parses(&body_machine_patch_schema, &b, "{}");
	assert_false(body_machine_any(&b));
	assert_parses(&body_machine_patch_schema, &b,
		      "{\"vcpu_count\":null,\"mem_size_mib\":null,\"smt\":null,"
		      "\"cpu_template\":null,\"track_dirty_pages\":null,"
		      "\"huge_pages\":null}");
	assert_false(body_machine_any(&b));
	assert_parses(&body_machine_patch_schema, &b, "{\"smt\":false}");
	assert_true(body_machine_any(&b) && b.has_smt && !b.smt);
	assert_refused(&body_machine_patch_schema, &b, "3",
		       PREFIX "invalid type: integer `3`, expected struct "
			      "MachineConfigUpdate at line 1 column 1.");
}

static void boot_source_keeps_nul_bytes(void **state)
{
	struct body_boot_source b;

	(void)state;
	assert_parses(&body_boot_source_schema, &b,
		      "{\"kernel_image_path\":\"k\\u0000l\","
		      "\"initrd_path\":null,\"boot_args\":\"\"}");
	assert_int_equal(b.kernel_image_path.len, 3);
	assert_memory_equal(b.kernel_image_path.s, "k\0l", 4);
	assert_null(b.initrd_path.s);
	assert_string_equal(b.boot_args.s, "");
	schema_exit(&body_boot_source_schema, &b);
	schema_exit(&body_boot_source_schema, &b);
	assert_refused(&body_boot_source_schema, &b,
		       "{\"kernel_image_path\":null}",
		       PREFIX "invalid type: null, expected a string at line 1 "
			      "column 25.");
	assert_refused(&body_boot_source_schema, &b, "{\"a\":1,}",
		       PREFIX
		       "unknown field `a`, expected one of "
		       "`kernel_image_path`, `initrd_path`, `boot_args` at "
		       "line 1 column 4.");
}

static void drive_says_what_was_given(void **state)
{
	struct body_drive b;

	(void)state;
	assert_parses(&body_drive_schema, &b,
		      "{\"drive_id\":\"r\",\"is_root_device\":true,"
		      "\"cache_type\":\"Writeback\",\"is_read_only\":true,"
		      "\"path_on_host\":\"p\",\"partuuid\":\"u\","
		      "\"io_engine\":\"Async\",\"socket\":\"s\","
		      "\"exclusive\":true,\"rate_limiter\":{\"bandwidth\":"
		      "{\"size\":1,\"one_time_burst\":2,\"refill_time\":3,"
		      "\"x\":[]},\"ops\":null}}");
	assert_string_equal(b.drive_id.s, "r");
	assert_string_equal(b.path_on_host.s, "p");
	assert_string_equal(b.partuuid.s, "u");
	assert_string_equal(b.socket.s, "s");
	assert_true(b.is_root_device && b.is_read_only && b.exclusive);
	assert_true(b.has_is_read_only && b.has_io_engine);
	assert_int_equal(b.cache_type, BODY_CACHE_WRITEBACK);
	assert_int_equal(b.io_engine, BODY_ENGINE_ASYNC);
	assert_true(b.has_rate_limiter && b.rate_limiter.has_bandwidth);
	assert_false(b.rate_limiter.has_ops);
	assert_true(b.rate_limiter.bandwidth.has_one_time_burst);
	assert_int_equal(b.rate_limiter.bandwidth.size, 1);
	assert_int_equal(b.rate_limiter.bandwidth.one_time_burst, 2);
	assert_int_equal(b.rate_limiter.bandwidth.refill_time, 3);
	schema_exit(&body_drive_schema, &b);
	assert_parses(&body_drive_schema, &b,
		      DRIVE "\"partuuid\":null,\"is_read_only\":null,"
			    "\"path_on_host\":null,\"rate_limiter\":null,"
			    "\"io_engine\":null,\"socket\":null}");
	assert_false(b.has_is_read_only || b.has_io_engine ||
		     b.has_rate_limiter || b.exclusive);
	assert_null(b.path_on_host.s);
	assert_int_equal(b.cache_type, BODY_CACHE_UNSAFE);
	assert_int_equal(b.io_engine, BODY_ENGINE_SYNC);
	schema_exit(&body_drive_schema, &b);
}

static void drive_errors_are_firecrackers(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"{}", PREFIX "missing field `drive_id` at line 1 column 2."},
		{DRIVE "\"foo\":1}",
		 PREFIX "unknown field `foo`, " DRIVE_NAMES " at line 1 column "
			"44."},
		{DRIVE "\"drive_id\":\"d\"}",
		 PREFIX "duplicate field `drive_id` at line 1 column 49."},
		{DRIVE "\"cache_type\":null}",
		 PREFIX "expected value at line 1 column 53."},
		{DRIVE "\"cache_type\":\"unsafe\"}",
		 PREFIX "unknown variant `unsafe`, expected `Unsafe` or "
			"`Writeback` at line 1 column 60."},
		{DRIVE "\"io_engine\":\"sync\"}",
		 PREFIX "unknown variant `sync`, expected `Async` or `Sync` at "
			"line 1 column 57."},
		{DRIVE "\"path_on_host\":7}", PREFIX
		 "invalid type: integer `7`, expected a string at line 1 "
		 "column 55."},
		{DRIVE "\"rate_limiter\":3}",
		 PREFIX "invalid type: integer `3`, expected struct "
			"RateLimiterConfig at line 1 column 55."},
		{DRIVE "\"rate_limiter\":{\"ops\":{\"size\":1}}}",
		 PREFIX "missing field `refill_time` at line 1 column 71."},
		{DRIVE "\"rate_limiter\":{\"x\":1}}", PREFIX
		 "unknown field `x`, expected `bandwidth` or `ops` at line "
		 "1 column 58."},
		{"\"\"", PREFIX "invalid type: string \"\", expected struct "
				"BlockDeviceConfig at line 1 column 2."},
	};
	struct body_drive b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_refused(&body_drive_schema, &b, cases[i].text,
			       cases[i].want);
}

static void drive_patch_knows_three_fields(void **state)
{
	struct body_drive b;

	(void)state;
	assert_parses(&body_drive_patch_schema, &b,
		      "{\"drive_id\":\"d\",\"path_on_host\":\"p\","
		      "\"rate_limiter\":{}}");
	assert_string_equal(b.path_on_host.s, "p");
	assert_true(b.has_rate_limiter);
	schema_exit(&body_drive_schema, &b);
	assert_refused(&body_drive_patch_schema, &b,
		       "{\"drive_id\":\"r\",\"is_read_only\":true}",
		       PREFIX
		       "unknown field `is_read_only`, expected one of "
		       "`drive_id`, `path_on_host`, `rate_limiter` at line 1 "
		       "column 30.");
	assert_refused(&body_drive_patch_schema, &b, "null",
		       PREFIX "invalid type: null, expected struct "
			      "BlockDeviceUpdateConfig at line 1 column 4.");
}

static void actions_and_states_are_words(void **state)
{
	int a;
	int s;

	(void)state;
	assert_parses(&body_action_schema, &a,
		      "{\"action_type\":\"InstanceStart\"}");
	assert_int_equal(a, BODY_INSTANCE_START);
	assert_refused(&body_action_schema, &a, "{}",
		       PREFIX
		       "missing field `action_type` at line 1 column 2.");
	assert_refused(&body_action_schema, &a, "{\"action_type\":7}",
		       PREFIX "expected value at line 1 column 16.");
	assert_refused(&body_action_schema, &a,
		       "{\"action_type\":\"InstanceStart\",\"payload\":\"\"}",
		       PREFIX
		       "unknown field `payload`, expected `action_type` at "
		       "line 1 column 40.");
	assert_refused(&body_action_schema, &a, "{\"action_type\":\"X\"}",
		       PREFIX
		       "unknown variant `X`, expected one of "
		       "`FlushMetrics`, `InstanceStart`, `SendCtrlAltDel` at "
		       "line 1 column 18.");
	assert_parses(&body_vm_schema, &s, "{\"state\":\"Resumed\"}");
	assert_int_equal(s, BODY_VM_RESUMED);
	assert_refused(&body_vm_schema, &s, "{\"state\":\"x\"}",
		       PREFIX
		       "unknown variant `x`, expected `Paused` or `Resumed` "
		       "at line 1 column 12.");
	assert_refused(&body_vm_schema, &s, "3",
		       PREFIX
		       "invalid type: integer `3`, expected struct Vm at "
		       "line 1 column 1.");
}

static void logger_fields_may_all_be_left_out(void **state)
{
	struct body_logger b;

	(void)state;
	assert_parses(&body_logger_schema, &b,
		      "{\"log_path\":null,\"level\":null,\"show_level\":null,"
		      "\"show_log_origin\":null,\"module\":null}");
	assert_false(b.has_level || b.has_show_level || b.has_show_log_origin);
	assert_null(b.log_path.s);
	assert_parses(&body_logger_schema, &b,
		      "{\"log_path\":\"l\",\"level\":\"dEbUg\",\"show_level\":"
		      "true,\"show_log_origin\":false,\"module\":\"m\"}");
	assert_string_equal(b.log_path.s, "l");
	assert_string_equal(b.module.s, "m");
	assert_true(b.has_level && b.has_show_level && b.has_show_log_origin);
	assert_int_equal(b.level, LOG_DEBUG);
	schema_exit(&body_logger_schema, &b);
	assert_refused(&body_logger_schema, &b, "{\"level\":\"Fatal\"}",
		       PREFIX "Invalid LevelFilter at line 1 column 17.");
	assert_refused(&body_logger_schema, &b, "{\"level\":\"Info\\u0000\"}",
		       PREFIX "Invalid LevelFilter at line 1 column 22.");
	assert_refused(&body_logger_schema, &b, "{\"a\":1}",
		       PREFIX
		       "unknown field `a`, expected one of `log_path`, "
		       "`level`, `show_level`, `show_log_origin`, `module` "
		       "at line 1 column 4.");
}

static void metrics_ignore_unknown_fields(void **state)
{
	struct body_metrics b;

	(void)state;
	assert_parses(
		&body_metrics_schema, &b,
		"{\"emit_id\":[{}],\"metrics_path\":\"m\",\"emit_id\":1}");
	assert_string_equal(b.metrics_path.s, "m");
	schema_exit(&body_metrics_schema, &b);
	assert_refused(&body_metrics_schema, &b, "{\"metrics_path\":7}",
		       PREFIX
		       "invalid type: integer `7`, expected path string at "
		       "line 1 column 17.");
	assert_refused(&body_metrics_schema, &b, "{\"a\":1,}",
		       PREFIX "trailing comma at line 1 column 8.");
}

static void serial_has_a_bucket(void **state)
{
	struct body_serial b;

	(void)state;
	assert_parses(&body_serial_schema, &b,
		      "{\"serial_out_path\":\"s\",\"rate_limiter\":"
		      "{\"size\":1,\"refill_time\":2}}");
	assert_string_equal(b.serial_out_path.s, "s");
	assert_true(b.has_rate_limiter && !b.rate_limiter.has_one_time_burst);
	assert_int_equal(b.rate_limiter.refill_time, 2);
	schema_exit(&body_serial_schema, &b);
	assert_refused(&body_serial_schema, &b, "{\"a\":1,}",
		       PREFIX
		       "unknown field `a`, expected `serial_out_path` or "
		       "`rate_limiter` at line 1 column 4.");
}

static void longest_messages_keep_their_end(void **state)
{
	char text[2048], id[512], want[1024];
	struct body_drive b;

	(void)state;
	memset(id, 'x', sizeof(id));
	id[511] = '\0';
	(void)snprintf(text, sizeof(text), "{\"%s\":1}", id);
	(void)snprintf(want, sizeof(want),
		       PREFIX "unknown field `%.128s...`, " DRIVE_NAMES
			      " at line 1 column 514.",
		       id);
	assert_refused(&body_drive_schema, &b, text, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machine_says_what_was_given),
		cmocka_unit_test(machine_errors_are_firecrackers),
		cmocka_unit_test(machine_patch_takes_any_subset),
		cmocka_unit_test(boot_source_keeps_nul_bytes),
		cmocka_unit_test(drive_says_what_was_given),
		cmocka_unit_test(drive_errors_are_firecrackers),
		cmocka_unit_test(drive_patch_knows_three_fields),
		cmocka_unit_test(actions_and_states_are_words),
		cmocka_unit_test(logger_fields_may_all_be_left_out),
		cmocka_unit_test(metrics_ignore_unknown_fields),
		cmocka_unit_test(serial_has_a_bucket),
		cmocka_unit_test(longest_messages_keep_their_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
