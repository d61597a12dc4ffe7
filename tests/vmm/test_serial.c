/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/archive.h"
#include "base/bucket.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/num.h"
#include "tests/vmm/patched_state.h"
#include "vmm/irq.h"
#include "vmm/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct fixture {
	struct loop *loop;
	struct irq irq;
	struct serial serial;
	int in[2];  /* pipe: in[1] is the host's end */
	int out[2]; /* pipe: out[0] is the host's end */
};

static int set_up(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct err e;

	assert_int_equal(loop_new(&f->loop, LOOP_AUTO, NULL, &e), 0);
	assert_int_equal(irq_init(&f->irq, 4, &e), 0);
	assert_int_equal(serial_init(&f->serial, f->loop, &f->irq, &e), 0);
	assert_int_equal(pipe2(f->in, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(pipe2(f->out, O_NONBLOCK | O_CLOEXEC), 0);
	serial_connect(&f->serial, f->in[0], f->out[1]);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	while (!serial_disconnect(&f->serial))
		(void)loop_turn(f->loop, 1000000);
	serial_exit(&f->serial);
	irq_exit(&f->irq);
	loop_free(f->loop);
	for (int i = 0; i < 2; i++) {
		(void)close(f->in[i]);
		(void)close(f->out[i]);
	}
	test_free(f);
	return 0;
}

static uint8_t rd(struct fixture *f, uint64_t offset)
{
	uint8_t v = 0xa5;

	f->serial.bus.ops->read(&f->serial.bus, NULL, offset, &v, 1);
	return v;
}

static void wr(struct fixture *f, uint64_t offset, uint8_t v)
{
	f->serial.bus.ops->write(&f->serial.bus, NULL, offset, &v, 1);
}

static bool irq_seen(struct fixture *f)
{
	uint64_t n;

	return read(f->irq.fd, &n, sizeof(n)) == sizeof(n);
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 10; i++)
		(void)loop_turn(f->loop, 2000000);
}

static void output_reaches_the_host(void **state)
{
	struct fixture *f = *state;
	char buf[16] = "";

	for (const char *p = "hello"; *p; p++)
		wr(f, DATA, (uint8_t)*p);
	turn(f);
	assert_int_equal(read(f->out[0], buf, sizeof(buf)), 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(rd(f, LSR) & 0x60, 0x60);
}

static void output_past_a_full_reader_is_dropped_and_counted(void **state)
{
	struct fixture *f = *state;
	uint64_t total = 4 * SERIAL_RING_BYTES, got = 0;
	char buf[4096];
	ssize_t n;

	for (uint64_t i = 0; i < total; i++)
		wr(f, DATA, 'x');
	turn(f);
	for (;;) {
		n = read(f->out[0], buf, sizeof(buf));
		if (n <= 0) {
			turn(f);
			n = read(f->out[0], buf, sizeof(buf));
		}
		if (n <= 0)
			break;
		got += (uint64_t)n;
	}
	assert_true(f->serial.counts.dropped_bytes > 0);
	assert_int_equal(got + f->serial.counts.dropped_bytes, total);
	wr(f, DATA, 'y');
	turn(f);
	assert_int_equal(read(f->out[0], buf, sizeof(buf)), 1);
	assert_int_equal(buf[0], 'y');
}

static void output_beyond_the_rate_limit_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct bucket limit;
	char buf[64];

	bucket_init(&limit, 10, 2, 3600 * 1000, clock_now_ns());
	serial_limit(&f->serial, &limit);
	for (int i = 0; i < 100; i++)
		wr(f, DATA, 'r');
	turn(f);
	assert_int_equal(read(f->out[0], buf, sizeof(buf)), 12);
	assert_int_equal(f->serial.counts.dropped_bytes, 88);
}

static void input_interrupts_and_is_read_in_order(void **state)
{
	struct fixture *f = *state;

	wr(f, IER, 1);
	assert_int_equal(write(f->in[1], "ab", 2), 2);
	turn(f);
	assert_true(irq_seen(f));
	assert_int_equal(rd(f, IIR) & 0x0f, 0x04);
	assert_int_equal(rd(f, LSR) & 1, 1);
	assert_int_equal(rd(f, DATA), 'a');
	assert_int_equal(rd(f, DATA), 'b');
	assert_int_equal(rd(f, LSR) & 1, 0);
	assert_int_equal(rd(f, IIR) & 0x0f, 0x01);
}

static void input_beyond_the_fifo_waits_and_none_is_lost(void **state)
{
	struct fixture *f = *state;
	uint8_t sent[1000];
	int turns = 0;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7);
	assert_int_equal(write(f->in[1], sent, sizeof(sent)), sizeof(sent));
	for (size_t i = 0; i < sizeof(sent);) {
		assert_true(turns++ < 1000);
		turn(f);
		while (rd(f, LSR) & 1) {
			assert_int_equal(rd(f, DATA), sent[i]);
			i++;
		}
	}
	assert_int_equal(f->serial.lsr_overrun, 0);
}

