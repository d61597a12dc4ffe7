/* SPDX-License-Identifier: Apache-2.0 */
#include "api/body.h"

#include <stdio.h>

#include "base/num.h"
#include "tests/api/body_check.h"
#include "virtio/mmds/mmds.h"

#define NET   "{\"iface_id\":\"n\",\"host_dev_name\":\"t\""
#define VSOCK "{\"guest_cid\":3,\"uds_path\":\"v\""
#define MMDS  "{\"network_interfaces\":[\"n\"]"

struct refusal {
	const char *text, *want;
};

static void net_says_what_was_given(void **state)
{
	static const uint8_t mac[6] = {6, 0, 0xac, 0x10, 0, 2};
	struct body_net b;

	(void)state;
	assert_parses(&body_net_schema, &b,
		      NET ",\"guest_mac\":\"06:00:AC:10:00:02\",\"mtu\":68,"
			  "\"rx_rate_limiter\":{\"ops\":{\"size\":1,"
			  "\"refill_time\":2}},\"tx_rate_limiter\":{}}");
	assert_string_equal(b.iface_id.s, "n");
	assert_string_equal(b.host_dev_name.s, "t");
	assert_true(b.has_guest_mac && b.has_mtu);
	assert_memory_equal(b.guest_mac, mac, sizeof(mac));
	assert_int_equal(b.mtu, 68);
	assert_true(b.rx_rate_limiter.has_ops);
	assert_int_equal(b.rx_rate_limiter.ops.refill_time, 2);
	assert_false(b.rx_rate_limiter.has_bandwidth ||
		     b.tx_rate_limiter.has_ops);
	schema_exit(&body_net_schema, &b);
	schema_exit(&body_net_schema, &b);
	assert_parses(&body_net_schema, &b,
		      NET ",\"guest_mac\":null,\"mtu\":null,"
			  "\"rx_rate_limiter\":null,\"tx_rate_limiter\":null}");
	assert_false(b.has_guest_mac || b.has_mtu);
	schema_exit(&body_net_schema, &b);
	assert_parses(&body_net_patch_schema, &b, "{\"iface_id\":\"n\"}");
	schema_exit(&body_net_patch_schema, &b);
}

static void mac_takes_what_firecracker_takes(void **state)
{
	static const char *const good[] = {
		"00:00:00:00:00:00", "ff:FF:ff:FF:ff:ff", "+6:00:ac:10:00:02"};
	static const char *const bad[] = {"",
					  "06-00-ac-10-00-02",
					  "06:00:ac:10:00",
					  "06:00:ac:10:00:02:03",
					  "6:0:ac:10:0:2",
					  "06:00:ac:10:00:gg",
					  "060:0:ac:10:00:02",
					  " 6:00:ac:10:00:02",
					  "-6:00:ac:10:00:02",
					  "0+:00:ac:10:00:02",
					  "\\u00100:00:ac:10:00:02"};
	struct body_net b;
	char text[128];
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		(void)snprintf(text, sizeof(text), NET ",\"guest_mac\":\"%s\"}",
			       good[i]);
		assert_parses(&body_net_schema, &b, text);
		schema_exit(&body_net_schema, &b);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)snprintf(text, sizeof(text), NET ",\"guest_mac\":\"%s\"}",
			       bad[i]);
		assert_int_equal(body_parse(&body_net_schema, text,
					    strlen(text), &b, sizeof(b), &e),
				 -EINVAL);
		assert_non_null(strstr(e.text, PREFIX
				       "The provided MAC address is invalid. "
				       "at line 1 column "));
	}
}

static void refuses(const struct schema *s, const struct refusal *r, size_t n)
{
	union {
		struct body_net net;
		struct body_vsock vsock;
		struct body_mmds mmds;
	} b;

	for (size_t i = 0; i < n; i++)
		assert_refused(s, &b, r[i].text, r[i].want);
}

static void net_errors_are_firecrackers(void **state)
{
	static const struct refusal put[] = {
		{"{}", PREFIX "missing field `iface_id` at line 1 column 2."},
		{"{\"iface_id\":\"n\"}",
		 PREFIX "missing field `host_dev_name` at line 1 column 16."},
		{"{\"mtu\":65536}",
		 PREFIX "invalid value: integer `65536`, expected u16 at line "
			"1 column 12."},
		{"{\"guest_mac\":\"x\"}",
		 PREFIX "The provided MAC address is invalid. at line 1 column "
			"17."},
		{"{\"allow_mmds_requests\":true}", PREFIX
		 "unknown field `allow_mmds_requests`, expected one of "
		 "`iface_id`, `host_dev_name`, `guest_mac`, `mtu`, "
		 "`rx_rate_limiter`, `tx_rate_limiter` at line 1 column 22."},
		{"3", PREFIX "invalid type: integer `3`, expected struct "
			     "NetworkInterfaceConfig at line 1 column 1."},
	};
	static const struct refusal patch[] = {
		{"{\"host_dev_name\":\"t\"}",
		 PREFIX "unknown field `host_dev_name`, expected one of "
			"`iface_id`, `rx_rate_limiter`, `tx_rate_limiter` at "
			"line 1 column 16."},
		{"null", PREFIX "invalid type: null, expected struct "
				"NetworkInterfaceUpdateConfig at line 1 "
				"column 4."},
	};

	(void)state;
	refuses(&body_net_schema, put, ARRAY_LEN(put));
	refuses(&body_net_patch_schema, patch, ARRAY_LEN(patch));
}

