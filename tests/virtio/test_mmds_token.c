/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/token.h"

static struct mmds m;
static uint64_t now;

static uint64_t test_now(void)
{
	return now;
}

static int setup(void **state)
{
	struct err e;

	(void)state;
	mmds_init(&m, 100);
	m.now = test_now;
	now = 1000 * NS_PER_S;
	return mmds_token_key(&m, &e);
}

static bool valid(const char *text)
{
	return mmds_token_valid(&m, text, strlen(text));
}

static void token_is_valid_until_it_expires(void **state)
{
	char text[MMDS_TOKEN_BYTES + 1];

	(void)state;
	mmds_token_new(&m, 1, text);
	assert_int_equal(strlen(text), MMDS_TOKEN_BYTES);
	assert_true(valid(text));
	assert_true(valid(text)); /* as often as one likes */
	now += NS_PER_S - 1;
	assert_true(valid(text));
	now++;
	assert_false(valid(text));
	mmds_token_new(&m, MMDS_TOKEN_TTL_S_MAX, text);
	now += MMDS_TOKEN_TTL_S_MAX * NS_PER_S - 1;
	assert_true(valid(text));
	now++;
	assert_false(valid(text));
}

static void token_with_any_bit_changed_is_refused(void **state)
{
	char text[MMDS_TOKEN_BYTES + 1];

	(void)state;
	mmds_token_new(&m, 60, text);
	for (size_t i = 0; i < MMDS_TOKEN_BYTES; i++) {
		for (int bit = 0; bit < 8; bit++) {
			text[i] = (char)(text[i] ^ (1 << bit));
			assert_false(
				mmds_token_valid(&m, text, MMDS_TOKEN_BYTES));
			text[i] = (char)(text[i] ^ (1 << bit));
		}
	}
	assert_true(valid(text));
}

static void token_of_wrong_length_is_refused(void **state)
{
	char text[MMDS_TOKEN_BYTES + 1], longer[MMDS_TOKEN_BYTES + 5];

	(void)state;
	mmds_token_new(&m, 60, text);
	for (size_t i = 0; i < MMDS_TOKEN_BYTES; i++)
		assert_false(mmds_token_valid(&m, text, i));
	memcpy(longer, text, sizeof(text));
	memcpy(longer + MMDS_TOKEN_BYTES, "AAAA", 5);
	assert_false(valid(longer));
	assert_false(valid(""));
	assert_false(valid("INVALID_TOKEN"));
}

static void tokens_differ(void **state)
{
	char a[MMDS_TOKEN_BYTES + 1], b[MMDS_TOKEN_BYTES + 1];

	(void)state;
	mmds_token_new(&m, 60, a);
	mmds_token_new(&m, 60, b);
	assert_string_not_equal(a, b);
	assert_true(valid(a) && valid(b));
	assert_int_not_equal(mmds_token_random(&m), mmds_token_random(&m));
}

static void token_of_another_process_is_refused(void **state)
{
	char text[MMDS_TOKEN_BYTES + 1];
	struct err e;

	(void)state;
	mmds_token_new(&m, 60, text);
	assert_int_equal(mmds_token_key(&m, &e), 0); /* there is one */
	assert_true(valid(text));
	mmds_exit(&m);
	setup(NULL);
	assert_false(valid(text));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		TEST(token_is_valid_until_it_expires),
		TEST(token_with_any_bit_changed_is_refused),
		TEST(token_of_wrong_length_is_refused),
		TEST(tokens_differ),
		TEST(token_of_another_process_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