static void end_of_input_is_no_end(void **state)
{
	struct fixture *f = *state;

	(void)close(f->in[1]);
	f->in[1] = -1;
	turn(f);
	wr(f, DATA, 'z');
	turn(f);
	assert_int_equal(rd(f, LSR) & 1, 0);
}

static void input_that_cannot_be_polled_is_read_to_its_end(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();
	int got = 0;

	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		assert_int_not_equal(fputc(i % 251, file), EOF);
	rewind(file);
	while (!serial_disconnect(&f->serial))
		turn(f);
	f->serial.closing = false;
	serial_connect(&f->serial, fileno(file), f->out[1]);
	for (int i = 0; i < 100 && got < 1000; i++) {
		turn(f);
		while (rd(f, LSR) & 1)
			assert_int_equal(rd(f, DATA), got++ % 251);
	}
	assert_int_equal(got, 1000);
	turn(f);
	assert_int_equal(f->serial.in_fd, -1);
	(void)fclose(file);
}

static void a_reader_that_is_gone_stalls_nothing(void **state)
{
	struct fixture *f = *state;

	(void)close(f->out[0]);
	f->out[0] = -1;
	for (int i = 0; i < 100; i++)
		wr(f, DATA, 'q');
	turn(f);
	assert_int_equal(f->serial.counts.dropped_bytes, 100);
}

static void transmitter_interrupt_is_acknowledged_by_iir(void **state)
{
	struct fixture *f = *state;

	wr(f, IER, 2);
	assert_true(irq_seen(f));
	assert_int_equal(rd(f, IIR) & 0x0f, 0x02);
	assert_int_equal(rd(f, IIR) & 0x0f, 0x01);
	wr(f, DATA, 'x');
	assert_true(irq_seen(f));
	assert_int_equal(rd(f, IIR) & 0x0f, 0x02);
	wr(f, IER, 0);
	(void)irq_seen(f);
	wr(f, DATA, 'x');
	assert_false(irq_seen(f));
}

static void divisor_and_scratch_are_kept(void **state)
{
	struct fixture *f = *state;

	wr(f, LCR, 0x83);
	wr(f, DATA, 0x12);
	wr(f, IER, 0x34);
	assert_int_equal(rd(f, DATA), 0x12);
	assert_int_equal(rd(f, IER), 0x34);
	wr(f, LCR, 0x03);
	assert_int_equal(rd(f, IER), 0);
	wr(f, SCR, 0x5a);
	assert_int_equal(rd(f, SCR), 0x5a);
	wr(f, IIR, 1);
	assert_int_equal(rd(f, IIR) & 0xc0, 0xc0);
}

static void loopback_returns_modem_lines_and_data(void **state)
{
	struct fixture *f = *state;
	char c;

	wr(f, MCR, 0x10 | 0x0a);
	assert_int_equal(rd(f, MSR) & 0xf0, 0x90);
	wr(f, DATA, 'L');
	assert_int_equal(rd(f, DATA), 'L');
	wr(f, MCR, 0);
	assert_int_equal(rd(f, MSR) & 0xf0, 0xb0);
	turn(f);
	assert_int_equal(read(f->out[0], &c, 1), -1);
}

static void wide_accesses_are_counted_and_ignored(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	f->serial.bus.ops->read(&f->serial.bus, NULL, 0, &v, 4);
	assert_int_equal(v, 0xffffffff);
	f->serial.bus.ops->write(&f->serial.bus, NULL, 0, &v, 2);
	assert_int_equal(f->serial.counts.missed_reads, 1);
	assert_int_equal(f->serial.counts.missed_writes, 1);
}

/* ---- snapshots ---- */

