/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsockbad.c: vsock=bad:PORT[:CASE], which breaks one rule at a time on a
 * connection to the host's PORT, and then looks whether another one opens.
 * Prints the operation that the device answered with (0: none): RST, if that
 * is among them, else the first, data apart.
 */
#include "guest/nano/vsock.h"

#define ANSWER_NS  (300 * NS_PER_MS)
#define OUR_PORT   77
#define DATA_BYTES 1024
#define CREDIT	   65536
#define NO_RAM	   (1ULL << 45)

enum field {
	SRC_CID,
	DST_CID,
	SRC_PORT,
	DST_PORT,
	LEN,
	TYPE,
	OP,
	FLAGS,
	CHAIN
};

/* What a chain is like instead of header and data. */
enum chain {
	SHORT_HEADER = 1,
	WRITABLE_HEADER,
	WRITABLE_DATA,
	NO_DATA,
	NOWHERE
};

struct bad {
	const char *name;
	enum vsock_op op;
	enum field field;
	uint64_t value;
	uint32_t times;
	bool must; /* the device must ask for a reset */
};

static const struct bad cases[] = {
	{"src-cid", VSOCK_RW, SRC_CID, 99, 1, false},
	{"src-cid-host", VSOCK_RW, SRC_CID, VSOCK_CID_HOST, 1, false},
	{"dst-cid", VSOCK_RW, DST_CID, 99, 1, false},
	{"dst-cid-high", VSOCK_RW, DST_CID, 1ULL << 32 | 2, 1, false},
	{"no-conn", VSOCK_RW, SRC_PORT, 78, 1, false},
	{"no-port", VSOCK_RW, DST_PORT, 1, 1, false},
	{"len-over", VSOCK_RW, LEN, DATA_BYTES + 1, 1, false},
	{"len-huge", VSOCK_RW, LEN, 0xffffffff, 1, false},
	{"len-zero", VSOCK_RW, LEN, 0, 1, false},
	{"type", VSOCK_RW, TYPE, 2, 1, false},
	{"op-0", VSOCK_RW, OP, 0, 1, false},
	{"op-max", VSOCK_RW, OP, 0xffff, 1, false},
	{"again", VSOCK_REQUEST, FLAGS, 0, 1, false},
	{"response", VSOCK_RESPONSE, FLAGS, 0, 1, false},
	{"shutdown-0", VSOCK_SHUTDOWN, FLAGS, 0, 1, false},
	{"shutdown-all", VSOCK_SHUTDOWN, FLAGS, 0xffffffff, 1, false},
	{"rst-twice", VSOCK_RST, FLAGS, 0, 2, false},
	{"rst-stranger", VSOCK_RST, SRC_PORT, 78, 1, false},
	{"credit-flood", VSOCK_CREDIT_REQUEST, FLAGS, 0, 5000, false},
	{"beyond-credit", VSOCK_RW, FLAGS, 0, 10000, false},
	{"rw-flags", VSOCK_RW, FLAGS, 0xffffffff, 1, false},
	{"short-header", VSOCK_RW, CHAIN, SHORT_HEADER, 1, false},
	{"writable-header", VSOCK_RW, CHAIN, WRITABLE_HEADER, 1, false},
	{"writable-data", VSOCK_RW, CHAIN, WRITABLE_DATA, 1, false},
	{"no-data", VSOCK_RW, CHAIN, NO_DATA, 1, false},
	{"nowhere", VSOCK_RW, CHAIN, NOWHERE, 1, true},
};

static void spoil(struct vsock_header *h, const struct bad *b)
{
	static const struct {
		uint8_t offset, bytes;
	} at[] = {{0, 8},  {8, 8},  {16, 4}, {20, 4},
		  {24, 4}, {28, 2}, {30, 2}, {32, 4}};
	if (b->field != CHAIN)
		memcpy((uint8_t *)h + at[b->field].offset, &b->value,
		       at[b->field].bytes);
}

