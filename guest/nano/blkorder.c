/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blkorder.c: the orders blk=N:OP... for the N-th drive.
 *
 *	write:SEED:MIB[:OPTION...]	the pattern of blk.h
 *	verify:SEED:MIB[:OPTION...]
 *	sum[:MIB]			CRC-32 (as zlib's); 0: the whole drive
 *	bench:read|write:DEPTH:SEGS:BYTES:COUNT[:OPTION...]
 *					COUNT requests, or 5s: for 5 seconds
 *	flush | id | capacity | waitcap
 *	discard:SECTOR:SECTORS | zeroes:SECTOR:SECTORS
 *	req:TYPE:SECTOR:BYTES		one request of any kind
 *
 * OPTION: dN depth, sN segments, bN bytes a request, oN first sector, rand.
 * The last five print their status; what is not 0 is a failure.
 * waitcap waits for a configuration interrupt and prints the new capacity.
 */
#include "guest/nano/blk.h"

#define SECTORS_PER_MIB 2048
#define WAITCAP_NS	(60 * NS_PER_S)
#define REQ_ANY		~0u /* the order says which */

struct blk_order {
	const char *name;
	const char *(*run)(struct blk *b, struct piece args, uint32_t type);
	uint32_t type;
};

static void read_options(struct blk_job *j, struct piece args)
{
	while (args.len) {
		struct piece p = piece_cut(&args, ':');
		struct piece value = {p.s + 1, p.len - 1};
		uint32_t n = (uint32_t)piece_number(value, 0);
		if (piece_is(p, "rand"))
			j->random = true;
		else if (p.s[0] == 'd')
			j->depth = n;
		else if (p.s[0] == 's')
			j->segs = n;
		else if (p.s[0] == 'b')
			j->bytes = n;
		else if (p.s[0] == 'o')
			j->start = piece_number(value, 0);
	}
}

/* All of the span once. */
static const char *cover(struct blk *b, struct blk_job *j, uint64_t mib)
{
	uint64_t left = j->start < b->sectors ? b->sectors - j->start : 0;
	j->span = mib ? mib * SECTORS_PER_MIB : left;
	if (j->bytes < SECTOR || j->span % (j->bytes / SECTOR))
		return "not a whole number of requests";
	j->count = j->span / (j->bytes / SECTOR);
	const char *wrong = blk_run(b, j);
	print("nano: blk %s requests=%lu bytes=%lu ns=%lu\n",
	      j->type == BLK_OUT ? "wrote" : "read", j->done,
	      j->done * j->bytes, j->took_ns);
	return wrong;
}

static const char *run_pattern(struct blk *b, struct piece args, uint32_t type)
{
	struct blk_job j = {
		.type = type,
		.depth = 8,
		.segs = 1,
		.bytes = 65536,
		.pattern = true,
		.seed = piece_next(&args, 1),
	};
	uint64_t mib = piece_next(&args, 1);
	read_options(&j, args);
	return cover(b, &j, mib);
}

static const char *run_sum(struct blk *b, struct piece args, uint32_t type)
{
	uint64_t mib = piece_next(&args, 0);
	/* In order, hence one at a time; a sector where 128 KiB do not fit. */
	uint64_t sectors = mib ? mib * SECTORS_PER_MIB : b->sectors;
	struct blk_job j = {
		.type = type,
		.depth = 1,
		.segs = 1,
		.bytes = sectors % 256 ? SECTOR : 256 * SECTOR,
		.sum = true,
		.crc = ~0u,
	};
	const char *wrong = cover(b, &j, mib);
	print("nano: blk sum crc32=0x%x\n", ~j.crc);
	return wrong;
}

static const char *run_bench(struct blk *b, struct piece args, uint32_t type)
{
	struct piece op = piece_cut(&args, ':');
	struct blk_job j = {
		.type = piece_is(op, "write") ? BLK_OUT : type,
		.depth = (uint32_t)piece_next(&args, 1),
		.segs = (uint32_t)piece_next(&args, 1),
		.bytes = (uint32_t)piece_next(&args, 4096),
	};
	struct piece limit = piece_cut(&args, ':');
	if (limit.len && limit.s[limit.len - 1] == 's')
		j.ns = piece_number(limit, 1) * NS_PER_S;
	else
		j.count = piece_number(limit, 1000);
	read_options(&j, args);
	j.span = j.start < b->sectors ? b->sectors - j.start : 0;
	const char *wrong = blk_run(b, &j);
	print("nano: bench op=%s depth=%u segs=%u bytes=%u n=%lu ns=%lu "
	      "order=%s kicks=%u irqs=%u indirect=%u event_idx=%u poll=%u\n",
	      j.type == BLK_OUT ? "write" : "read", j.depth, j.segs, j.bytes,
	      j.done, j.took_ns, j.random ? "random" : "sequential", b->q.kicks,
	      b->dev->irqs, vdev_has(b->dev, VIRTIO_F_INDIRECT),
	      vdev_has(b->dev, VIRTIO_F_EVENT_IDX), b->dev->poll);
	return wrong;
}

static const char *run_capacity(struct blk *b, struct piece args, uint32_t type)
{
	print("nano: blk sectors=%lu ro=%u features=0x%lx\n", b->sectors,
	      vdev_has(b->dev, BLK_F_RO), b->dev->offered);
	return "";
}

static const char *run_waitcap(struct blk *b, struct piece args, uint32_t type)
{
	uint64_t start = clock_ns();
	print("nano: blk waits for a capacity other than %lu\n", b->sectors);
	while (clock_ns() - start < WAITCAP_NS) {
		uint32_t seen = irq_seen(b->dev->gsi);
		vdev_ack(b->dev);
		uint64_t now = b->sectors;
		if (b->dev->config_irq || b->dev->poll)
			now = vdev_config64(b->dev, 0);
		if (now != b->sectors) {
			print("nano: blk capacity was=%lu is=%lu\n", b->sectors,
			      now);
			return "";
		}
		irq_wait(b->dev->gsi, seen);
	}
	return "the capacity did not change";
}

/* One request, and its status. */
static const char *run_req(struct blk *b, struct piece args, uint32_t type)
{
	char id[BLK_ID_BYTES + 1] = "";
	bool any = type == REQ_ANY;
	if (any)
		type = (uint32_t)piece_next(&args, 0);
	uint64_t sector = piece_next(&args, 0);
	uint32_t n = (uint32_t)piece_next(&args, type == BLK_FLUSH ? 0 : 512);
	struct blk_range range = {.sector = sector, .sectors = n};
	struct vq_buf buf = {&range, sizeof(range), false};
	if (type == BLK_GET_ID)
		buf = (struct vq_buf){id, BLK_ID_BYTES, true};
	else if (type != BLK_DISCARD && type != BLK_ZEROES)
		buf = (struct vq_buf){mem_alloc(n), n, type != BLK_OUT};
	uint32_t used = 0;
	int status = blk_request(b, type, sector, n ? &buf : NULL, &used);
	print("nano: blk req type=%u status=%u used=%u id=%s\n", type,
	      (uint32_t)status, used, id);
	if (status < 0)
		return "no answer";
	return status && !any ? "the status is not 0" : "";
}

static const struct blk_order orders[] = {
	{"write", run_pattern, BLK_OUT},   {"verify", run_pattern, BLK_IN},
	{"sum", run_sum, BLK_IN},	   {"bench", run_bench, BLK_IN},
	{"capacity", run_capacity, 0},	   {"waitcap", run_waitcap, 0},
	{"flush", run_req, BLK_FLUSH},	   {"id", run_req, BLK_GET_ID},
	{"discard", run_req, BLK_DISCARD}, {"zeroes", run_req, BLK_ZEROES},
	{"req", run_req, REQ_ANY},
};

const char *order_blk(struct piece args)
{
	uint64_t n = piece_next(&args, 0);
	struct vdev *dev = virtio_find(VIRTIO_ID_BLK, (unsigned int)n);
	struct piece name = piece_cut(&args, ':');
	struct blk b;
	if (!dev)
		return "no such drive";
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (!piece_is(name, orders[i].name))
			continue;
		const char *wrong = blk_open(&b, dev);
		if (!*wrong)
			wrong = orders[i].run(&b, args, orders[i].type);
		if (vdev_status(dev) & VIRTIO_NEEDS_RESET && !*wrong)
			wrong = "the device needs a reset";
		vdev_reset(dev);
		return wrong;
	}
	return "no such order";
}
