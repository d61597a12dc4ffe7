/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections that are longer or shorter than they should be, with right
 * checksums, and a KVM that fails: each is a refusal, and the next load works.
 */
#include "tests/snapshot/sweep.h"

/* The file with other contents for section i; free() it. */
static uint8_t *pack_with(const struct fixture *f, uint32_t i,
			  const uint8_t *data, uint32_t bytes, size_t *len)
{
	const struct state_file *old = &f->s.file;
	struct state_file new;
	uint8_t *packed;
	struct err e;

	assert_int_equal(state_new(&new, &e), 0);
	memcpy(new.id, old->id, sizeof(new.id));
	new.mem_bytes = old->mem_bytes;
	for (uint32_t k = 0; k < old->n_sections; k++) {
		const struct state_section *s = &old->section[k];
		struct archive a =
			state_begin(&new, s->tag, s->index, s->flags);

		archive_bytes(&a,
			      k == i ? (void *)(uintptr_t)data
				     : f->s.data + s->offset,
			      k == i ? bytes : s->bytes);
		state_end(&new, &a);
	}
	packed = state_pack(&new, len, &e);
	assert_non_null(packed);
	state_exit(&new);
	return packed;
}

/* Section i with `bytes` bytes, whatever it had: cut, or zeros behind it. */
static void resize_section(struct fixture *f, uint32_t i, uint32_t bytes)
{
	const struct state_section *s = &f->s.file.section[i];
	uint8_t *copy = calloc(1, bytes + 1), *packed;
	size_t len;

	assert_non_null(copy);
	memcpy(copy, f->s.data + s->offset, MIN(bytes, s->bytes));
	packed = pack_with(f, i, copy, bytes, &len);
	try_load(f, packed, len, false);
	free(packed);
	free(copy);
}

/* More than there is room for, with all the bytes that it says are there. */
static void too_much_extended_state_is_refused(void **state)
{
	const uint32_t bytes = STATE_XSAVE_BYTES + 64;
	struct fixture *f = *state;
	uint32_t i = 0, head;
	uint8_t *copy, *packed;
	size_t len;

	while (f->s.file.section[i].tag != TAG_VCPU)
		i++;
	head = f->s.file.section[i].bytes - FAKE_XSAVE_BYTES;
	copy = calloc(1, head + bytes);
	assert_non_null(copy);
	memcpy(copy, f->s.data + f->s.file.section[i].offset, head);
	put_le(copy + head - 4, bytes, 4);
	packed = pack_with(f, i, copy, head + bytes, &len);
	must_refuse(f, packed, len);
	free(packed);
	free(copy);
}

static void sections_of_another_length_are_refused(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < f->s.file.n_sections; i++) {
		const struct state_section *s = &f->s.file.section[i];
		size_t step = f->all || s->bytes < 200 ? 1 : OPAQUE_STEP;

		f->taken = 0;
		for (uint32_t n = 0; n < s->bytes; n += (uint32_t)step)
			resize_section(f, i, n);
		resize_section(f, i, s->bytes + 1);
		if (s->tag != TAG_CONFIG && (s->flags & STATE_REQUIRED))
			assert_int_equal(f->taken, 0);
	}
}

/* ---- a KVM that fails ---- */

static void failure_of_any_call_is_a_refusal(void **state)
{
	struct fixture *f = *state;
	unsigned int before = descriptors();
	struct err e = {0};
	bool failed;

	do {
		fake_kvm.fail++;
		fake_kvm.calls = 0;
		fake_kvm.failed = false;
		if (load(f, f->s.data, f->len, false, &e) == 0)
			f->taken++;
		failed = fake_kvm.failed;
		assert_int_equal(descriptors(), before);
	} while (failed);
	assert_true(fake_kvm.fail > 50);
	/* The last one, and what a guest can do without. */
	assert_true(f->taken <= 1 + 2 * N_VCPUS);
	fake_kvm.fail = 0;
	assert_int_equal(load(f, f->s.data, f->len, true, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(too_much_extended_state_is_refused),
		TEST(sections_of_another_length_are_refused),
		TEST(failure_of_any_call_is_a_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
