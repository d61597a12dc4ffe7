/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive whose driver, file, pauses, limits and changes of file all come from
 * the input, and so does the time. The file is memory: accesses outside of it,
 * or writes to one that is read-only, end the program, and so does a drain that
 * does not end.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tests/fuzz/driver_input.h"
#include "tests/fuzz/fake_loop.h"
#include "virtio/blk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct loop loop;
	struct vm vm; /* as far as a device needs it */
	struct driver drv;
	struct blk *blk;
	struct blk_swap swap;
	bool swapping, pausing, paused;
};

static uint64_t now; /* one input after another, and all of them the same */

uint64_t clock_now_ns(void)
{
	return now;
}

struct timespec clock_wall(void)
{
	return (struct timespec){0};
}

uint64_t clock_process_cpu_us(void)
{
	return 0;
}

static struct state *to_state(struct virtio_dev *d)
{
	return container_of(d->vm, struct state, vm);
}

static struct virtio_dev *dev(struct state *s)
{
	return blk_dev(s->blk);
}

static struct blk_file new_file(struct input *in)
{
	struct blk_file f = {
		.fd = open("/dev/null", O_RDWR | O_CLOEXEC),
		.bytes = FAKE_DISK - 512 * (uint64_t)below(in, 4),
		.id = "fuzz",
	};

	check(f.fd >= 0);
	return f;
}

/* End all that is in flight, and what follows from that. */
static void quiesce(struct state *s)
{
	for (int i = 0; i < 100000; i++) {
		if (s->loop.n_ops > 0)
			fake_end(&s->loop, 0, INT32_MAX);
		else if (s->loop.deferred)
			fake_run_deferred(&s->loop);
		else
			return;
	}
	abort();
}

/* Header, data in up to three segments, status; in one of some layouts. */
static void write_request(struct state *s, struct input *in)
{
	static const uint32_t types[] = {0, 1, 4, 8, 11, 13, 0, 1};
	struct driver *d = &s->drv;
	uint16_t at = (uint16_t)(below(in, 2) * 8);
	uint32_t type = types[below(in, 8)];
	bool writable = type == 0 || type == 8;
	uint32_t cut = 1 + below(in, 16);
	uint32_t n = below(in, 4);
	uint16_t i = at;

	put64(d, 0x3000, type);
	put64(d, 0x3008, below(in, 8) ? below(in, 36) : number(in, 8));
	desc(d, i, 0x3000, cut, DESC_NEXT, (uint16_t)(i + 1));
	i++;
	if (cut < 16) {
		desc(d, i, 0x3000 + cut, 16 - cut, DESC_NEXT,
		     (uint16_t)(i + 1));
		i++;
	}
	if (type >= 11 && below(in, 4)) {
		put64(d, 0x3020, below(in, 8) ? below(in, 36) : number(in, 8));
		put64(d, 0x3028, (uint64_t)below(in, 3) << 32 | below(in, 40));
		desc(d, i, 0x3020, 16, DESC_NEXT, (uint16_t)(i + 1));
		i++;
		n = 0;
	}
	while (n-- > 0) {
		uint32_t len = length(in);

		desc(d, i, address(in, len), len,
		     (uint16_t)(DESC_NEXT | (writable ? DESC_WRITE : 0)),
		     (uint16_t)(i + 1));
		i++;
	}
	desc(d, i, 0x3010, 1, DESC_WRITE, 0);
	put16(d, AVAIL_GPA + 4 + 2 * (uint64_t)(d->avail_idx % d->size), at);
	d->avail_idx++;
	put16(d, AVAIL_GPA + 2, d->avail_idx);
}

static void swapped(struct blk_swap *w, int err)
{
	struct state *s = container_of(w, struct state, swap);

	check(err < 0 || s->loop.n_ops == 0);
	s->swapping = false;
}

static void refused(struct blk_swap *w, int err)
{
	(void)w;
	check(err == -EBUSY);
}

