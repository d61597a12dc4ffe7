/* SPDX-License-Identifier: Apache-2.0 */
#include "base/decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define EOF_VALUE "EOF while parsing a value"
#define INVALID	  "invalid number"
#define TOO_LARGE "number out of range"

#define DOUBLE_DIGITS 17 /* always enough to tell doubles apart */

struct cursor {
	const char *text;
	uint32_t len;
	uint32_t pos;
};

static int peek(const struct cursor *c)
{
	return c->pos < c->len ? (unsigned char)c->text[c->pos] : -1;
}

static int next(struct cursor *c)
{
	int byte = peek(c);

	if (byte >= 0)
		c->pos++;
	return byte;
}

static bool is_digit(int byte)
{
	return byte >= '0' && byte <= '9';
}

/*
 * Take digits while they fit into 64 bits; those that do not only move the
 * point. step is what each digit that is taken moves it by.
 */
static void read_digits(struct cursor *c, struct decimal *d, int step)
{
	bool full = false;

	for (; is_digit(peek(c)); c->pos++) {
		uint64_t value;

		full = full || !num_mul(d->digits, UINT64_C(10), &value) ||
		       !num_add(value, (uint64_t)(peek(c) - '0'), &value);
		if (full) {
			d->kind = DECIMAL_FLOAT;
			d->exp10 += 1 + step;
		} else {
			d->digits = value;
			d->exp10 += step;
		}
	}
}

/* The digits in front of the point. */
static const char *read_integer(struct cursor *c, struct decimal *d)
{
	int byte = next(c);

	if (byte < 0)
		return EOF_VALUE;
	if (!is_digit(byte))
		return INVALID;
	if (byte == '0' && is_digit(peek(c))) {
		c->pos++;
		return INVALID;
	}
	d->digits = (uint64_t)(byte - '0');
	read_digits(c, d, 0);
	if (d->negative && d->kind == DECIMAL_UINT)
		d->kind = d->digits > 0 && d->digits <= (uint64_t)1 << 63
				  ? DECIMAL_NEGATIVE
				  : DECIMAL_FLOAT;
	return NULL;
}

static const char *read_fraction(struct cursor *c, struct decimal *d)
{
	d->kind = DECIMAL_FLOAT;
	c->pos++;
	if (!is_digit(peek(c)))
		return next(c) < 0 ? EOF_VALUE : INVALID;
	read_digits(c, d, -1);
	return NULL;
}

static const char *read_exponent(struct cursor *c, struct decimal *d)
{
	bool minus = false;
	int64_t exp = 0;
	int byte;

	d->kind = DECIMAL_FLOAT;
	c->pos++;
	if (peek(c) == '+' || peek(c) == '-')
		minus = next(c) == '-';
	byte = next(c);
	if (byte < 0)
		return EOF_VALUE;
	if (!is_digit(byte))
		return INVALID;
	for (; is_digit(byte); byte = is_digit(peek(c)) ? next(c) : -1) {
		exp = exp * 10 + (byte - '0');
		if (exp > INT32_MAX && !minus && d->digits > 0)
			return TOO_LARGE;
		exp = MIN(exp, INT32_MAX);
	}
	d->exp10 += minus ? -exp : exp;
	return NULL;
}

uint32_t decimal_read(struct decimal *d, const char *text, uint32_t len)
{
	struct cursor c = {.text = text, .len = len};

	*d = (struct decimal){.negative = peek(&c) == '-'};
	c.pos += d->negative;
	d->error = read_integer(&c, d);
	if (!d->error && peek(&c) == '.')
		d->error = read_fraction(&c, d);
	if (!d->error && (peek(&c) == 'e' || peek(&c) == 'E'))
		d->error = read_exponent(&c, d);
	if (!d->error && d->kind == DECIMAL_FLOAT && isinf(decimal_float(d)))
		d->error = TOO_LARGE;
	return c.pos;
}

/* Correctly rounded, which repeated multiplication is not. */
static double power_of_ten(int64_t n)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "1e%lld", (long long)n);
	return strtod(text, NULL);
}

double decimal_float(const struct decimal *d)
{
	double value = (double)d->digits;
	int64_t exp = d->exp10;

	for (; exp < -308 && value != 0; exp += 308)
		value /= 1e308;
	if (value == 0)
		exp = 0;
	if (exp > 308)
		value = INFINITY;
	else if (exp < 0)
		value /= power_of_ten(-exp);
	else if (exp > 0)
		value *= power_of_ten(exp);
	return d->negative ? -value : value;
}

/* The fewest digits that mean value, and the exponent of the first. */
static int shortest(double value, char digits[DOUBLE_DIGITS + 1], int *exp)
{
	char text[DECIMAL_TEXT_BYTES];
	int n = 0;

	do
		(void)snprintf(text, sizeof(text), "%.*e", n++, value);
	while (n < DOUBLE_DIGITS && strtod(text, NULL) != value);
	digits[0] = text[0];
	memcpy(digits + 1, text + 2, (size_t)n - 1);
	*exp = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
	return n;
}

void decimal_print(double value, char text[DECIMAL_TEXT_BYTES])
{
	const char *sign = signbit(value) ? "-" : "";
	char digits[DOUBLE_DIGITS + 1] = "";
	int exp;
	int n = shortest(fabs(value), digits, &exp);
	size_t size = DECIMAL_TEXT_BYTES;

	if (exp >= n - 1 && exp < 16)
		(void)snprintf(text, size, "%s%.*s%.*d.0", sign, n, digits,
			       exp + 1 - n, 0);
	else if (exp >= 0 && exp < 16)
		(void)snprintf(text, size, "%s%.*s.%.*s", sign, exp + 1, digits,
			       n - exp - 1, digits + exp + 1);
	else if (exp >= -5 && exp < 0)
		(void)snprintf(text, size, "%s0.%.*d%.*s", sign, -exp - 1, 0, n,
			       digits);
	else
		(void)snprintf(text, size, "%s%c%s%.*se%+d", sign, digits[0],
			       n > 1 ? "." : "", n - 1, digits + 1, exp);
}