static void guest_finds_its_port_as_it_was(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[128];
	struct archive a = archive_saver(buf, sizeof(buf));
	size_t len;

	wr(f, LCR, 0x83);
	wr(f, DATA, 0x0c);
	wr(f, LCR, 0x03);
	wr(f, IER, 0x01);
	wr(f, SCR, 0x77);
	wr(f, MCR, 0x0b);
	wr(f, IIR, 0x01);
	assert_int_equal(write(f->in[1], "ab", 2), 2);
	turn(f);
	serial_describe(&f->serial, &a);
	assert_true(archive_ok(&a));
	len = a.at;
	assert_int_equal(tear_down(state), 0);
	assert_int_equal(set_up(state), 0);
	f = *state;
	a = archive_loader(buf, len);
	serial_describe(&f->serial, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(rd(f, SCR), 0x77);
	assert_int_equal(rd(f, MCR), 0x0b);
	assert_int_equal(rd(f, IER), 0x01);
	assert_int_equal(rd(f, IIR) & 0xc0, 0xc0);
	assert_int_equal(rd(f, DATA), 'a');
	assert_int_equal(rd(f, DATA), 'b');
	wr(f, LCR, 0x83);
	assert_int_equal(rd(f, DATA), 0x0c);
	for (size_t n = 0; n < len; n++) {
		a = archive_loader(buf, n);
		serial_describe(&f->serial, &a);
		assert_false(archive_ok(&a));
	}
}

/* What has come meanwhile neither gets lost nor stuck behind a full FIFO. */
static void input_goes_on_after_a_load_with_a_full_fifo(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[128], sent[SERIAL_FIFO_BYTES + 10];
	struct archive a = archive_saver(buf, sizeof(buf));

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i + 1);
	wr(f, IER, 0x01);
	assert_int_equal(write(f->in[1], sent, SERIAL_FIFO_BYTES),
			 SERIAL_FIFO_BYTES);
	turn(f);
	serial_describe(&f->serial, &a);
	assert_int_equal(tear_down(state), 0);
	assert_int_equal(set_up(state), 0);
	f = *state;
	assert_int_equal(write(f->in[1], sent + SERIAL_FIFO_BYTES, 10), 10);
	a = archive_loader(buf, a.at);
	serial_describe(&f->serial, &a);
	turn(f);
	assert_true(irq_seen(f));
	for (size_t i = 0; i < sizeof(sent); i++) {
		if (!(rd(f, LSR) & 1))
			turn(f);
		assert_int_equal(rd(f, DATA), sent[i]);
	}
	assert_int_equal(rd(f, LSR) & 3, 0); /* no more, no overrun */
}

/* The edge before the snapshot may be lost in KVM. */
static void pending_interrupt_is_raised_after_a_load(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[128];
	struct archive a = archive_saver(buf, sizeof(buf));

	wr(f, DATA, 'x');
	wr(f, IER, 0x02);
	assert_true(irq_seen(f));
	serial_describe(&f->serial, &a);
	assert_false(irq_seen(f));
	a = archive_loader(buf, a.at);
	serial_describe(&f->serial, &a);
	assert_true(irq_seen(f));
	(void)rd(f, IIR); /* acknowledged */
	a = archive_saver(buf, sizeof(buf));
	serial_describe(&f->serial, &a);
	a = archive_loader(buf, a.at);
	serial_describe(&f->serial, &a);
	assert_true(archive_ok(&a));
	assert_false(irq_seen(f));
}

static void wrong_lengths_of_input_are_refused(void **state)
{
	static const struct {
		uint32_t head, len;
		bool good;
	} t[] = {
		{0, SERIAL_FIFO_BYTES, true},
		{SERIAL_FIFO_BYTES - 1, SERIAL_FIFO_BYTES, true},
		{SERIAL_FIFO_BYTES, 0, false},
		{UINT32_MAX, 0, false},
		{0, SERIAL_FIFO_BYTES + 1, false},
		{1U << 31, 1U << 31, false},
		{0, UINT32_MAX, false},
	};
	struct fixture *f = *state;
	uint8_t buf[128];
	struct archive a = archive_saver(buf, sizeof(buf));
	size_t len;

	serial_describe(&f->serial, &a);
	len = a.at;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		a = patched_state(buf, len, t[i].head, t[i].len);
		serial_describe(&f->serial, &a);
		assert_int_equal(archive_ok(&a), t[i].good);
		assert_true(f->serial.in_head < SERIAL_FIFO_BYTES);
		assert_true(f->serial.in_len <= SERIAL_FIFO_BYTES);
	}
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(output_reaches_the_host),
		T(output_past_a_full_reader_is_dropped_and_counted),
		T(output_beyond_the_rate_limit_is_dropped),
		T(input_interrupts_and_is_read_in_order),
		T(input_beyond_the_fifo_waits_and_none_is_lost),
		T(end_of_input_is_no_end),
		T(input_that_cannot_be_polled_is_read_to_its_end),
		T(a_reader_that_is_gone_stalls_nothing),
		T(transmitter_interrupt_is_acknowledged_by_iir),
		T(divisor_and_scratch_are_kept),
		T(loopback_returns_modem_lines_and_data),
		T(wide_accesses_are_counted_and_ignored),
		T(guest_finds_its_port_as_it_was),
		T(input_goes_on_after_a_load_with_a_full_fifo),
		T(pending_interrupt_is_raised_after_a_load),
		T(wrong_lengths_of_input_are_refused),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* as main() has it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
