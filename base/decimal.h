/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decimal.h: numbers as JSON writes them, read and printed.
 *
 * Integers that fit stay exact in 64 bits. Everything else is a double, worked
 * out in the steps of serde_json and printed with the fewest digits that read
 * back as the same double, so that clients see the digits they are used to.
 * Any thread.
 */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECIMAL_TEXT_BYTES 32

enum decimal_kind {
	DECIMAL_UINT,	  /* 0 to 2^64 - 1 */
	DECIMAL_NEGATIVE, /* -2^63 to -1 */
	DECIMAL_FLOAT,	  /* all others: "1.0", "1e2", "-0", 2^64 */
};

/* (-1)^negative * digits * 10^exp10 */
struct decimal {
	enum decimal_kind kind;
	bool negative;
	uint64_t digits;
	int64_t exp10;
	const char *error; /* static text; NULL: well-formed and in range */
};

/*
 * Read the number that starts at text, with '-' or a digit. Returns how many
 * bytes it takes; with d->error set, how many lie in front of the place of the
 * error.
 */
uint32_t decimal_read(struct decimal *d, const char *text, uint32_t len);

/* The nearest double as serde_json finds it; d->error must be NULL. */
double decimal_float(const struct decimal *d);

/* "100.0", "1e+16", "-0.0": value must be finite. */
void decimal_print(double value, char text[DECIMAL_TEXT_BYTES]);

#endif
