/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h: JSON objects into structs, by tables.
 *
 * A table names the members of an object: what each is, where it goes in the
 * struct, whether it must be there and whether null stands for leaving it out.
 * The text is walked once, front to back; the first thing that is wrong ends it
 * with the message and the place that serde gives, which clients know:
 *
 *	unknown field `x`, expected `a` or `b` at line 1 column 5
 *
 * All that a filled struct points to is its own and on the heap; schema_exit()
 * frees it, half-filled structs and zeroed ones too. Any thread.
 */
#ifndef API_SCHEMA_H
#define API_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

struct err;
struct schema;

/* A string of a body: len bytes, which may hold NUL, and a NUL behind. */
struct text {
	char *s; /* NULL: not given */
	size_t len;
};

/* Where a value stands in the text. */
struct span {
	uint32_t at, len; /* len 0: not given */
	bool empty;	  /* [] or {} */
};

enum field_kind {
	FIELD_BOOL,   /* bool */
	FIELD_U8,     /* uint8_t */
	FIELD_U16,    /* uint16_t */
	FIELD_U32,    /* uint32_t */
	FIELD_U64,    /* uint64_t */
	FIELD_USIZE,  /* uint64_t, "usize" in messages */
	FIELD_STRING, /* struct text */
	FIELD_PATH,   /* struct text, "path string" in messages */
	FIELD_ENUM,   /* int: one of variants */
	FIELD_PARSED, /* a string that parse() takes */
	FIELD_STRUCT, /* the struct of a table */
	FIELD_LIST,   /* a pointer to items and, at count, an unsigned int */
	FIELD_SPAN,   /* struct span: an object, for later; not looked into */
	FIELD_SPANS,  /* struct span: an array, likewise */
	FIELD_VALUE,  /* whatever value() takes */
};

#define FIELD_REQUIRED	 1U
#define FIELD_NULLABLE	 2U
#define FIELD_ADDITIONAL 4U  /* accepted, but never named in messages */
#define FIELD_GIVEN	 8U  /* `given` is the offset of a bool, see there */
#define FIELD_AT_VALUE	 16U /* refused where the value ends, not behind it */

struct variant {
	const char *name; /* NULL ends the list */
	int value;
};

struct field {
	const char *name; /* NULL: an item of a list */
	enum field_kind kind;
	unsigned int flags;
	size_t at;    /* offset in the struct */
	size_t given; /* offset of a bool that is set by a value but null */
	union {
		const struct variant *variants;
		const struct schema *schema; /* FIELD_STRUCT */
		/*
		 * Put what a string means at `to`. Returns 0, or a negative
		 * errno and a message without a place.
		 */
		int (*parse)(const struct text *s, void *to, struct err *e);
		const char *name_of; /* FIELD_SPAN: "struct X" */
		struct {
			const struct field *item; /* name NULL, at 0 */
			size_t item_bytes;
			size_t count;
		} list;
		struct {
			/* The same; t is a value of j that is whole. */
			int (*take)(const struct json *j,
				    const struct json_tok *t, void *to,
				    struct err *e);
			void (*exit)(void *to);
		} value;
	};
};

#define SCHEMA_MAX_FIELDS 32

struct schema {
	const char *name; /* of the struct, in messages */
	const struct field *fields;
	unsigned int n_fields; /* at most SCHEMA_MAX_FIELDS */
	bool open;	       /* unknown members are skipped */
};

/*
 * Fill *to, which is zeroed here first, from a text. Returns 0, -EINVAL or
 * -ENOMEM; after an error nothing is left to free.
 */
int schema_parse(const struct schema *s, const char *text, size_t len, void *to,
		 size_t to_bytes, struct err *e);

/* The same for a value inside a text; *to must be zeroed. */
int schema_fill(const struct schema *s, const struct json *j,
		const struct json_tok *t, void *to, struct err *e);

/* Free what *to points to; pointers and counts become zero. */
void schema_exit(const struct schema *s, void *to);

/* A decoded copy of a string. Returns 0 or -ENOMEM. */
int text_init(struct text *x, const struct json *j, const struct json_tok *t,
	      struct err *e);
void text_exit(struct text *x);

/* Replace it by a copy of s. Returns 0, or -ENOMEM and the old one stays. */
int text_set(struct text *x, const char *s, struct err *e);

/* Both were given. */
bool text_equal(const struct text *a, const struct text *b);

#endif
