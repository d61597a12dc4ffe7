/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/serial.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/archive.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/err.h"
#include "base/num.h"
#include "vmm/irq.h"

/* Register offsets (16550A data sheet). */
#define REG_DATA 0 /* RBR, THR, or DLL */
#define REG_IER	 1 /* or DLM */
#define REG_IIR	 2 /* FCR when written */
#define REG_LCR	 3
#define REG_MCR	 4
#define REG_LSR	 5
#define REG_MSR	 6
#define REG_SCR	 7

#define IER_RDA	     0x01
#define IER_THR	     0x02
#define IER_MASK     0x0f
#define IIR_NONE     0x01
#define IIR_THR	     0x02
#define IIR_RDA	     0x04
#define IIR_FIFO     0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DLAB     0x80
#define MCR_MASK     0x1f
#define MCR_LOOP     0x10
#define LSR_DATA     0x01
#define LSR_OVERRUN  0x02
#define LSR_IDLE     0x60 /* transmitter and its holding register empty */
#define MSR_READY    0xb0 /* carrier, data set ready, clear to send */

#define FLUSH_CHUNK 4096
/* Chunks written in one wake of the loop: a flood is not all that it does. */
#define FLUSH_BUDGET 16

static void in_rearm(struct serial *s);

static bool wants_irq(const struct serial *s)
{
	return ((s->ier & IER_RDA) && s->in_len > 0) ||
	       ((s->ier & IER_THR) && s->thr_irq);
}

static void in_put(struct serial *s, uint8_t byte)
{
	if (s->in_len == SERIAL_FIFO_BYTES) {
		s->lsr_overrun = LSR_OVERRUN;
		return;
	}
	s->in[(s->in_head + s->in_len++) % SERIAL_FIFO_BYTES] = byte;
}

static uint8_t in_take(struct serial *s)
{
	uint8_t byte;

	if (s->in_len == 0)
		return 0;
	byte = s->in[s->in_head];
	s->in_head = (s->in_head + 1) % SERIAL_FIFO_BYTES;
	s->in_len--;
	return byte;
}

/* Returns whether the loop must be told. */
static bool out_put(struct serial *s, uint8_t byte)
{
	bool post = !s->flush_posted;

	if (s->out_head - s->out_tail == SERIAL_RING_BYTES ||
	    (bucket_limits(&s->limit) &&
	     !bucket_take(&s->limit, 1, clock_now_ns()))) {
		count_add(&s->counts.dropped_bytes, 1);
		return false;
	}
	s->out[s->out_head++ % SERIAL_RING_BYTES] = byte;
	s->flush_posted = true;
	return post;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t fifo = s->fifo_on ? IIR_FIFO : 0;

	if ((s->ier & IER_RDA) && s->in_len > 0)
		return fifo | IIR_RDA;
	if ((s->ier & IER_THR) && s->thr_irq) {
		s->thr_irq = false; /* reading it acknowledges it */
		return fifo | IIR_THR;
	}
	return fifo | IIR_NONE;
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t v = LSR_IDLE | s->lsr_overrun;

	s->lsr_overrun = 0;
	return v | (s->in_len > 0 ? LSR_DATA : 0);
}

/* In loopback the outputs RTS, DTR, OUT1, OUT2 come back as inputs. */
static uint8_t read_msr(const struct serial *s)
{
	uint8_t m = s->mcr;

	if (!(m & MCR_LOOP))
		return MSR_READY;
	return (uint8_t)((m & 0x0c) << 4 | (m & 0x02) << 3 | (m & 0x01) << 5);
}

