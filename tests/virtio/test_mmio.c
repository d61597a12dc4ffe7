/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers against a model: every offset in every width, read and written
 * in every legal state, and every status value from every state.
 */
#include "tests/virtio/device_fixture.h"

#include "virtio/mmio.h"

#define WINDOW 0x1000

struct model {
	uint32_t status;
	uint32_t int_status;
	uint32_t features_sel;
	uint32_t driver_sel;
	uint32_t queue_sel;
	uint64_t acked;
	struct virtq_config queue[FAKE_QUEUES];
};

/* ---- the model ---- */

static uint32_t model_reg(const struct model *m, uint32_t reg)
{
	bool queue = m->queue_sel < FAKE_QUEUES;

	switch (reg) {
	case 0x00:
		return 0x74726976;
	case 0x04:
		return 2;
	case 0x08:
		return 42;
	case 0x10:
		if (m->features_sel == 0)
			return (uint32_t)ALL_FEATURES;
		return m->features_sel == 1 ? ALL_FEATURES >> 32 : 0;
	case 0x34:
		return queue ? 256 : 0;
	case 0x44:
		return queue && m->queue[m->queue_sel].ready;
	case 0x60:
		return m->int_status;
	case 0x70:
		return m->status;
	case 0xb0:
	case 0xb4:
	case 0xb8:
	case 0xbc:
		return UINT32_MAX;
	default:
		return 0;
	}
}

static void model_read(const struct model *m, uint32_t offset, uint8_t *to,
		       uint32_t len)
{
	uint32_t v;

	memset(to, 0, len);
	if (offset >= 0x100) {
		for (uint32_t i = 0; i < len; i++)
			if (offset + i < 0x100 + FAKE_CONFIG)
				to[i] = (uint8_t)(0xc0 + offset + i);
	} else if (len == 4 && offset % 4 == 0) {
		v = model_reg(m, offset);
		memcpy(to, &v, sizeof(v));
	}
}

static void model_status(struct model *m, uint32_t v)
{
	if (v == 0)
		*m = (struct model){0};
	else if (v & 128)
		m->status |= 128;
	else if ((m->status == 0 && v == 1) || (m->status == 1 && v == 3) ||
		 (m->status == 3 && v == 11 && (m->acked >> 32 & 1) &&
		  !(m->acked & ~ALL_FEATURES)) ||
		 (m->status == 11 && v == 15))
		m->status = v;
}

static void model_half(uint64_t *v, bool high, uint32_t half)
{
	if (high)
		*v = (*v & UINT32_MAX) | (uint64_t)half << 32;
	else
		*v = (*v >> 32 << 32) | half;
}

static void model_queue(struct model *m, uint32_t reg, uint32_t v)
{
	struct virtq_config *q = &m->queue[m->queue_sel];

	if (m->queue_sel >= FAKE_QUEUES || m->status != 11)
		return;
	if (reg == 0x38)
		q->size = v;
	else if (reg == 0x44)
		q->ready = v == 1;
	else if (reg == 0x80 || reg == 0x84)
		model_half(&q->desc_gpa, reg == 0x84, v);
	else if (reg == 0x90 || reg == 0x94)
		model_half(&q->avail_gpa, reg == 0x94, v);
	else if (reg == 0xa0 || reg == 0xa4)
		model_half(&q->used_gpa, reg == 0xa4, v);
}

static void model_write(struct model *m, uint32_t reg, uint32_t v)
{
	if (reg == 0x14)
		m->features_sel = v;
	else if (reg == 0x24)
		m->driver_sel = v;
	else if (reg == 0x30)
		m->queue_sel = v;
	else if (reg == 0x64)
		m->int_status &= ~v;
	else if (reg == 0x70)
		model_status(m, v);
	else if (reg == 0x20 && m->status == 3 && m->driver_sel < 2)
		model_half(&m->acked, m->driver_sel == 1, v);
	else
		model_queue(m, reg, v);
}

/* ---- comparison ---- */

