/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that rewrites what it sends while the device looks at it: whatever is
 * read is read once, and what was checked is what is used. Nothing but the
 * guest's connection suffers, and no byte reaches the host that is not of one
 * of the payloads.
 */
#include <pthread.h>

#include "tests/virtio/vsock_fixture.h"
#include "tests/virtio/watched_page.h"

#define PAYLOAD	   2000u
#define SEEN	   2 /* connections that a wrong value has to end */
#define FIRST_GPA  TX_GPA
#define SECOND_GPA (TX_GPA + 0x10000)
#define POISON_GPA (TX_GPA + 0x20000)

/* Headers are no atomics: the race is the test. */
#ifdef __SANITIZE_THREAD__
#define RACES_ARE_SEEN true
#else
#define RACES_ARE_SEEN false
#endif

/* Packets that the device takes meanwhile. */
static uint32_t packets(void)
{
	return getenv("MAYFLY_SOAK") ? 3000000 : 10000;
}

struct flipper {
	struct fixture *f;
	void (*flip)(struct fixture *f, uint32_t i);
	pthread_t thread;
	bool stop; /* atomic */
};

static void *flip_on(void *arg)
{
	struct flipper *fl = arg;

	for (uint32_t i = 0; !__atomic_load_n(&fl->stop, __ATOMIC_RELAXED); i++)
		fl->flip(fl->f, i);
	return NULL;
}

/* A packet of data at gpa whose bytes are all `byte`. */
static void put_packet(struct fixture *f, uint64_t gpa, const struct peer *p,
		       uint8_t byte)
{
	struct vsock_hdr h = header(p, VSOCK_RW, PAYLOAD);
	uint8_t data[PAYLOAD];

	memset(data, byte, sizeof(data));
	assert_int_equal(gmem_write(&f->vm->mem, gpa, &h, sizeof(h)), 0);
	assert_int_equal(
		gmem_write(&f->vm->mem, gpa + sizeof(h), data, sizeof(data)),
		0);
}

/* Whoever walks past the end of a later chain finds what is left of this one.
 */
static void send_poison(struct fixture *f, const struct peer *p)
{
	struct vsock_hdr h = header(p, VSOCK_CREDIT_UPDATE, 0);

	assert_int_equal(gmem_write(&f->vm->mem, FIRST_GPA, &h, sizeof(h)), 0);
	desc(&f->q[TX], 0, FIRST_GPA, sizeof(h), DESC_NEXT, 1);
	for (uint16_t i = 1; i < 6; i++)
		desc(&f->q[TX], i, POISON_GPA, 60000, i < 5 ? DESC_NEXT : 0,
		     (uint16_t)(i + 1));
	offer(&f->q[TX], 0);
	kick_queue(f, TX);
	until(f, used_waits(&f->q[TX]));
	collect_tx(f);
}

/* ---- descriptors ---- */

/* Each alone is right but for the last two, which are seldom. */
static void flip_descriptor(struct fixture *f, uint32_t i)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags, next;
	} kinds[] = {
		{FIRST_GPA, 44 + PAYLOAD, 0, 0},
		{SECOND_GPA, 44 + PAYLOAD, 0, 0},
		{FIRST_GPA, 44, DESC_NEXT, 1},
		{FIRST_GPA, 43, 0, 0},
		{SECOND_GPA, 44 + PAYLOAD, DESC_NEXT, 1},
		{SECOND_GPA, 44, 0, 0},
		{FIRST_GPA, UINT32_MAX, 0, 0},
		{FIRST_GPA, 44, DESC_NEXT, 0xffff},
	};
	uint32_t k = i % 4096 ? i % 6 : i / 4096 % 8;

	desc(&f->q[TX], 0, kinds[k].gpa, kinds[k].len, kinds[k].flags,
	     kinds[k].next);
}

/* ---- headers ---- */

/* Now and then a field has another value for a moment. */
static void flip_header(struct fixture *f, uint32_t i)
{
	static const struct {
		size_t at;
		uint32_t value;
	} kinds[] = {
		{offsetof(struct vsock_hdr, len), 1},
		{offsetof(struct vsock_hdr, len), PAYLOAD + 1},
		{offsetof(struct vsock_hdr, len), UINT32_MAX},
		{offsetof(struct vsock_hdr, src_cid), CID + 1},
		{offsetof(struct vsock_hdr, dst_port), 7},
		{offsetof(struct vsock_hdr, type), 2 | VSOCK_RW << 16},
		{offsetof(struct vsock_hdr, type), 1 | VSOCK_REQUEST << 16},
		{offsetof(struct vsock_hdr, type), 1 | VSOCK_SHUTDOWN << 16},
		{offsetof(struct vsock_hdr, flags), VSOCK_SHUT_BOTH},
		{offsetof(struct vsock_hdr, buf_alloc), 0},
		{offsetof(struct vsock_hdr, fwd_cnt), UINT32_MAX},
	};
	uint32_t k = i / 4 % ARRAY_LEN(kinds);
	uint32_t *field = gmem_ptr(&f->vm->mem, FIRST_GPA + kinds[k].at, 4);
	uint32_t own = gmem_load32(field);

	if (i % 4 == 0)
		gmem_store32(field, kinds[k].value);
	gmem_store32(field, own);
}

/* ---- the device ---- */

