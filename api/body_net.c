/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of /network-interfaces, /vsock and /mmds/config. The order of
 * fields and variants is the order in which messages name them.
 */
#include "api/body.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "api/body_tables.h"
#include "base/err.h"
#include "virtio/mmds/mmds.h"

#define NULLABLE (FIELD_NULLABLE | FIELD_GIVEN)

static int hex_digit(char c)
{
	if (!isxdigit((unsigned char)c))
		return -1;
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Two hexadecimal digits. Rust takes a sign for one that is 0. */
static int hex_byte(const char *s)
{
	int high = s[0] == '+' ? 0 : hex_digit(s[0]);
	int low = hex_digit(s[1]);

	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int body_parse_mac(const struct text *s, void *to, struct err *e)
{
	uint8_t mac[6];
	bool good = s->len == 3 * sizeof(mac) - 1;

	for (size_t i = 0; good && i < sizeof(mac); i++) {
		int byte = hex_byte(s->s + 3 * i);

		good = byte >= 0 && (i == 0 || s->s[3 * i - 1] == ':');
		mac[i] = (uint8_t)byte;
	}
	if (!good)
		return err_set(e, -EINVAL,
			       "The provided MAC address is invalid.");
	memcpy(to, mac, sizeof(mac));
	return 0;
}

#define AT(m)	 .at = offsetof(struct body_net, m)
#define GIVEN(m) .given = offsetof(struct body_net, has_##m)
#define LIMITER(m)                                       \
	{                                                \
#m, FIELD_STRUCT, FIELD_NULLABLE, AT(m), \
			.schema = &body_limiter_schema   \
	}

static const struct field net_fields[] = {
	{"iface_id", FIELD_STRING, FIELD_REQUIRED, AT(iface_id)},
	{"host_dev_name", FIELD_STRING, FIELD_REQUIRED, AT(host_dev_name)},
	{"guest_mac", FIELD_PARSED, NULLABLE, AT(guest_mac), GIVEN(guest_mac),
	 .parse = body_parse_mac},
	{"mtu", FIELD_U16, NULLABLE, AT(mtu), GIVEN(mtu)},
	LIMITER(rx_rate_limiter),
	LIMITER(tx_rate_limiter),
};

static const struct field net_patch_fields[] = {
	{"iface_id", FIELD_STRING, FIELD_REQUIRED, AT(iface_id)},
	LIMITER(rx_rate_limiter),
	LIMITER(tx_rate_limiter),
};
#undef AT
#undef GIVEN

const struct schema body_net_schema = {
	.name = "NetworkInterfaceConfig",
	.fields = net_fields,
	.n_fields = ARRAY_LEN(net_fields),
};

const struct schema body_net_patch_schema = {
	.name = "NetworkInterfaceUpdateConfig",
	.fields = net_patch_fields,
	.n_fields = ARRAY_LEN(net_patch_fields),
};

#define AT(m) .at = offsetof(struct body_vsock, m)
static const struct field vsock_fields[] = {
	{"vsock_id", FIELD_STRING, FIELD_NULLABLE, AT(vsock_id)},
	{"guest_cid", FIELD_U32, FIELD_REQUIRED, AT(guest_cid)},
	{"uds_path", FIELD_STRING, FIELD_REQUIRED, AT(uds_path)},
	{"max_connections", FIELD_U32, NULLABLE | FIELD_ADDITIONAL,
	 AT(max_connections),
	 .given = offsetof(struct body_vsock, has_max_connections)},
};
#undef AT

const struct schema body_vsock_schema = {
	.name = "VsockDeviceConfig",
	.fields = vsock_fields,
	.n_fields = ARRAY_LEN(vsock_fields),
};

static int parse_ipv4(const struct text *s, void *to, struct err *e)
{
	struct in_addr addr;

	if (strlen(s->s) != s->len || inet_pton(AF_INET, s->s, &addr) != 1)
		return err_set(e, -EINVAL, "invalid IPv4 address syntax");
	*(uint32_t *)to = ntohl(addr.s_addr);
	return 0;
}

static const struct variant mmds_versions[] = {
	{"V1", MMDS_V1},
	{"V2", MMDS_V2},
	{0},
};

static const struct field mmds_item = {.kind = FIELD_STRING};

#define AT(m) .at = offsetof(struct body_mmds, m)
static const struct field mmds_fields[] = {
	{"version", FIELD_ENUM, 0, AT(version), .variants = mmds_versions},
	{"network_interfaces", FIELD_LIST, FIELD_REQUIRED,
	 AT(network_interfaces),
	 .list = {&mmds_item, sizeof(struct text),
		  offsetof(struct body_mmds, n_network_interfaces)}},
	{"ipv4_address", FIELD_PARSED, NULLABLE | FIELD_AT_VALUE,
	 AT(ipv4_address),
	 .given = offsetof(struct body_mmds, has_ipv4_address),
	 .parse = parse_ipv4},
	{"imds_compat", FIELD_BOOL, 0, AT(imds_compat)},
};
#undef AT

const struct schema body_mmds_schema = {
	.name = "MmdsConfig",
	.fields = mmds_fields,
	.n_fields = ARRAY_LEN(mmds_fields),
};