static void check_state(struct fixture *f, const struct model *m,
			uint32_t offset, uint32_t len)
{
	const struct virtio_dev *d = &f->fake.dev;
	bool ok = d->status == m->status && d->int_status == m->int_status &&
		  d->features_sel == m->features_sel &&
		  d->driver_features_sel == m->driver_sel &&
		  d->queue_sel == m->queue_sel && d->acked == m->acked &&
		  d->features == ALL_FEATURES;

	for (unsigned int i = 0; i < FAKE_QUEUES; i++) {
		const struct virtq_config *a = &d->queue[i].cfg;
		const struct virtq_config *b = &m->queue[i];

		ok = ok && a->size == b->size && a->ready == b->ready &&
		     a->desc_gpa == b->desc_gpa &&
		     a->avail_gpa == b->avail_gpa && a->used_gpa == b->used_gpa;
	}
	if (ok)
		return;
	print_error("offset %#x, length %u: status %u, not %u\n", offset, len,
		    d->status, m->status);
	fail();
}

static void both(struct fixture *f, struct model *m, uint32_t reg, uint32_t v)
{
	reg_write(&f->drv, reg, v);
	model_write(m, reg, v);
}

/* From reset to a state of 0, 1, 3, 11, 15, with a queue set up after 11. */
static void go_to(struct fixture *f, struct model *m, uint32_t state,
		  uint64_t features)
{
	f->fake.dev.int_status = 0;
	m->int_status = 0;
	both(f, m, 0x70, 0);
	if (state >= 1)
		both(f, m, 0x70, 1);
	if (state >= 3)
		both(f, m, 0x70, 3);
	for (uint32_t i = 0; state >= 3 && i < 2; i++) {
		both(f, m, 0x24, i);
		both(f, m, 0x20, (uint32_t)(features >> (32 * i)));
	}
	if (state >= 11) {
		both(f, m, 0x70, 11);
		both(f, m, 0x38, 4);
		both(f, m, 0x90, AVAIL_GPA);
		both(f, m, 0xa0, USED_GPA);
		both(f, m, 0x44, 1);
	}
	if (state >= 15)
		both(f, m, 0x70, 15);
	check_state(f, m, 0x70, 4);
	assert_int_equal(m->status, state);
}

/* ---- tests ---- */

static void reads_match_the_model(void **state)
{
	static const uint32_t states[] = {0, 1, 3, 11, 15};
	struct fixture *f = *state;
	struct model m = {0};
	uint8_t want[8], got[8];

	for (size_t i = 0; i < ARRAY_LEN(states) * 4; i++) {
		go_to(f, &m, states[i / 4], ALL_FEATURES);
		both(f, &m, 0x14, (uint32_t)(i % 4));
		both(f, &m, 0x30, i % 4 == 3 ? UINT32_MAX : (uint32_t)(i % 4));
		f->fake.dev.int_status = (uint32_t)(i % 4);
		m.int_status = (uint32_t)(i % 4);
		for (uint32_t len = 1; len <= 8; len++) {
			for (uint32_t at = 0; at + len <= WINDOW; at++) {
				model_read(&m, at, want, len);
				memset(got, 0xaa, sizeof(got));
				f->fake.dev.bus.ops->read(&f->fake.dev.bus,
							  NULL, at, got, len);
				if (memcmp(want, got, len) != 0) {
					print_error("%#x, %u bytes\n", at, len);
					fail();
				}
			}
		}
		check_state(f, &m, 0, 0);
	}
}

static void writes_match_the_model(void **state)
{
	static const uint32_t states[] = {0, 1, 3, 11, 15};
	static const uint64_t values[] = {0, 1, 2, 0x100, UINT64_MAX};
	struct fixture *f = *state;
	struct model m = {0};

	for (size_t i = 0; i < ARRAY_LEN(states) * ARRAY_LEN(values); i++) {
		uint64_t v = values[i % ARRAY_LEN(values)];

		for (uint32_t len = 1; len <= 8; len++) {
			for (uint32_t at = 0; at + len <= WINDOW; at++) {
				if (at < 0x100)
					go_to(f, &m,
					      states[i / ARRAY_LEN(values)],
					      ALL_FEATURES);
				f->fake.dev.bus.ops->write(&f->fake.dev.bus,
							   NULL, at, &v, len);
				if (len == 4 && at % 4 == 0 && at < 0x100)
					model_write(&m, at, (uint32_t)v);
				check_state(f, &m, at, len);
			}
		}
	}
}

