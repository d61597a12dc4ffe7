/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c: the orders fault=WHAT, which break rules on purpose.
 *
 *	ud triple	exceptions; they end the guest
 *	badio badmmio	ports and addresses that nobody owns, odd widths
 *	virtio		each rule of the table below, in turn
 *	<name>		one of them
 *
 * A broken rule prints whether DEVICE_NEEDS_RESET was set, and whether drive
 * 0, on which it was broken, works after a reset.
 */
#include "guest/nano/blk.h"

#define NO_RAM	    (1ULL << 45) /* no guest of ours is that large */
#define MMIO_WINDOW 0xc0001000ULL
#define NOBODY_GPA  0xd0000000ULL
#define NOBODY_PORT 0x1234
#define ANSWER_NS   (300 * NS_PER_MS)
#define NO_ANSWER   0xff

/*
 * A right read of sector 0 stands in descriptors 0 (header), 1 (data) and 2
 * (status), of the queue or of an indirect table. A rule spoils one number.
 */
enum what { GPA, LEN, FLAGS, NEXT, HEAD, AVAIL, RINGS, NOTIFY, STATUS };

#define HEADER 0
#define DATA   1
#define LAST   2
#define TABLE  3 /* the descriptor that points to the indirect table */

struct rule {
	const char *name;
	bool must;     /* the device must ask for a reset */
	bool indirect; /* the chain stands in a table */
	uint8_t at;
	enum what what;
	uint64_t value;
};

static const struct rule rules[] = {
	{"queue-loop", true, false, DATA, NEXT, DATA},
	{"queue-oob", true, false, DATA, GPA, NO_RAM},
	{"queue-wrap", true, false, DATA, GPA, ~0ULL - 255},
	{"queue-hole", true, false, DATA, GPA, MMIO_WINDOW},
	{"head-oob", true, false, 0, HEAD, VQ_SIZE_MAX},
	{"avail-jump", true, false, 0, AVAIL, VQ_SIZE_MAX},
	{"desc-next", true, false, HEADER, NEXT, VQ_SIZE_MAX},
	{"desc-huge", true, false, DATA, LEN, ~0u},
	{"zero-len", true, false, DATA, LEN, 0},
	{"write-order", true, false, LAST, FLAGS, 0},
	{"indirect-nested", true, true, DATA, FLAGS, DESC_INDIRECT},
	{"indirect-loop", true, true, DATA, NEXT, DATA},
	{"indirect-end", true, true, DATA, NEXT, 3},
	{"indirect-next", true, true, TABLE, FLAGS, DESC_INDIRECT | DESC_NEXT},
	{"indirect-odd", true, true, TABLE, LEN, 47},
	{"indirect-empty", true, true, TABLE, LEN, 0},
	{"indirect-oob", true, true, TABLE, GPA, NO_RAM},
	{"no-status", false, false, HEADER, FLAGS, 0},
	{"short-header", false, false, HEADER, LEN, 8},
	{"odd-data", false, false, DATA, LEN, 100},
	{"ring-oob", false, false, 0, RINGS, NO_RAM},
	{"notify-bad", false, false, 0, NOTIFY, 0xffff},
	{"status-back", false, false, 0, STATUS, VIRTIO_DRIVER_OK},
};

static void spoil(struct blk *b, volatile struct vq_desc *d,
		  const struct rule *r)
{
	static const struct {
		uint8_t offset, bytes;
	} field[] = {{0, 8}, {8, 4}, {12, 2}, {14, 2}};
	struct vq *q = &b->q;
	if (r->what <= NEXT)
		memcpy((void *)((uint64_t)d + field[r->what].offset), &r->value,
		       field[r->what].bytes);
	else if (r->what == AVAIL)
		q->next_avail = (uint16_t)(q->next_avail + r->value);
	vq_offer(q, r->what == HEAD ? (uint16_t)r->value : 0);
	if (r->what == RINGS) {
		(void)vdev_open(b->dev, 0);
		vq_place(q, r->value, (uint64_t)q->avail, (uint64_t)q->used);
		vdev_set_status(b->dev, VIRTIO_LIVE);
	} else if (r->what == STATUS) {
		vdev_set_status(b->dev, (uint32_t)r->value);
	} else if (r->what == NOTIFY) {
		*mmio32(b->dev->gpa + VIRTIO_MMIO_QUEUE_NOTIFY) =
			(uint32_t)r->value;
	}
	*mmio32(b->dev->gpa + VIRTIO_MMIO_QUEUE_NOTIFY) = 0;
}

