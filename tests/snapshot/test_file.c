/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/file.h"

#define TAG_ONE	  STATE_TAG('O', 'N', 'E', ' ')
#define TAG_TWO	  STATE_TAG('T', 'W', 'O', ' ')
#define CRC_AT	  48
#define TABLE_AT  64
#define ENTRY	  24
#define ARCH_AT	  52
#define MAJOR_AT  8
#define N_AT	  12
#define LENGTH_AT 16

struct packed {
	uint8_t *data;
	size_t len;
};

static void put(struct state_file *f, uint32_t tag, uint32_t index,
		uint32_t value, uint32_t flags)
{
	struct archive a = state_begin(f, tag, index, flags);

	archive_u32(&a, &value);
	state_end(f, &a);
}

/* Three sections: ONE 0, ONE 1 and an optional TWO. */
static int setup(void **state)
{
	struct packed *p = calloc(1, sizeof(*p));
	struct state_file f;
	struct err e = {0};

	assert_non_null(p);
	assert_int_equal(state_new(&f, &e), 0);
	f.mem_bytes = 0x1234000;
	memset(f.id, 0xab, sizeof(f.id));
	put(&f, TAG_ONE, 0, 100, STATE_REQUIRED);
	put(&f, TAG_ONE, 1, 101, STATE_REQUIRED);
	put(&f, TAG_TWO, 0, 200, 0);
	p->data = state_pack(&f, &p->len, &e);
	assert_non_null(p->data);
	state_exit(&f);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct packed *p = *state;

	free(p->data);
	free(p);
	return 0;
}

static int parse(const struct packed *p, struct state_file *f)
{
	struct err e = {0};
	int ret = state_parse(f, p->data, p->len, &e);

	assert_true((ret < 0) == (e.text[0] != '\0'));
	return ret;
}

/* Make the header's checksum right again. */
static void repair(struct packed *p, size_t sections)
{
	uint32_t crc;

	memset(p->data + CRC_AT, 0, sizeof(crc));
	crc = crc32c(0, p->data, TABLE_AT + sections * ENTRY);
	memcpy(p->data + CRC_AT, &crc, sizeof(crc));
}

static void reads_what_was_written(void **state)
{
	struct packed *p = *state;
	struct state_file f;
	struct archive a;
	uint32_t v = 0;

	assert_int_equal(parse(p, &f), 0);
	assert_int_equal(f.mem_bytes, 0x1234000);
	assert_int_equal(f.id[15], 0xab);
	a = state_find(&f, TAG_ONE, 1);
	archive_u32(&a, &v);
	assert_true(archive_ok(&a));
	assert_int_equal(v, 101);
	a = state_find(&f, TAG_TWO, 0);
	archive_u32(&a, &v);
	assert_int_equal(v, 200);
}

static void section_that_is_absent_fails(void **state)
{
	struct state_file f;
	struct archive a;

	assert_int_equal(parse(*state, &f), 0);
	a = state_find(&f, TAG_TWO, 1);
	assert_false(archive_ok(&a));
}

static void every_truncation_is_refused(void **state)
{
	struct packed *p = *state;
	size_t len = p->len;

	for (p->len = 0; p->len < len; p->len++) {
		/* A copy, so that the sanitizer sees reads behind its end. */
		struct packed cut = {malloc(p->len ? p->len : 1), p->len};
		struct state_file f;

		memcpy(cut.data, p->data, cut.len);
		assert_int_not_equal(parse(&cut, &f), 0);
		free(cut.data);
	}
}

static void every_bit_flip_is_refused(void **state)
{
	struct packed *p = *state;
	struct state_file f;

	for (size_t bit = 0; bit < p->len * 8; bit++) {
		p->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(parse(p, &f), 0);
		p->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(parse(p, &f), 0);
}

static void fields_with_right_checksums_are_checked(void **state)
{
	static const uint32_t values[] = {
		0, 1, 2, 4, 127, 128, 129, 0x7fffffff, 0x80000000, 0xffffffff};
	struct packed *p = *state;
	uint8_t *old = malloc(p->len);
	struct state_file f;

	memcpy(old, p->data, p->len);
	/* Numbers of sections, lengths, offsets; tag, index and flags are free.
	 */
	for (size_t at = N_AT; at < TABLE_AT + 3 * ENTRY; at += 4) {
		size_t field = at < TABLE_AT ? at : (at - TABLE_AT) % ENTRY;
		bool checked = at < TABLE_AT ? at < LENGTH_AT + 8 : field >= 12;

		for (size_t i = 0; checked && i < ARRAY_LEN(values); i++) {
			memcpy(p->data + at, &values[i], 4);
			repair(p, 3);
			if (memcmp(p->data, old, p->len) != 0)
				assert_int_not_equal(parse(p, &f), 0);
			memcpy(p->data, old, p->len);
		}
	}
	free(old);
}

static void another_major_version_is_refused(void **state)
{
	struct packed *p = *state;
	struct state_file f;

	p->data[MAJOR_AT]++;
	repair(p, 3);
	assert_int_equal(parse(p, &f), -ENOTSUP);
}

static void another_architecture_is_refused_with_both(void **state)
{
	struct packed *p = *state;
	struct state_file f;
	struct err e = {0};

	p->data[ARCH_AT] = 183;
	repair(p, 3);
	assert_int_equal(state_parse(&f, p->data, p->len, &e), -ENOTSUP);
	assert_string_equal(e.text, "Magic value does not match arch: 183, "
				    "this program reads 62");
}

static void newer_minor_version_is_read(void **state)
{
	struct packed *p = *state;
	struct state_file f;

	p->data[MAJOR_AT + 2] = 9;
	repair(p, 3);
	assert_int_equal(parse(p, &f), 0);
	assert_int_equal(f.minor, 9);
}

static void section_there_twice_is_refused(void **state)
{
	struct packed *p = *state;
	struct state_file f;

	p->data[TABLE_AT + ENTRY + 4] = 0; /* ONE 1 becomes ONE 0 */
	repair(p, 3);
	assert_int_equal(parse(p, &f), -EBADMSG);
}

static void unknown_sections_are_skipped_unless_required(void **state)
{
	static const uint32_t one = TAG_ONE, two = TAG_TWO;
	struct state_file f;
	struct err e = {0};

	assert_int_equal(parse(*state, &f), 0);
	assert_int_equal(state_check_known(&f, &one, 1, &e), 0);
	assert_int_equal(state_check_known(&f, &two, 1, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "'ONE '"));
}

static void too_much_state_is_an_error(void **state)
{
	struct state_file f;
	struct err e = {0};
	size_t len;

	(void)state;
	assert_int_equal(state_new(&f, &e), 0);
	for (uint32_t i = 0; i <= STATE_MAX_SECTIONS; i++)
		put(&f, TAG_ONE, i, i, 0);
	assert_null(state_pack(&f, &len, &e));
	assert_int_equal(e.code, -EFBIG);
	state_exit(&f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_what_was_written),
		TEST(section_that_is_absent_fails),
		TEST(every_truncation_is_refused),
		TEST(every_bit_flip_is_refused),
		TEST(fields_with_right_checksums_are_checked),
		TEST(another_major_version_is_refused),
		TEST(another_architecture_is_refused_with_both),
		TEST(newer_minor_version_is_read),
		TEST(section_there_twice_is_refused),
		TEST(unknown_sections_are_skipped_unless_required),
		TEST(too_much_state_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
