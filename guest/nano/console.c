/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/nano.h"

#include <stdarg.h>

#define COM1_IER 1
#define COM1_FCR 2
#define COM1_MCR 4
#define COM1_LSR 5
#define LSR_DATA 0x01
#define LSR_THRE 0x20
#define GSI_COM1 4

#define FIFO_BYTES 16
#define LINE_BYTES 256

/* What was printed and not yet sent; a line goes out in FIFO-sized pieces. */
static char line[LINE_BYTES];
static size_t line_len;
static bool fifo_on;

static void send(const char *s, size_t n)
{
	if (!fifo_on)
		out8(PORT_COM1 + COM1_FCR, 0x01);
	fifo_on = true;
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

static void print_list(const char *fmt, va_list args)
{
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		bool wide = *++fmt == 'l';
		fmt += wide;
		if (*fmt == 'c') {
			put((char)va_arg(args, int));
		} else if (*fmt == 's') {
			for (const char *s = va_arg(args, char *); *s; s++)
				put(*s);
		} else {
			put_number(wide ? va_arg(args, uint64_t)
					: va_arg(args, uint32_t),
				   *fmt == 'x' ? 16 : 10);
		}
	}
}

void print(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	print_list(fmt, args);
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
	char buf[LINE_BYTES];
	size_t len = 0;
	out8(PORT_COM1 + COM1_MCR, 0x0b); /* DTR, RTS, OUT2: interrupts out */
	out8(PORT_COM1 + COM1_IER, 0x01);
	irq_enable(GSI_COM1);
	print("nano: echo ready\n");
	for (;;) {
		uint32_t seen = irq_seen(GSI_COM1);
		if (!(in8(PORT_COM1 + COM1_LSR) & LSR_DATA)) {
			irq_wait(GSI_COM1, seen);
			continue;
		}
		char c = (char)in8(PORT_COM1);
		if (c != '\n' && c != '\r' && len < LINE_BYTES - 1) {
			buf[len++] = c;
			continue;
		}
		buf[len] = '\0';
		if (len == 4 && memcmp(buf, "quit", 4) == 0)
			break;
		if (len)
			print("nano: echo %s\n", buf);
		len = 0;
	}
	out8(PORT_COM1 + COM1_IER, 0);
	return "";
}