/* True if the drive reads its first sector. */
static bool works(struct vdev *dev)
{
	struct blk b;
	bool good = !*blk_open(&b, dev);
	if (good) {
		struct vq_buf buf = {mem_alloc(SECTOR), SECTOR, true};
		good = blk_request(&b, BLK_IN, 0, &buf, NULL) == 0;
	}
	vdev_reset(dev);
	return good;
}

static const char *break_rule(const struct rule *r, struct vdev *dev)
{
	struct blk b;
	const char *wrong = blk_open(&b, dev);
	if (*wrong)
		return wrong;
	/* A zeroed header, the status at 16, the table at 256, data at 512. */
	volatile uint8_t *page = memset(mem_alloc(PAGE_BYTES), 0, PAGE_BYTES);
	uint64_t gpa = (uint64_t)page;
	page[16] = NO_ANSWER;
	volatile struct vq_desc *q = b.q.desc;
	volatile struct vq_desc *d = q;
	if (r->indirect) {
		d = (volatile void *)(page + 256);
		q[0] = (struct vq_desc){gpa + 256, 48, DESC_INDIRECT, 1};
	}
	d[0] = (struct vq_desc){gpa, 16, DESC_NEXT, 1};
	d[1] = (struct vq_desc){gpa + 512, 512, DESC_NEXT | DESC_WRITE, 2};
	d[2] = (struct vq_desc){gpa + 16, 1, DESC_WRITE, 0};
	spoil(&b, r->at == TABLE ? q : d + r->at, r);

	uint64_t start = clock_ns();
	uint32_t asks = 0;
	while (clock_ns() - start < ANSWER_NS && page[16] == NO_ANSWER &&
	       !asks) {
		cpu_idle();
		asks = vdev_status(dev) & VIRTIO_NEEDS_RESET;
	}
	bool answered = page[16] != NO_ANSWER;
	vdev_reset(dev);
	bool good = works(dev);
	print("nano: broken rule=%s needs_reset=%u answered=%u "
	      "after_reset=%s\n",
	      r->name, asks ? 1 : 0, answered, good ? "ok" : "dead");
	if (!good)
		return "the device is dead after a reset";
	return r->must && !asks ? "no DEVICE_NEEDS_RESET" : "";
}

static const char *break_rules(struct piece name)
{
	struct vdev *dev = virtio_find(VIRTIO_ID_BLK, 0);
	const char *wrong = "no such rule, or no drive";
	for (size_t i = 0; dev && i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (!piece_is(name, "virtio") && !piece_is(name, rules[i].name))
			continue;
		wrong = break_rule(&rules[i], dev);
		if (*wrong)
			break;
	}
	return wrong;
}

static const char *bad_io(void)
{
	static const char text[] = "nano: string output\n";
	const char *s = text;
	uint8_t bytes[32] = {0};
	void *to = bytes;
	uint64_t n_out = sizeof(text) - 1;
	uint64_t n_in = sizeof(bytes);
	uint32_t v = 0;
	__asm__ volatile("outl %0, %w1" : : "a"(v), "d"(NOBODY_PORT));
	__asm__ volatile("inl %w1, %0" : "=a"(v) : "d"(NOBODY_PORT));
	__asm__ volatile("rep insb"
			 : "+D"(to), "+c"(n_in)
			 : "d"(NOBODY_PORT)
			 : "memory");
	__asm__ volatile("rep outsb"
			 : "+S"(s), "+c"(n_out)
			 : "d"(PORT_COM1)
			 : "memory");
	for (size_t i = 0; i < sizeof(bytes); i++)
		v &= bytes[i] | 0xffffff00;
	return v == ~0u ? "" : "a port of nobody does not read as ones";
}

static const char *bad_mmio(void)
{
	const struct vdev *dev = virtio_find(0, 0);
	*(volatile uint64_t *)NOBODY_GPA = 0;
	if (*(volatile uint64_t *)NOBODY_GPA != ~0ULL ||
	    *(volatile uint8_t *)(NOBODY_GPA + 3) != 0xff)
		return "an address of nobody does not read as ones";
	/* Any answer will do, as long as there is one. */
	uint64_t end = dev ? dev->gpa + 0x120 : 0;
	for (uint64_t gpa = dev ? dev->gpa : 0; gpa < end; gpa++) {
		(void)*(volatile uint8_t *)gpa;
		(void)*(volatile uint64_t *)gpa;
		*(volatile uint64_t *)gpa = 0;
	}
	return "";
}

const char *order_fault(struct piece args)
{
	if (piece_is(args, "badio"))
		return bad_io();
	if (piece_is(args, "badmmio"))
		return bad_mmio();
	if (piece_is(args, "ud"))
		__asm__ volatile("ud2");
	if (piece_is(args, "triple"))
		cpu_triple_fault();
	return break_rules(args);
}
