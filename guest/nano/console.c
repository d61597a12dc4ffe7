/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#include <stdarg.h>

#define COM1_IER 1
#define COM1_MCR 4
#define COM1_LSR 5
#define LSR_DATA 0x01
#define LSR_THRE 0x20
#define GSI_COM1 4

#define END_OF_INPUT 4 /* Ctrl-D */

#define FIFO_BYTES 16
#define LINE_BYTES 256

/* What was printed and not yet sent; a line goes out in FIFO-sized pieces. */
static char line[LINE_BYTES];
static size_t line_len;

static void send(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		while (i % FIFO_BYTES == 0 &&
		       !(in8(PORT_COM1 + COM1_LSR) & LSR_THRE))
			pause();
		out8(PORT_COM1, (uint8_t)s[i]);
	}
}

static void put(char c)
{
	line[line_len++] = c;
	if (c == '\n' || line_len == LINE_BYTES) {
		send(line, line_len);
		line_len = 0;
	}
}

static void put_number(uint64_t v, unsigned int base)
{
	char digits[20];
	size_t n = 0;
	do
		digits[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n)
		put(digits[--n]);
}

void print(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		bool wide = *++fmt == 'l';
		fmt += wide;
		unsigned int base = *fmt == 'x' ? 16 : 10;
		if (*fmt == 'c') {
			put((char)va_arg(args, int));
		} else if (*fmt == 's') {
			for (const char *s = va_arg(args, char *); *s; s++)
				put(*s);
		} else if (wide) {
			put_number(va_arg(args, uint64_t), base);
		} else {
			put_number(va_arg(args, uint32_t), base);
		}
	}
	va_end(args);
}

const char *order_flood(struct piece args)
{
	uint64_t bytes = piece_number(args, 65536);
	static const char text[] = "the quick brown fox jumps over the lazy "
				   "dog, and nobody counts 64 bytes\n";
	for (uint64_t n; bytes; bytes -= n) {
		n = bytes < sizeof(text) - 1 ? bytes : sizeof(text) - 1;
		send(text, n);
	}
	send("\n", 1);
	return "";
}

const char *order_echo(struct piece args)
{
	out8(PORT_COM1 + COM1_MCR, 0x0b); /* DTR, RTS, OUT2: interrupts out */
	out8(PORT_COM1 + COM1_IER, 0x01);
	irq_enable(GSI_COM1);
	print("nano: echo ready\n");
	for (char c = 0; c != END_OF_INPUT;) {
		uint32_t seen = irq_seen(GSI_COM1);
		if (in8(PORT_COM1 + COM1_LSR) & LSR_DATA)
			put(c = (char)in8(PORT_COM1));
		else
			irq_wait(GSI_COM1, seen);
	}
	out8(PORT_COM1 + COM1_IER, 0);
	put('\n');
	return "";
}