static void paused(struct virtio_dev *d)
{
	check(to_state(d)->loop.n_ops == 0);
	to_state(d)->pausing = false;
}

static void pause_or_resume(struct state *s)
{
	if (s->pausing)
		return;
	if (s->paused) {
		s->paused = false;
		virtio_resume(dev(s));
	} else {
		s->paused = true;
		s->pausing = true;
		virtio_pause(dev(s), paused);
	}
}

static void restart(struct state *s, struct input *in)
{
	/* The loop thread cannot wait for itself: nothing may be in flight. */
	quiesce(s);
	s->drv.size = 1u << below(in, 5);
	bring_up(&s->drv, below(in, 2) ? UINT64_MAX & dev(s)->features
				       : VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
}

static void file_event(struct state *s, struct input *in)
{
	static const int results[] = {INT32_MAX, 512,  1,	0,
				      700,	 -EIO, -ENOSPC, -EOPNOTSUPP};

	if (s->loop.n_ops > 0)
		fake_end(&s->loop, below(in, s->loop.n_ops),
			 results[below(in, 8)]);
}

static void start_swap(struct state *s, struct input *in)
{
	struct blk_file f = new_file(in);
	struct blk_swap second = {refused};

	if (s->swapping) {
		blk_swap(s->blk, &f, &second);
		return;
	}
	s->swapping = true;
	s->swap.done = swapped;
	blk_swap(s->blk, &f, &s->swap);
}

static void limit(struct state *s, struct input *in)
{
	struct limiter *l = blk_limiter(s->blk);
	uint64_t size = number(in, 2), ms = number(in, 1);

	if (below(in, 2))
		limiter_set_bandwidth(l, size, number(in, 1), ms);
	else
		limiter_set_ops(l, size, number(in, 1), ms);
}

static void one(struct state *s, struct input *in)
{
	uint32_t what = below(in, 14);

	switch (what) {
	case 0:
	case 1:
	case 2:
		write_ring(&s->drv, in, what);
		break;
	case 3:
		fake_fire(&s->loop);
		break;
	case 4:
		pause_or_resume(s);
		break;
	case 5:
		start_swap(s, in);
		break;
	case 6:
		restart(s, in);
		break;
	case 7:
		file_event(s, in);
		break;
	case 8:
		fake_run_deferred(&s->loop);
		break;
	case 9:
		limit(s, in);
		break;
	case 10:
		now += number(in, 4);
		break;
	default:
		write_request(s, in);
		fake_ring(&s->loop);
		break;
	}
	check(s->loop.n_ops <= s->drv.size);
}

static void stopped(struct virtio_dev *d)
{
	to_state(d)->blk = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state *s = calloc(1, sizeof(*s));
	struct blk_config cfg = {0};
	struct blk_file file;
	struct err e;
	struct blk *b;

	check(s != NULL);
	now = NS_PER_S;
	log_set_level(LOG_OFF);
	fake_loop_init(&s->loop);
	s->vm.loop = &s->loop;
	new_ram(&s->vm.mem);
	cfg.read_only = below(&in, 2);
	cfg.writeback = below(&in, 2);
	s->loop.read_only = cfg.read_only;
	file = new_file(&in);
	check(blk_new(&b, &s->vm, &cfg, &file, &e) == 0);
	s->blk = b;
	s->drv = (struct driver){.mem = &s->vm.mem, .dev = dev(s)};
	virtio_listen(dev(s));
	restart(s, &in);
	while (in.left > 0)
		one(s, &in);
	quiesce(s);
	check(!s->pausing && !s->swapping);
	virtio_stop(dev(s), stopped);
	quiesce(s);
	check(!s->blk && !s->loop.timer);
	irq_exit(&s->vm.slot[0].irq);
	blk_free(b);
	ram_exit(&s->vm.mem);
	free(s);
	return 0;
}
