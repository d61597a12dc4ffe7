/* SPDX-License-Identifier: Apache-2.0 */
#include "api/body.h"

#include "base/num.h"
#include "tests/api/body_check.h"

#define KERNEL "\"boot-source\":{\"kernel_image_path\":\"k\"}"

static int parse(struct body_config *b, const char *text, size_t len,
		 struct err *e)
{
	return schema_parse(&body_config_schema, text, len, b, sizeof(*b), e);
}

static void config_takes_every_section(void **state)
{
	static const char text[] =
		"{" KERNEL ",\"drives\":[" DRIVE "\"path_on_host\":\"p\"}],"
		"\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":16},"
		"\"cpu-config\":{\"kvm_capabilities\":[\"1\"]},"
		"\"logger\":{\"log_path\":\"l\"},"
		"\"metrics\":{\"metrics_path\":\"m\"},"
		"\"vsock\":{\"guest_cid\":3,\"uds_path\":\"v\"},"
		"\"network-interfaces\":[{\"iface_id\":\"n\","
		"\"host_dev_name\":\"t\"}],"
		"\"mmds-config\":{\"network_interfaces\":[\"n\"]},"
		"\"pmem\":[{\"a\":1}],\"entropy\":{},"
		"\"serial\":3,\"foo\":[1]}\n";
	struct body_config b;

	(void)state;
	assert_fn_parses(parse, &b, text);
	assert_string_equal(b.boot_source.kernel_image_path.s, "k");
	assert_int_equal(b.n_drives, 1);
	assert_string_equal(b.drives[0].path_on_host.s, "p");
	assert_true(b.has_machine && b.has_cpu && b.has_logger &&
		    b.has_metrics);
	assert_int_equal(b.machine.vcpu_count, 2);
	assert_null(b.cpu.path.s);
	assert_int_equal(b.cpu.inline_template.n_cap, 1);
	assert_string_equal(b.logger.log_path.s, "l");
	assert_string_equal(b.metrics.metrics_path.s, "m");
	assert_true(b.has_vsock && b.has_mmds);
	assert_string_equal(b.vsock.uds_path.s, "v");
	assert_int_equal(b.n_nets, 1);
	assert_string_equal(b.nets[0].host_dev_name.s, "t");
	assert_string_equal(b.mmds.network_interfaces[0].s, "n");
	assert_memory_equal(text + b.pmem.at, "[{\"a\":1}],", 10);
	assert_false(b.pmem.empty);
	assert_true(b.entropy.empty);
	assert_int_equal(b.balloon.len, 0);
	schema_exit(&body_config_schema, &b);
	schema_exit(&body_config_schema, &b);
}

static void config_sections_may_be_null(void **state)
{
	struct body_config b;

	(void)state;
	assert_fn_parses(parse, &b,
			 "{" KERNEL ",\"drives\":[],\"machine-config\":null,"
			 "\"vsock\":null,\"logger\":null,\"metrics\":null,"
			 "\"mmds-config\":null,\"cpu-config\":null,"
			 "\"balloon\":null,\"entropy\":null,"
			 "\"memory-hotplug\":null}");
	assert_false(b.has_machine || b.has_cpu || b.has_logger ||
		     b.has_metrics);
	assert_false(b.has_vsock || b.has_mmds);
	schema_exit(&body_config_schema, &b);
	assert_fn_parses(parse, &b,
			 "{" KERNEL ",\"drives\":[],\"cpu-config\":\"c\"}");
	assert_string_equal(b.cpu.path.s, "c");
	schema_exit(&body_config_schema, &b);
}

static void config_errors_are_firecrackers(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"", "EOF while parsing a value at line 1 column 0"},
		{"{}", "missing field `drives` at line 1 column 2"},
		{"{\"drives\":[]}",
		 "missing field `boot-source` at line 1 column 13"},
		{"1", "invalid type: integer `1`, expected struct VmmConfig at "
		      "line 1 column 1"},
		{"{\"boot-source\":null}",
		 "invalid type: null, expected struct BootSourceConfig at line "
		 "1 column 19"},
		{"{\"drives\":null}", "invalid type: null, expected a sequence "
				      "at line 1 column 14"},
		{"{\"drives\":[],\"drives\":[]}",
		 "duplicate field `drives` at line 1 column 21"},
		{"{\"pmem\":null}",
		 "invalid type: null, expected a sequence at "
		 "line 1 column 12"},
		{"{" KERNEL ",\"drives\":[" DRIVE "\"x\":1}]}",
		 "unknown field `x`, " DRIVE_NAMES " at line 1 column 93"},
		{"{" KERNEL ",\"drives\":[]}x",
		 "trailing characters at line 1 column 54"},
		{"{\"cpu-config\":1}",
		 "data did not match any variant of untagged enum "
		 "CustomCpuTemplateOrPath at line 1 column 16"},
		{"{\"cpu-config\":{\"x\":1}}",
		 "data did not match any variant of untagged enum "
		 "CustomCpuTemplateOrPath at line 1 column 22"},
	};
	struct body_config b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_fn_refuses(parse, &b, cases[i].text, cases[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_takes_every_section),
		cmocka_unit_test(config_sections_may_be_null),
		cmocka_unit_test(config_errors_are_firecrackers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