static int connect_anew(struct fixture *f, struct peer *p)
{
	if (needs_reset(f)) {
		reset_vsock(f);
		bring_up_vsock(f, F_ALL);
		f->rx_bytes = 4096;
		post_rx(f, 0, 32);
		turns(f, 2);
	}
	while (poll_packet(f))
		;
	return connect_guest(f, p, 1);
}

/* Bytes that the host got; all of them of the payloads. */
static uint64_t host_takes(int fd)
{
	static uint8_t buf[65536];
	uint64_t all = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_true(buf[i] == 0x5a || buf[i] == 0xa5);
		all += (uint64_t)n;
	}
	return all;
}

/* Send what is in front of the flipper; false: the connection is no more. */
static bool send_once(struct fixture *f, int fd, uint64_t *got)
{
	offer(&f->q[TX], 0);
	kick_queue(f, TX);
	until(f, needs_reset(f) || used_waits(&f->q[TX]));
	collect_tx(f);
	*got += host_takes(fd);
	while (poll_packet(f))
		;
	return !needs_reset(f) && !is_closed(fd);
}

static void hammer(struct fixture *f,
		   void (*flip)(struct fixture *f, uint32_t i))
{
	struct flipper fl = {.f = f, .flip = flip};
	uint32_t n = 0, connections = 0;
	uint64_t got = 0;

	attach(f);
	while (n < packets() || connections < SEEN) {
		struct peer p;
		int fd = connect_anew(f, &p);

		send_poison(f, &p);
		put_packet(f, FIRST_GPA, &p, 0x5a);
		put_packet(f, SECOND_GPA, &p, 0xa5);
		desc(&f->q[TX], 0, FIRST_GPA, 44 + PAYLOAD, 0, 0);
		desc(&f->q[TX], 1, FIRST_GPA + 44, PAYLOAD, 0, 0);
		fl.stop = false;
		assert_int_equal(pthread_create(&fl.thread, NULL, flip_on, &fl),
				 0);
		while (send_once(f, fd, &got) &&
		       (n++ < packets() || connections < SEEN))
			;
		__atomic_store_n(&fl.stop, true, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(fl.thread, NULL), 0);
		connections++;
		if (!needs_reset(f)) {
			tell(f, &p, VSOCK_RST);
			until(f, is_closed(fd));
		}
		got += host_takes(fd);
		(void)close(fd);
	}
	assert_int_equal(counts(f)->tx_bytes, got);
	assert_true(got > 100 * PAYLOAD);
}

static void flipped_descriptors_harm_nobody(void **state)
{
	hammer(*state, flip_descriptor);
}

static void flipped_headers_harm_nobody(void **state)
{
	if (RACES_ARE_SEEN)
		skip();
	hammer(*state, flip_header);
}

/* ---- each load by itself ---- */

/* Have the device take a packet whose page at gpa is watched. */
static unsigned int loads_of(struct fixture *f, uint64_t gpa)
{
	watch(gmem_ptr(&f->vm->mem, gpa, WATCHED_BYTES));
	kick_queue(f, TX);
	until(f, get16(&f->q[TX], USED_GPA + 2) == f->q[TX].avail_idx);
	return unwatch();
}

static void a_header_is_loaded_once(void **state)
{
	struct fixture *f = *state;
	uint8_t copy[sizeof(struct vsock_hdr)], got[8];
	struct iovec v = {gmem_ptr(&f->vm->mem, FIRST_GPA, sizeof(copy)),
			  sizeof(copy)};
	struct virtq_chain c = {
		.iov = &v, .max_iov = 1, .n_out = 1, .out_bytes = sizeof(copy)};
	unsigned int once;
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	put_packet(f, FIRST_GPA, &p, 0x5a);
	watch(gmem_ptr(&f->vm->mem, FIRST_GPA, WATCHED_BYTES));
	assert_true(virtq_chain_take(&c, copy, sizeof(copy)));
	once = unwatch();
	put_packet(f, FIRST_GPA, &p, 0x5a);
	put_packet(f, SECOND_GPA, &p, 0xa5);
	desc(&f->q[TX], 0, FIRST_GPA, sizeof(copy), DESC_NEXT, 1);
	desc(&f->q[TX], 1, SECOND_GPA + 44, PAYLOAD, 0, 0);
	offer(&f->q[TX], 0);
	assert_int_equal(loads_of(f, FIRST_GPA), once);
	assert_int_equal(hear(f, fd, got, sizeof(got)), sizeof(got));
	assert_int_equal(got[0], 0xa5);
	(void)close(fd);
}

static void a_descriptor_is_loaded_once(void **state)
{
	struct fixture *f = *state;
	uint8_t got[8];
	struct peer p;
	int fd;

	fd = attach_and_connect(f, &p);
	put_packet(f, FIRST_GPA, &p, 0x5a);
	desc(&f->q[TX], 0, FIRST_GPA, 44, DESC_NEXT, 1);
	desc(&f->q[TX], 1, FIRST_GPA + 44, PAYLOAD, 0, 0);
	offer(&f->q[TX], 0);
	assert_int_equal(loads_of(f, RINGS_GPA(TX) + DESC_GPA), 4);
	for (unsigned int i = 0; i < 4; i++)
		for (unsigned int k = 0; k < i; k++)
			assert_int_not_equal(watched.at[i], watched.at[k]);
	assert_int_equal(hear(f, fd, got, sizeof(got)), sizeof(got));
	assert_int_equal(got[0], 0x5a);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_header_is_loaded_once),
		BOTH(a_descriptor_is_loaded_once),
		BOTH(flipped_descriptors_harm_nobody),
		BOTH(flipped_headers_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