static uint8_t read_reg(struct serial *s, uint64_t offset)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (offset) {
	case REG_DATA:
		return dlab ? s->dll : in_take(s);
	case REG_IER:
		return dlab ? s->dlm : s->ier;
	case REG_IIR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static void serial_read(struct bus_dev *bus, struct vcpu *vcpu, uint64_t offset,
			void *data, uint32_t len)
{
	struct serial *s = container_of(bus, struct serial, bus);
	bool room;
	uint8_t v;

	(void)vcpu;
	(void)pthread_mutex_lock(&s->lock);
	if (len != 1) {
		count_add(&s->counts.missed_reads, 1);
		(void)pthread_mutex_unlock(&s->lock);
		memset(data, 0xff, len);
		return;
	}
	count_add(&s->counts.reads, 1);
	v = read_reg(s, offset);
	room = s->in_stopped && s->in_len == 0 && !s->in_posted;
	if (room)
		s->in_posted = true;
	(void)pthread_mutex_unlock(&s->lock);
	memcpy(data, &v, 1);
	if (room)
		loop_post(s->loop, &s->in_msg);
}

/* Returns whether the loop must be told of output. */
static bool write_data(struct serial *s, uint8_t v)
{
	bool post = false;

	if (s->lcr & LCR_DLAB) {
		s->dll = v;
		return false;
	}
	if (s->mcr & MCR_LOOP)
		in_put(s, v);
	else
		post = out_put(s, v);
	s->thr_irq = true;
	return post;
}

static bool write_reg(struct serial *s, uint64_t offset, uint8_t v)
{
	switch (offset) {
	case REG_DATA:
		return write_data(s, v);
	case REG_IER:
		if (s->lcr & LCR_DLAB) {
			s->dlm = v;
		} else {
			/* That THR is empty is news to who asks now. */
			if ((v & IER_THR) && !(s->ier & IER_THR))
				s->thr_irq = true;
			s->ier = v & IER_MASK;
		}
		break;
	case REG_IIR:
		s->fifo_on = v & FCR_ENABLE;
		if (v & FCR_CLEAR_RX)
			s->in_len = 0;
		break;
	case REG_LCR:
		s->lcr = v;
		break;
	case REG_MCR:
		s->mcr = v & MCR_MASK;
		break;
	case REG_SCR:
		s->scr = v;
		break;
	default:
		break; /* LSR and MSR are read-only */
	}
	return false;
}

static void serial_write(struct bus_dev *bus, struct vcpu *vcpu,
			 uint64_t offset, const void *data, uint32_t len)
{
	struct serial *s = container_of(bus, struct serial, bus);
	bool post, irq;
	uint8_t v;

	(void)vcpu;
	memcpy(&v, data, 1);
	(void)pthread_mutex_lock(&s->lock);
	if (len != 1) {
		count_add(&s->counts.missed_writes, 1);
		(void)pthread_mutex_unlock(&s->lock);
		return;
	}
	count_add(&s->counts.writes, 1);
	post = write_reg(s, offset, v);
	irq = wants_irq(s);
	(void)pthread_mutex_unlock(&s->lock);
	if (post)
		loop_post(s->loop, &s->flush_msg);
	if (irq)
		irq_raise(s->irq);
}

static const struct bus_ops serial_ops = {
	.read = serial_read,
	.write = serial_write,
};

/* Copy out what fits in buf without taking it yet. */
static uint32_t out_peek(struct serial *s, uint8_t *buf, uint32_t size)
{
	uint32_t n;

	(void)pthread_mutex_lock(&s->lock);
	n = MIN(s->out_head - s->out_tail, size);
	for (uint32_t i = 0; i < n; i++)
		buf[i] = s->out[(s->out_tail + i) % SERIAL_RING_BYTES];
	if (n == 0 && !s->closing)
		s->flush_posted = false;
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

static void out_done(struct serial *s, uint32_t n, uint32_t dropped)
{
	(void)pthread_mutex_lock(&s->lock);
	s->out_tail += n;
	count_add(&s->counts.dropped_bytes, dropped);
	(void)pthread_mutex_unlock(&s->lock);
}

/* One chunk: 1 if there may be more, 0 if empty, -EAGAIN if fd is full. */
static int flush_chunk(struct serial *s)
{
	uint8_t buf[FLUSH_CHUNK];
	uint32_t n = out_peek(s, buf, sizeof(buf));
	ssize_t done;

	if (n == 0)
		return 0;
	do
		done = write(s->out_fd, buf, n);
	while (done < 0 && errno == EINTR);
	if (done < 0 && errno == EAGAIN)
		return -EAGAIN;
	/* Where the reader is gone, the guest's words go nowhere. */
	out_done(s, done < 0 ? n : (uint32_t)done, done < 0 ? n : 0);
	return 1;
}

static void flush_out(struct serial *s)
{
	int ret = 1;

	if (io_op_active(&s->out_ready))
		return; /* goes on when the descriptor takes bytes again */
	for (int i = 0; i < FLUSH_BUDGET && ret > 0; i++)
		ret = flush_chunk(s);
	if (ret > 0)
		loop_defer(s->loop, &s->flush_msg);
	else if (ret == -EAGAIN)
		loop_poll(s->loop, &s->out_ready, s->out_fd, POLLOUT);
}

static void on_flush(struct loop_msg *m)
{
	flush_out(container_of(m, struct serial, flush_msg));
}

static void on_out_ready(struct io_op *op, int res)
{
	struct serial *s = container_of(op, struct serial, out_ready);

	if (io_op_active(op)) {
		loop_cancel(s->loop, op);
		return;
	}
	(void)res;
	if (!s->closing)
		flush_out(s);
}

/* Read what the FIFO has room for: 1, 0 if nothing came, -1 at the end. */
static int in_read(struct serial *s)
{
	uint8_t buf[SERIAL_FIFO_BYTES];
	bool irq, full;
	uint32_t room;
	ssize_t n;

	(void)pthread_mutex_lock(&s->lock);
	room = SERIAL_FIFO_BYTES - s->in_len;
	s->in_stopped = room == 0;
	(void)pthread_mutex_unlock(&s->lock);
	if (room == 0)
		return 0;
	n = read(s->in_fd, buf, room);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return -1;
	(void)pthread_mutex_lock(&s->lock);
	for (ssize_t i = 0; i < n; i++)
		in_put(s, buf[i]);
	irq = n > 0 && wants_irq(s);
	full = s->in_len == SERIAL_FIFO_BYTES;
	s->in_stopped = full;
	(void)pthread_mutex_unlock(&s->lock);
	if (irq)
		irq_raise(s->irq);
	return n > 0;
}

static void on_in_ready(struct io_op *op, int res)
{
	struct serial *s = container_of(op, struct serial, in_ready);
	int got = 1;

	if (s->closing || s->in_fd < 0)
		return;
	/* An edge: read until there is no more, or no more room. */
	while (res > 0 && got > 0 && !s->in_stopped)
		got = in_read(s);
	if (got < 0) {
		s->in_fd = -1;
		loop_cancel(s->loop, op);
		return;
	}
	if (res > 0 && s->in_stopped) {
		loop_cancel(s->loop, op); /* until the guest has read */
		return;
	}
	if (io_op_active(op))
		return;
	/* A file or device that cannot be polled is always ready. */
	s->in_always_ready = res < 0 && res != -ECANCELED;
	in_rearm(s);
}

static void in_rearm(struct serial *s)
{
	bool stopped;
	int got = 1;

	(void)pthread_mutex_lock(&s->lock);
	stopped = s->in_stopped;
	(void)pthread_mutex_unlock(&s->lock);
	if (s->in_fd < 0 || s->closing || stopped)
		return;
	if (!s->in_always_ready) {
		if (!io_op_active(&s->in_ready))
			loop_poll(s->loop, &s->in_ready, s->in_fd, POLLIN);
		return;
	}
	while (got > 0 && !s->in_stopped)
		got = in_read(s);
	if (got <= 0 && !s->in_stopped)
		s->in_fd = -1;
}

static void on_in_room(struct loop_msg *m)
{
	struct serial *s = container_of(m, struct serial, in_msg);

	(void)pthread_mutex_lock(&s->lock);
	s->in_stopped = false;
	s->in_posted = false;
	(void)pthread_mutex_unlock(&s->lock);
	in_rearm(s);
}

int serial_init(struct serial *s, struct loop *l, const struct irq *irq,
		struct err *e)
{
	void *ring = mmap(NULL, SERIAL_RING_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*s = (struct serial){
		.bus.ops = &serial_ops,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.irq = irq,
		.loop = l,
		.flush_msg.fn = on_flush,
		.in_msg.fn = on_in_room,
		.out_ready.done = on_out_ready,
		.in_ready.done = on_in_ready,
		.in_fd = -1,
		.out_fd = -1,
	};
	if (ring == MAP_FAILED)
		return err_sys(e, "Serial output ring");
	s->out = ring;
	return 0;
}

void serial_limit(struct serial *s, const struct bucket *limit)
{
	s->limit = *limit;
}

void serial_connect(struct serial *s, int in_fd, int out_fd)
{
	s->in_fd = in_fd;
	s->out_fd = out_fd;
	in_rearm(s);
}

bool serial_disconnect(struct serial *s)
{
	s->closing = true;
	loop_cancel(s->loop, &s->out_ready);
	loop_cancel(s->loop, &s->in_ready);
	return !io_op_active(&s->out_ready) && !io_op_active(&s->in_ready);
}

void serial_flush(struct serial *s)
{
	s->closing = true; /* the loop writes no more */
	while (flush_chunk(s) > 0)
		;
}

void serial_exit(struct serial *s)
{
	if (s->out)
		(void)munmap(s->out, SERIAL_RING_BYTES);
	s->out = NULL;
}

void serial_describe(struct serial *s, struct archive *a)
{
	uint8_t *const reg[] = {&s->ier, &s->lcr, &s->mcr,	  &s->scr,
				&s->dll, &s->dlm, &s->lsr_overrun};
	uint32_t head = s->in_head, len = s->in_len;

	for (size_t i = 0; i < ARRAY_LEN(reg); i++)
		archive_u8(a, reg[i]);
	archive_bool(a, &s->fifo_on);
	archive_bool(a, &s->thr_irq);
	archive_bytes(a, s->in, sizeof(s->in));
	archive_u32(a, &head);
	archive_u32(a, &len);
	if (head >= SERIAL_FIFO_BYTES || len > SERIAL_FIFO_BYTES) {
		a->failed = true;
		return;
	}
	s->in_head = head;
	s->in_len = len;
	s->ier &= IER_MASK;
	s->mcr &= MCR_MASK;
	s->lsr_overrun &= LSR_OVERRUN;
	/* The edge may not have reached the saved chips; see virtio/state.c. */
	if (archive_loading(a) && wants_irq(s))
		irq_raise(s->irq);
}
