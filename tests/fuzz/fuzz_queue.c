/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split queue whose driver writes what it likes between any two calls.
 */
#include "tests/fuzz/driver_input.h"
#include "virtio/queue.h"

#define SEGS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct gmem mem;
	struct driver drv;
	struct virtq q;
	uint16_t head[VIRTQ_MAX_SIZE]; /* popped, not pushed */
	uint32_t n_heads;
};

static void start(struct state *s, struct input *in)
{
	struct virtq_config *c = &s->q.cfg;

	virtq_reset(&s->q);
	s->n_heads = 0;
	*c = (struct virtq_config){
		.size = 1u << below(in, 9),
		.ready = true,
		.desc_gpa = DESC_GPA,
		.avail_gpa = AVAIL_GPA,
		.used_gpa = USED_GPA,
	};
	switch (below(in, 8)) {
	case 0:
		c->size = (uint32_t)number(in, 4);
		break;
	case 1:
		c->desc_gpa = number(in, 8);
		break;
	case 2:
		c->avail_gpa = LOW_BYTES - below(in, 255);
		break;
	case 3:
		c->used_gpa = HIGH_GPA + HIGH_BYTES - number(in, 2);
		break;
	case 4:
	case 5:
		/* A read past the ring is one past the end of RAM. */
		c->desc_gpa = LOW_BYTES - 16 * (uint64_t)c->size;
		break;
	default:
		break;
	}
	s->drv.size = c->size;
	if (virtq_start(&s->q, &s->mem, below(in, 2), below(in, 4)) < 0)
		check(!s->q.desc);
}

static void check_chain(struct state *s, const struct virtq_chain *c)
{
	uint64_t bytes = 0;

	check(c->head < s->q.cfg.size);
	check(c->n_out + c->n_in >= 1 && c->n_out + c->n_in <= c->max_iov);
	for (uint32_t i = 0; i < c->n_out + c->n_in; i++) {
		check(c->iov[i].iov_len > 0 && in_region(&s->mem, &c->iov[i]));
		bytes += c->iov[i].iov_len;
	}
	check(bytes == c->out_bytes + c->in_bytes && bytes <= UINT32_MAX);
	for (uint32_t i = 0; i < s->n_heads; i++)
		check(s->head[i] != c->head);
}

static void pop(struct state *s, struct input *in)
{
	struct iovec iov[SEGS];
	struct virtq_chain c = {.iov = iov, .max_iov = 1 + below(in, SEGS)};
	uint8_t buf[64] = {0};
	size_t n = below(in, sizeof(buf));
	bool had = s->q.broken;
	uint16_t pending = s->q.avail ? (uint16_t)(gmem_load16(s->q.avail + 2) -
						   s->q.last_avail)
				      : 0;
	int ret = virtq_pop(&s->q, &s->mem, &c);

	check(ret == 1 || (ret == 0 && !had) || s->q.broken);
	if (ret != 1)
		return;
	check(pending >= 1 && pending <= s->q.cfg.size);
	check_chain(s, &c);
	s->head[s->n_heads++] = c.head;
	check(s->n_heads <= s->q.cfg.size);
	check(virtq_chain_fill(&c, buf, n) == (n <= c.in_bytes));
	if (c.out_bytes >= n) {
		check(virtq_chain_take(&c, buf, n));
		check(!virtq_chain_take(&c, buf, c.out_bytes + 1));
	}
}

static void push(struct state *s, struct input *in)
{
	uint32_t i;

	if (s->n_heads == 0)
		return;
	i = below(in, s->n_heads);
	virtq_push(&s->q, s->head[i], (uint32_t)number(in, 4));
	s->head[i] = s->head[--s->n_heads];
}

static void one(struct state *s, struct input *in)
{
	switch (below(in, 12)) {
	case 0:
		start(s, in);
		break;
	case 1:
	case 2:
		write_desc(&s->drv, in, s->q.cfg.desc_gpa & ~(uint64_t)15);
		break;
	case 3:
		write_avail(&s->drv, in);
		break;
	case 4:
		put16(&s->drv, AVAIL_GPA + 2,
		      (uint16_t)(s->q.last_avail + below(in, 4)));
		break;
	case 5:
		put16(&s->drv, below(in, 2) ? AVAIL_GPA : USED_GPA,
		      (uint16_t)number(in, 2));
		break;
	case 6:
		put64(&s->drv, number(in, 2) % (LOW_BYTES / 8) * 8,
		      number(in, 8));
		break;
	case 7:
	case 8:
		pop(s, in);
		break;
	case 9:
		push(s, in);
		break;
	case 10:
		(void)virtq_needs_irq(&s->q);
		break;
	default:
		virtq_disable_kick(&s->q);
		(void)virtq_enable_kick(&s->q);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state s = {0};

	new_ram(&s.mem);
	s.drv.mem = &s.mem;
	start(&s, &in);
	while (in.left > 0)
		one(&s, &in);
	ram_exit(&s.mem);
	return 0;
}
