/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/blk.h"

#define NO_ANSWER 0xff

const char *blk_open(struct blk *b, struct vdev *dev)
{
	*b = (struct blk){.dev = dev};
	uint64_t want = 1ULL << BLK_F_RO | 1ULL << BLK_F_FLUSH |
			1ULL << BLK_F_DISCARD | 1ULL << BLK_F_ZEROES;
	const char *wrong = vdev_open(dev, want);
	if (!*wrong)
		wrong = vq_open(&b->q, dev, 0);
	if (*wrong)
		return wrong;
	vdev_set_status(dev, VIRTIO_LIVE);
	b->sectors = vdev_config64(dev, 0);
	return "";
}

int blk_request(struct blk *b, uint32_t type, uint64_t sector,
		const struct vq_buf *data, uint32_t *used)
{
	struct blk_header header = {.type = type, .sector = sector};
	uint8_t status = NO_ANSWER;
	struct vq_buf buf[3] = {{&header, sizeof(header), false}};
	uint16_t n = 1;
	if (data)
		buf[n++] = *data;
	buf[n++] = (struct vq_buf){&status, 1, true};
	struct vq_used u;
	if (vq_add(&b->q, buf, n, NULL) < 0)
		return -1;
	vq_kick(&b->q);
	if (!vq_wait(&b->q, BLK_TIMEOUT_NS) || !vq_pop(&b->q, &u))
		return -1;
	if (used)
		*used = u.len;
	/* vq_pop() was a function call, so this is read from memory. */
	return status;
}

/* One request in flight. */
struct slot {
	struct blk_header header;
	uint8_t status;
	uint8_t *data;
	struct vq_desc *table; /* NULL: no INDIRECT */
};

struct run {
	struct blk *b;
	struct blk_job *j;
	struct slot **free_slot; /* of j->depth */
	uint32_t n_free;
	struct slot *by_head[VQ_SIZE_MAX]; /* NULL: not in flight */
	uint64_t issued;
	uint64_t blocks;
};

/*
 * A prime above the number of blocks of any drive: steps of that size hit every
 * block once before one is hit again.
 */
#define STRIDE 4294967291ULL

static uint64_t sector_of(const struct run *r, uint64_t i)
{
	i %= r->blocks;
	if (r->j->random)
		i = i * (STRIDE % r->blocks) % r->blocks;
	return r->j->start + i * (r->j->bytes / SECTOR);
}

/* Segments lie in memory in reverse, so that none joins its neighbour. */
static uint8_t *segment(const struct blk_job *j, const struct slot *s,
			uint32_t i)
{
	return s->data + (size_t)(j->segs - 1 - i) * (j->bytes / j->segs);
}

static uint64_t first_word(uint64_t seed, uint64_t sector)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15ULL ^
		     (sector + 1) * 0xbf58476d1ce4e5b9ULL;
	return x ? x : 1;
}

/* Fill a request's data, or compare it: false if it differs. */
static bool do_pattern(const struct blk_job *j, const struct slot *s)
{
	uint64_t sector = s->header.sector;
	uint64_t differ = 0;
	for (uint32_t i = 0; i < j->segs; i++) {
		uint64_t *w = (uint64_t *)segment(j, s, i);
		uint64_t *end = w + j->bytes / j->segs / sizeof(*w);
		for (; w < end; sector++) {
			uint64_t x = first_word(j->seed, sector);
			for (int k = 0; k < SECTOR / 8; k++, w++) {
				x ^= x << 13;
				x ^= x >> 7;
				x ^= x << 17;
				if (j->type == BLK_OUT)
					*w = x;
				else
					differ |= *w ^ x;
			}
		}
	}
	return differ == 0;
}

