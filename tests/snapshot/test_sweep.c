/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every way in which a state file can be wrong, restored onto a stand-in for
 * KVM in one process: a cut or changed file reaches nothing, one whose
 * checksums were made right again is refused or taken, and then harms nobody.
 *
 * MAYFLY_SOAK=1: every byte of the registers, too, which are KVM's to check.
 */
#include "tests/snapshot/sweep.h"

#include "base/crc32c.h"

#define HEADER_BYTES 64
#define ENTRY_BYTES  24
#define HEADER_CRC   48

static void whole_file_is_taken(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	unsigned int before = descriptors();

	if (load(f, f->s.data, f->len, true, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(descriptors(), before);
}

static void every_truncation_is_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->len; len++) {
		/* Of its own length, so that what is read beyond is seen. */
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, f->s.data, len);
		must_refuse(f, copy, len);
		free(copy);
	}
	memcpy(f->work, f->s.data, f->len);
	f->work[f->len] = 0;
	must_refuse(f, f->work, f->len + 1);
}

static void every_flipped_bit_is_refused(void **state)
{
	struct fixture *f = *state;

	memcpy(f->work, f->s.data, f->len);
	for (size_t bit = 0; bit < f->len * 8; bit++) {
		f->work[bit / 8] ^= (uint8_t)(1 << bit % 8);
		must_refuse(f, f->work, f->len);
		f->work[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* ---- checksums made right again ---- */

static uint64_t get_le(const uint8_t *p, size_t width)
{
	uint64_t v = 0;

	for (size_t i = 0; i < width; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

/* Of the header and of the table of n entries. */
static void repair_header(uint8_t *p, uint32_t n)
{
	put_le(p + HEADER_CRC, 0, 4);
	put_le(p + HEADER_CRC,
	       crc32c(0, p, HEADER_BYTES + n * (size_t)ENTRY_BYTES), 4);
}

static void repair_section(struct fixture *f, uint32_t i)
{
	const struct state_section *s = &f->s.file.section[i];

	put_le(f->work + HEADER_BYTES + i * (size_t)ENTRY_BYTES + 12,
	       crc32c(0, f->work + s->offset, s->bytes), 4);
	repair_header(f->work, f->s.file.n_sections);
}

/* Values at which fields of width bytes go wrong; their number. */
static size_t edges(bool all, uint64_t old, size_t width, uint64_t *v)
{
	const uint64_t max = UINT64_MAX >> (64 - 8 * width);
	const uint64_t values[] = {
		0, max,	    max / 2 + 1, (old + 1) & max, (old - 1) & max,
		1, max / 2, max - 1};
	size_t most = all ? ARRAY_LEN(values) : 4, n = 0;

	for (size_t i = 0; i < most; i++) {
		if (values[i] != old)
			v[n++] = values[i];
	}
	return n;
}

/* Every edge of a field at `at` of the file, in section i. */
static void sweep_field(struct fixture *f, uint32_t i, size_t at, size_t width,
			bool resume)
{
	uint64_t v[8];
	size_t n = edges(f->all, get_le(f->s.data + at, width), width, v);

	for (size_t k = 0; k < n; k++) {
		put_le(f->work + at, v[k], width);
		repair_section(f, i);
		try_load(f, f->work, f->len, resume);
	}
	memcpy(f->work, f->s.data, f->len);
}

static bool of_devices(const struct state_section *s)
{
	return s->tag != TAG_CPUID && s->tag != TAG_VCPU && s->tag != TAG_CHIPS;
}

/*
 * What registers hold is handed to KVM as it is: there a sample does, and what
 * is not zero in the first of each, among that how many of them there are.
 */
static bool in_sample(const struct fixture *f, const struct state_section *s,
		      size_t at)
{
	return of_devices(s) || at % OPAQUE_STEP == 0 ||
	       (s->index == 0 && f->s.data[s->offset + at]);
}

/* Every byte as the start of a field of each width. */
static void sweep_section(struct fixture *f, uint32_t i)
{
	const struct state_section *s = &f->s.file.section[i];
	bool devices = of_devices(s);

	for (size_t at = 0; at < s->bytes; at++) {
		if (!f->all && !in_sample(f, s, at))
			continue;
		for (size_t width = 1; width <= 8; width *= 2) {
			/* A sample: all bytes, some of the wider fields. */
			if (!f->all && width > 1 && (width < 8 || at % 4))
				continue;
			if (at + width <= s->bytes)
				sweep_field(f, i, s->offset + at, width,
					    devices);
		}
	}
}

static void fields_with_right_checksums_harm_nobody(void **state)
{
	struct fixture *f = *state;
	unsigned int before = descriptors();

	memcpy(f->work, f->s.data, f->len);
	for (uint32_t i = 0; i < f->s.file.n_sections; i++)
		sweep_section(f, i);
	print_message("%zu bytes; %lu files taken, %lu refused\n", f->len,
		      f->taken, f->refused);
	assert_true(f->taken > 0 && f->refused > 0);
	assert_int_equal(descriptors(), before);
	assert_true(load(f, f->s.data, f->len, true, &(struct err){0}) == 0);
}

static void header_with_right_checksum_harms_nobody(void **state)
{
	struct fixture *f = *state;
	const uint32_t n = f->s.file.n_sections;
	const size_t end = HEADER_BYTES + n * (size_t)ENTRY_BYTES;
	uint64_t v[8];

	memcpy(f->work, f->s.data, f->len);
	for (size_t at = 8; at < end; at++) {
		for (size_t width = 1; width <= 8 && at + width <= end;
		     width *= 2) {
			size_t k = edges(f->all, get_le(f->s.data + at, width),
					 width, v);

			while (k-- > 0) {
				put_le(f->work + at, v[k], width);
				repair_header(f->work, n);
				try_load(f, f->work, f->len, false);
			}
			memcpy(f->work, f->s.data, f->len);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whole_file_is_taken),
		TEST(every_truncation_is_refused),
		TEST(every_flipped_bit_is_refused),
		TEST(fields_with_right_checksums_harm_nobody),
		TEST(header_with_right_checksum_harms_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