/* A packet, whatever it says; false if the device takes no more. */
static bool put(struct vsock *v, struct vsock_header *h, uint64_t chain)
{
	bool rw = h->op == VSOCK_RW;
	struct vq_buf b[] = {
		{h, chain == SHORT_HEADER ? 20 : VSOCK_HEADER,
		 chain == WRITABLE_HEADER},
		{(void *)(chain == NOWHERE ? NO_RAM : (uint64_t)pattern_at(0)),
		 DATA_BYTES,
		 chain == WRITABLE_DATA || chain == WRITABLE_HEADER},
	};
	uint16_t n = rw && chain != SHORT_HEADER && chain != NO_DATA ? 2 : 1;
	v->tx.lazy = 0;
	while (v->tx.n_free < n) {
		struct vq_used u;
		vq_kick(&v->tx);
		if (!vq_wait(&v->tx, ANSWER_NS))
			return false;
		while (vq_pop(&v->tx, &u))
			;
	}
	return vq_add(&v->tx, b, n, NULL) >= 0;
}

/* The operation that counts of all that comes in some time. */
static uint32_t answer(struct vsock *v, uint32_t last)
{
	uint64_t start = clock_ns();
	uint32_t op = 0;
	while (op != last && clock_ns() - start < ANSWER_NS) {
		const uint8_t *data;
		const struct vsock_header *h = vsock_take(v, &data);
		if (!h)
			(void)vsock_wait(v, false, ANSWER_NS);
		else if (h->op == last || (op == 0 && h->op != VSOCK_RW))
			op = h->op;
	}
	return op;
}

static struct vsock_header header_of(const struct vsock *v, enum vsock_op op,
				     uint32_t port)
{
	return (struct vsock_header){
		.src_cid = v->cid,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = OUR_PORT,
		.dst_port = port,
		.type = VSOCK_STREAM,
		.op = (uint16_t)op,
		.len = op == VSOCK_RW ? DATA_BYTES : 0,
		.buf_alloc = CREDIT,
	};
}

static bool connects(struct vsock *v, struct vdev *dev, uint32_t port)
{
	struct vsock_setup setup = {.rx_bytes = PAGE_BYTES};
	if (*vsock_open(v, dev, &setup))
		return false;
	struct vsock_header *h = mem_alloc(sizeof(*h));
	*h = header_of(v, VSOCK_REQUEST, port);
	return put(v, h, 0) && answer(v, VSOCK_RESPONSE) == VSOCK_RESPONSE;
}

static const char *try(struct vdev *dev, uint32_t port, const struct bad *b)
{
	struct vsock v;
	if (!connects(&v, dev, port))
		return "no connection";
	struct vsock_header *h = mem_alloc(sizeof(*h));
	*h = header_of(&v, b->op, port);
	spoil(h, b);
	bool taken = true;
	for (uint32_t i = 0; i < b->times && taken; i++)
		taken = put(&v, h, b->field == CHAIN ? b->value : 0);
	uint32_t reply = answer(&v, VSOCK_RST);
	uint32_t asks = vdev_status(dev) & VIRTIO_NEEDS_RESET ? 1 : 0;
	vdev_reset(dev);
	bool good = connects(&v, dev, port);
	vdev_reset(dev);
	print("nano: vsock bad case=%s reply=%u needs_reset=%u taken=%u "
	      "after_reset=%s\n",
	      b->name, reply, asks, taken, good ? "ok" : "dead");
	if (!good)
		return "the device is dead after a reset";
	return b->must && !asks ? "no DEVICE_NEEDS_RESET" : "";
}

const char *vsock_bad(struct vdev *dev, struct piece args)
{
	uint32_t port = (uint32_t)piece_next(&args, 0);
	const char *wrong = "no such case";
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (args.len && !piece_is(args, cases[i].name))
			continue;
		wrong = try(dev, port, &cases[i]);
		if (*wrong)
			break;
	}
	return wrong;
}
