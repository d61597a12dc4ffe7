/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h: a strict JSON scanner (RFC 8259) that records where things stand.
 *
 * The text is checked once, from front to back: UTF-8, escapes and surrogate
 * pairs, numbers, nesting of at most JSON_DEPTH. What was recognised becomes an
 * array of tokens in the order of the text, up to the end or to the first
 * syntax error. The error is kept, not returned: readers walk the tokens in
 * order, and what is wrong first in the text wins, whether syntax or meaning.
 * Texts and places of errors are serde_json's, which clients of the API know.
 *
 * The text is the caller's, is not changed and must outlive the struct json;
 * the tokens belong to it. Strings may contain NUL once decoded, so they have
 * lengths. Any thread.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define JSON_DEPTH     127
#define JSON_MAX_BYTES ((size_t)1 << 30)

enum json_kind {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_UINT,     /* 0 to 2^64 - 1 */
	JSON_NEGATIVE, /* -2^63 to -1 */
	JSON_FLOAT,    /* all other numbers: "1.0", "1e2", "-0", 2^64 */
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

/*
 * One value, or the key of a member, whose value is the next token. at and end
 * are offsets in the text, end behind the last byte. next is the index of the
 * token behind this one and all that it contains. An array or object that the
 * syntax error cut off has end 0 and the number of tokens as next; anything
 * else that was cut off has no token.
 */
struct json_tok {
	uint32_t at, end;
	uint32_t next;
	enum json_kind kind;
};

struct json {
	const char *text;
	uint32_t len;
	struct json_tok *tok;
	uint32_t n;
	const char *error; /* static text, NULL if the syntax is right */
	uint32_t error_at;
};

/*
 * Scan len bytes. Returns 0 also when the syntax is wrong (see j->error),
 * -ENOMEM, or -E2BIG over JSON_MAX_BYTES. json_exit() accepts zeroed memory.
 */
int json_scan(struct json *j, const char *text, size_t len, struct err *e);
void json_exit(struct json *j);

/* The syntax error as an error value: "expected value at line 1 column 3". */
int json_syntax_err(const struct json *j, struct err *e);

/*
 * An error at an offset of the text: the message and " at line L column C",
 * where C counts the bytes of the line in front of the offset. Returns -EINVAL.
 */
__attribute__((format(printf, 4, 5))) int json_err(const struct json *j,
						   uint32_t at, struct err *e,
						   const char *fmt, ...);

/* The offset of the first byte from at on that is not white space, or len. */
uint32_t json_skip_space(const struct json *j, uint32_t at);

/*
 * Decode a string into buf, which needs t->end - t->at bytes; a NUL is put
 * behind it. Returns the length without that NUL.
 */
size_t json_string(const struct json *j, const struct json_tok *t, char *buf);

/* Whether a string is s, which is at most 63 bytes. */
bool json_string_is(const struct json *j, const struct json_tok *t,
		    const char *s);

/* The value of a JSON_UINT, of a JSON_NEGATIVE, of any number. */
uint64_t json_uint(const struct json *j, const struct json_tok *t);
int64_t json_negative(const struct json *j, const struct json_tok *t);
double json_float(const struct json *j, const struct json_tok *t);

#endif
