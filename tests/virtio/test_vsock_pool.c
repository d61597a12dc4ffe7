/* SPDX-License-Identifier: Apache-2.0 */
/* Queues of bytes in chunks, against a plain array. */
#include "virtio/vsock_pool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"

#define CHUNKS 100
#define BUFS   4
#define BYTES  65536u

struct model {
	struct vsock_buf buf;
	uint8_t next_in, next_out; /* the bytes count up */
};

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* In two pieces. */
static bool add(struct vsock_pool *p, struct model *m, uint32_t n)
{
	static uint8_t data[BYTES];
	struct iovec iov[2] = {{data, n / 3}, {data + n / 3, n - n / 3}};

	for (uint32_t i = 0; i < n; i++)
		data[i] = m->next_in++;
	return vsock_buf_add(p, &m->buf, iov, 2);
}

static void drop(struct vsock_pool *p, struct model *m, uint32_t n)
{
	struct iovec iov[CHUNKS];
	uint32_t parts = vsock_buf_peek(p, &m->buf, iov, CHUNKS);
	uint32_t seen = 0;

	for (uint32_t i = 0; i < parts; seen += (uint32_t)iov[i++].iov_len) {
		const uint8_t *at = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len && seen + k < n; k++)
			assert_int_equal(at[k], m->next_out++);
	}
	assert_int_equal(seen, m->buf.bytes);
	vsock_buf_drop(p, &m->buf, n);
}

static void bytes_come_out_as_they_went_in(void **state)
{
	struct vsock_pool p = {0};
	struct model m[BUFS] = {0};
	uint32_t seed = 1;

	(void)state;
	assert_int_equal(vsock_pool_init(&p, CHUNKS * VSOCK_CHUNK_BYTES), 0);
	for (int i = 0; i < 20000; i++) {
		struct model *one = &m[next_random(&seed) % BUFS];
		uint32_t n = next_random(&seed) % 12000;

		if (next_random(&seed) % 4 == 0)
			n = n / VSOCK_CHUNK_BYTES * VSOCK_CHUNK_BYTES;
		if (next_random(&seed) % 2)
			assert_true(
				add(&p, one, MIN(n, BYTES - one->buf.bytes)));
		else
			drop(&p, one, MIN(n, one->buf.bytes));
	}
	for (int i = 0; i < BUFS; i++)
		drop(&p, &m[i], m[i].buf.bytes);
	assert_true(p.n_fresh <= BUFS * (BYTES / VSOCK_CHUNK_BYTES + 1));
	vsock_pool_exit(&p);
}

static void an_empty_pool_gives_nothing(void **state)
{
	struct vsock_pool p = {0};
	struct model m = {0}, other = {0};

	(void)state;
	assert_int_equal(vsock_pool_init(&p, 0), -EINVAL);
	assert_int_equal(vsock_pool_init(&p, 3 * VSOCK_CHUNK_BYTES), 0);
	assert_true(add(&p, &m, 2 * VSOCK_CHUNK_BYTES + 1));
	assert_false(add(&p, &other, 1));
	assert_true(add(&p, &m, VSOCK_CHUNK_BYTES - 1));
	assert_false(add(&p, &m, 1));
	drop(&p, &m, VSOCK_CHUNK_BYTES);
	assert_true(add(&p, &other, VSOCK_CHUNK_BYTES));
	vsock_pool_exit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_out_as_they_went_in),
		cmocka_unit_test(an_empty_pool_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