static bool issue(struct run *r)
{
	struct blk_job *j = r->j;
	struct slot *s = r->free_slot[r->n_free - 1];
	s->header = (struct blk_header){.type = j->type,
					.sector = sector_of(r, r->issued)};
	s->status = NO_ANSWER;
	/* Not while it cannot be queued: the pattern is the dear part. */
	if (r->b->q.n_free < (s->table ? 1u : j->segs + 2))
		return false;
	if (j->pattern && j->type == BLK_OUT)
		(void)do_pattern(j, s);

	struct vq_buf buf[BLK_SEGS_MAX + 2];
	buf[0] = (struct vq_buf){&s->header, sizeof(s->header), false};
	for (uint32_t i = 0; i < j->segs; i++)
		buf[i + 1] =
			(struct vq_buf){segment(j, s, i), j->bytes / j->segs,
					j->type == BLK_IN};
	buf[j->segs + 1] = (struct vq_buf){&s->status, 1, true};
	int head = vq_add(&r->b->q, buf, (uint16_t)(j->segs + 2), s->table);
	r->by_head[head] = s;
	r->n_free--;
	r->issued++;
	return true;
}

/* As zlib's, without the inversions. */
static uint32_t crc32(uint32_t crc, const uint8_t *p, uint32_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc;
}

static const char *finish(struct run *r, const struct vq_used *u)
{
	struct blk_job *j = r->j;
	struct slot *s = u->head < VQ_SIZE_MAX ? r->by_head[u->head] : NULL;
	if (!s)
		return "a used head is not in flight";
	r->by_head[u->head] = NULL;
	uint32_t len = j->type == BLK_IN ? j->bytes + 1 : 1;
	if (s->status != 0)
		return "a request failed";
	if (u->len != len)
		return "a used length is wrong";
	if (j->pattern && j->type == BLK_IN && !do_pattern(j, s)) {
		print("nano: blk differs sector=%lu bytes=%u\n",
		      s->header.sector, j->bytes);
		return "data differ";
	}
	if (j->sum)
		j->crc = crc32(j->crc, s->data, j->bytes);
	r->free_slot[r->n_free++] = s;
	j->done++;
	return "";
}

static bool may_issue(const struct run *r, uint64_t start)
{
	const struct blk_job *j = r->j;
	return r->n_free && (j->count == 0 || r->issued < j->count) &&
	       (j->ns == 0 || clock_ns() - start < j->ns);
}

static void make_slots(struct run *r)
{
	const struct blk_job *j = r->j;
	bool indirect = vdev_has(r->b->dev, VIRTIO_F_INDIRECT);
	size_t table_bytes = (j->segs + 2) * sizeof(struct vq_desc);
	struct slot *slot = mem_alloc(j->depth * sizeof(*slot));
	r->free_slot = mem_alloc(j->depth * sizeof(struct slot *));
	for (uint32_t i = 0; i < j->depth; i++) {
		slot[i] = (struct slot){.data = mem_alloc(j->bytes)};
		if (indirect)
			slot[i].table = mem_alloc(table_bytes);
		r->free_slot[r->n_free++] = &slot[i];
	}
}

static const char *check_job(const struct blk *b, const struct blk_job *j)
{
	if (j->depth < 1 || j->depth > BLK_DEPTH_MAX || j->segs < 1 ||
	    j->segs > BLK_SEGS_MAX)
		return "depth or segments are out of range";
	if (j->bytes == 0 || j->bytes % (j->segs * SECTOR))
		return "bytes are not whole sectors a segment";
	if (!vdev_has(b->dev, VIRTIO_F_INDIRECT) && j->segs + 2 > b->q.size)
		return "a request does not fit the queue";
	if (j->span < j->bytes / SECTOR || j->start > b->sectors ||
	    j->span > b->sectors - j->start)
		return "the drive is too small";
	return "";
}

const char *blk_run(struct blk *b, struct blk_job *j)
{
	const char *wrong = check_job(b, j);
	if (*wrong)
		return wrong;
	struct run r = {.b = b, .j = j};
	r.blocks = j->span / (j->bytes / SECTOR);
	make_slots(&r);

	uint64_t start = clock_ns();
	while (!*wrong) {
		while (may_issue(&r, start) && issue(&r))
			;
		if (r.issued == j->done)
			break;
		vq_kick(&b->q);
		if (!vq_wait(&b->q, BLK_TIMEOUT_NS))
			return "no answer";
		struct vq_used u;
		while (!*wrong && vq_pop(&b->q, &u))
			wrong = finish(&r, &u);
	}
	j->took_ns = clock_ns() - start;
	return wrong;
}