static void selectors_are_checked(void **state)
{
	static const uint32_t sel[] = {
		FAKE_QUEUES - 1, FAKE_QUEUES, 3,	  0xff,
		0xffff,		 0x80000000,  UINT32_MAX,
	};
	static const uint32_t reg[] = {0x20, 0x38, 0x44, 0x50, 0x80,
				       0x84, 0x90, 0x94, 0xa0, 0xa4};
	struct fixture *f = *state;
	struct model m = {0};

	for (size_t i = 0; i < ARRAY_LEN(sel); i++) {
		go_to(f, &m, i % 2 ? 11 : 3, ALL_FEATURES);
		both(f, &m, 0x14, sel[i]);
		both(f, &m, 0x24, sel[i]);
		both(f, &m, 0x30, sel[i]);
		reg_write(&f->drv, 0xac, sel[i]); /* SHMSel */
		assert_int_equal(reg_read(&f->drv, 0xb0), UINT32_MAX);
		assert_int_equal(reg_read(&f->drv, 0x34),
				 sel[i] < FAKE_QUEUES ? 256 : 0);
		for (size_t k = 0; k < ARRAY_LEN(reg); k++) {
			both(f, &m, reg[k], sel[i]);
			check_state(f, &m, reg[k], 4);
		}
	}
}

/* Bring device and model to a state that the five do not reach. */
static void to_any(struct fixture *f, struct model *m, uint32_t state)
{
	go_to(f, m, state & 15, ALL_FEATURES);
	if (state & 64) {
		virtio_needs_reset(&f->fake.dev, "a test wants it");
		m->status |= 64;
		m->int_status = m->status & 4 ? 2 : 0;
	}
	if (state & 128)
		both(f, m, 0x70, 128);
}

static void every_status_from_every_state(void **state)
{
	static const uint32_t legal[] = {0, 1, 3, 11, 15};
	static const uint32_t more[] = {0x100, 0x10f, 0x80000000, UINT32_MAX};
	struct fixture *f = *state;
	struct model m = {0};

	for (size_t i = 0; i < ARRAY_LEN(legal) * 4; i++) {
		uint32_t from = legal[i / 4] | (uint32_t)(i % 4) << 6;

		for (uint32_t v = 0; v < 256 + ARRAY_LEN(more); v++) {
			to_any(f, &m, from);
			both(f, &m, 0x70, v < 256 ? v : more[v - 256]);
			check_state(f, &m, 0x70, 4);
			assert_int_equal(reg_read(&f->drv, 0x70), m.status);
		}
	}
}

static void features_are_negotiated(void **state)
{
	struct fixture *f = *state;
	struct model m = {0};

	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t one = (uint64_t)1 << bit;
		bool offered = ALL_FEATURES & one;

		go_to(f, &m, 3, VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | one);
		both(f, &m, 0x70, 11);
		check_state(f, &m, 0x70, 4);
		assert_int_equal(reg_read(&f->drv, 0x70), offered ? 11 : 3);
		/* Refused: the driver may try again with fewer. */
		if (!offered) {
			write_features(&f->drv, ALL_FEATURES);
			reg_write(&f->drv, 0x70, 11);
			assert_int_equal(reg_read(&f->drv, 0x70), 11);
		}
		m.status = f->fake.dev.status;
	}
	go_to(f, &m, 3, ALL_FEATURES & UINT32_MAX);
	reg_write(&f->drv, 0x70, 11);
	assert_int_equal(reg_read(&f->drv, 0x70), 3);
}

static void queues_stay_as_they_were_activated(void **state)
{
	static const uint32_t reg[] = {0x38, 0x44, 0x80, 0x84,
				       0x90, 0x94, 0xa0, 0xa4};
	struct fixture *f = *state;
	struct virtq before;

	bring_up(&f->drv, ALL_FEATURES);
	before = f->fake.dev.queue[0];
	for (size_t i = 0; i < ARRAY_LEN(reg); i++)
		reg_write(&f->drv, reg[i], 0xffffffff);
	assert_memory_equal(&before, &f->fake.dev.queue[0], sizeof(before));
	assert_true(before.event_idx && before.indirect);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_match_the_model),
		TEST(writes_match_the_model),
		TEST(selectors_are_checked),
		TEST(every_status_from_every_state),
		TEST(features_are_negotiated),
		TEST(queues_stay_as_they_were_activated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