static void vsock_says_what_was_given(void **state)
{
	struct body_vsock b;

	(void)state;
	assert_parses(&body_vsock_schema, &b,
		      VSOCK ",\"vsock_id\":\"x\",\"max_connections\":7}");
	assert_int_equal(b.guest_cid, 3);
	assert_string_equal(b.uds_path.s, "v");
	assert_string_equal(b.vsock_id.s, "x");
	assert_true(b.has_max_connections);
	assert_int_equal(b.max_connections, 7);
	schema_exit(&body_vsock_schema, &b);
	assert_parses(&body_vsock_schema, &b,
		      VSOCK ",\"vsock_id\":null,\"max_connections\":null}");
	assert_null(b.vsock_id.s);
	assert_false(b.has_max_connections);
	schema_exit(&body_vsock_schema, &b);
}

static void vsock_errors_are_firecrackers(void **state)
{
	static const struct refusal put[] = {
		{"{}", PREFIX "missing field `guest_cid` at line 1 column 2."},
		{"{\"guest_cid\":4294967296}",
		 PREFIX "invalid value: integer `4294967296`, expected u32 at "
			"line 1 column 23."},
		{"{\"x\":1}",
		 PREFIX "unknown field `x`, expected one of `vsock_id`, "
			"`guest_cid`, `uds_path` at line 1 column 4."},
		{"[3]", PREFIX "invalid type: sequence, expected struct "
			       "VsockDeviceConfig at line 1 column 0."},
	};

	(void)state;
	refuses(&body_vsock_schema, put, ARRAY_LEN(put));
}

static void mmds_says_what_was_given(void **state)
{
	struct body_mmds b;

	(void)state;
	assert_parses(&body_mmds_schema, &b,
		      "{\"version\":\"V2\",\"network_interfaces\":[\"a\","
		      "\"b\"],\"ipv4_address\":\"169.254.169.250\","
		      "\"imds_compat\":true}");
	assert_int_equal(b.version, MMDS_V2);
	assert_int_equal(b.n_network_interfaces, 2);
	assert_string_equal(b.network_interfaces[1].s, "b");
	assert_true(b.has_ipv4_address && b.imds_compat);
	assert_int_equal(b.ipv4_address, 0xa9fea9fa);
	schema_exit(&body_mmds_schema, &b);
	assert_parses(&body_mmds_schema, &b, MMDS ",\"ipv4_address\":null}");
	assert_int_equal(b.version, MMDS_V1);
	assert_false(b.has_ipv4_address || b.imds_compat);
	schema_exit(&body_mmds_schema, &b);
}

static void mmds_errors_are_firecrackers(void **state)
{
	static const struct refusal put[] = {
		{"{}", PREFIX
		 "missing field `network_interfaces` at line 1 column 2."},
		{"{\"version\":\"v2\"}",
		 PREFIX "unknown variant `v2`, expected `V1` or `V2` at line 1 "
			"column 15."},
		{"{\"version\":null}",
		 PREFIX "expected value at line 1 column 12."},
		{"{\"imds_compat\":null}",
		 PREFIX "invalid type: null, expected a boolean at line 1 "
			"column 19."},
		{"{\"ipv4_address\":\"::1\"}",
		 PREFIX "invalid IPv4 address syntax at line 1 column 21."},
		{"{\"ipv4_address\":\"0169.254.1.1\"}",
		 PREFIX "invalid IPv4 address syntax at line 1 column 30."},
		{"{\"ipv4_address\":\"169.254.1.1\\u0000\"}",
		 PREFIX "invalid IPv4 address syntax at line 1 column 35."},
		{"{\"network_interfaces\":[1]}",
		 PREFIX "invalid type: integer `1`, expected a string at line "
			"1 column 24."},
		{"{\"x\":1}",
		 PREFIX "unknown field `x`, expected one of `version`, "
			"`network_interfaces`, `ipv4_address`, `imds_compat` "
			"at line 1 column 4."},
	};

	(void)state;
	refuses(&body_mmds_schema, put, ARRAY_LEN(put));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(net_says_what_was_given),
		cmocka_unit_test(mac_takes_what_firecracker_takes),
		cmocka_unit_test(net_errors_are_firecrackers),
		cmocka_unit_test(vsock_says_what_was_given),
		cmocka_unit_test(vsock_errors_are_firecrackers),
		cmocka_unit_test(mmds_says_what_was_given),
		cmocka_unit_test(mmds_errors_are_firecrackers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
