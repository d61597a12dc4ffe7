/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libsodium is not initialised: the functions used here neither draw random
 * numbers nor choose between implementations.
 */
#include "virtio/mmds/token.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/err.h"
#include "virtio/mmds/mmds.h"

struct token {
	uint64_t expiry_ns;
	uint64_t serial;
	uint8_t mac[crypto_auth_BYTES];
};

#define VARIANT	      sodium_base64_VARIANT_ORIGINAL
#define SIGNED_BYTES  offsetof(struct token, mac)
#define ENCODED_BYTES sodium_base64_ENCODED_LEN(sizeof(struct token), VARIANT)

_Static_assert(ENCODED_BYTES == MMDS_TOKEN_BYTES + 1, "no padding");
_Static_assert(sizeof(((struct mmds *)0)->key) == crypto_auth_KEYBYTES, "key");

int mmds_token_key(struct mmds *m, struct err *e)
{
	if (m->has_key)
		return 0;
	if (getrandom(m->key, sizeof(m->key), 0) != (ssize_t)sizeof(m->key))
		return err_sys(e, "Failed to generate a key");
	m->has_key = true;
	return 0;
}

void mmds_token_new(struct mmds *m, uint32_t ttl_s,
		    char text[MMDS_TOKEN_BYTES + 1])
{
	struct token t = {.expiry_ns = m->now() + ttl_s * NS_PER_S,
			  .serial = m->serial++};

	(void)crypto_auth(t.mac, (const uint8_t *)&t, SIGNED_BYTES, m->key);
	(void)sodium_bin2base64(text, ENCODED_BYTES, (const uint8_t *)&t,
				sizeof(t), VARIANT);
}

/* libsodium 1.0.18 takes some letters with the highest bit set for others. */
static bool is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] & 0x80)
			return false;
	}
	return true;
}

bool mmds_token_valid(const struct mmds *m, const char *text, size_t len)
{
	struct token t;
	size_t n;

	return is_ascii(text, len) &&
	       sodium_base642bin((uint8_t *)&t, sizeof(t), text, len, NULL, &n,
				 NULL, VARIANT) == 0 &&
	       n == sizeof(t) &&
	       crypto_auth_verify(t.mac, (const uint8_t *)&t, SIGNED_BYTES,
				  m->key) == 0 &&
	       t.expiry_ns > m->now();
}

/* What is signed here is shorter than what tokens sign. */
uint32_t mmds_token_random(struct mmds *m)
{
	const uint64_t serial = m->serial++;
	uint8_t mac[crypto_auth_BYTES];
	uint32_t number;

	(void)crypto_auth(mac, (const uint8_t *)&serial, sizeof(serial),
			  m->key);
	memcpy(&number, mac, sizeof(number));
	return number;
}
