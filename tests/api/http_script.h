/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_script.h: what the parser makes of some bytes, however they are cut, as
 * text that tests compare.
 */
#ifndef TESTS_API_HTTP_SCRIPT_H
#define TESTS_API_HTTP_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/http.h"
#include "base/num.h"

#define MAX_BODY 51200

/*
 * What the parser made of some bytes, as text: "METHOD path|target|body" for
 * each request, "C" for a 100, "B" or "F" and the message for an error.
 */
struct script {
	size_t len;
	bool ended;	/* by an error */
	bool continued; /* a 100 is due for the request that comes next */
	char text[1 << 16];
};

static inline void add(struct script *s, const void *bytes, size_t len)
{
	assert_true(len < sizeof(s->text) - s->len);
	memcpy(s->text + s->len, bytes, len);
	s->len += len;
	s->text[s->len] = '\0';
}

static inline void add_text(struct script *s, const char *text)
{
	add(s, text, strlen(text));
}

static inline void add_request(struct script *s, const struct http_request *r)
{
	assert_int_equal(r->target[r->target_len], 0);
	assert_true(r->path_len > 0 && r->path[0] == '/');
	add_text(s, http_method_name(r->method));
	add_text(s, " ");
	add(s, r->path, r->path_len);
	add_text(s, "|");
	add(s, r->target, r->target_len);
	add_text(s, "|");
	if (r->body) {
		assert_int_equal(r->body[r->body_len], 0);
		add(s, r->body, r->body_len);
	} else {
		assert_int_equal(r->body_len, 0);
		add_text(s, "-");
	}
	add_text(s, "\n");
}

/* The message without what is the same in all of them. */
static inline void add_error(struct script *s, enum http_event event,
			     const struct http_error *e)
{
	static const char head[] = "{ \"error\": \"";
	static const char tail[] =
		"\nAll previous unanswered requests will be dropped.\" }";
	size_t around = strlen(head) + strlen(tail);

	assert_true(e->len >= around);
	assert_memory_equal(e->text, head, strlen(head));
	assert_memory_equal(e->text + e->len - strlen(tail), tail,
			    strlen(tail));
	add_text(s, event == HTTP_BAD ? "B " : "F ");
	add(s, e->text + strlen(head), e->len - around);
	add_text(s, "\n");
	s->ended = true;
}

static inline void take_all(struct script *s, struct http_parser *p)
{
	struct http_request *r = NULL;
	struct http_error e;
	enum http_event event;

	while ((event = http_next(p, &r, &e)) != HTTP_MORE) {
		if (event == HTTP_REQUEST) {
			assert_int_equal(r->expect, s->continued);
			s->continued = false;
			add_request(s, r);
			http_request_free(r);
		} else if (event == HTTP_CONTINUE) {
			s->continued = true;
			add_text(s, "C\n");
		} else {
			add_error(s, event, &e);
		}
	}
}

/* Feed bytes in pieces of at most `piece`; ends with the first error. */
static inline void feed(struct script *s, struct http_parser *p,
			const char *bytes, size_t len, size_t piece)
{
	while (len && !s->ended) {
		size_t room = 0;
		void *space = http_space(p, &room);
		size_t n = MIN(MIN(room, piece), len);

		assert_true(room > 0);
		memcpy(space, bytes, n);
		http_received(p, n);
		take_all(s, p);
		bytes += n;
		len -= n;
	}
}

static inline struct script *parse(const char *bytes, size_t len, size_t piece)
{
	static struct script s;
	struct http_parser p;

	s = (struct script){0};
	http_parser_init(&p, MAX_BODY);
	feed(&s, &p, bytes, len, piece);
	http_parser_exit(&p);
	return &s;
}

struct row {
	const char *in;
	size_t len;
	const char *out;
};

#define ROW(in, out)                    \
	{                               \
		in, sizeof(in) - 1, out \
	}
#define GET "GET /version HTTP/1.1\r\n"
#define GOT "GET /version|/version|-\n"
#define PUT "PUT /x HTTP/1.1\r\n"

/* Pieces of every size yield the same, up to the first error. */
static inline void check(const struct row *rows, size_t n)
{
	static const size_t pieces[] = {4096, 1, 2, 3, 7, 64};

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
			struct script *s =
				parse(rows[i].in, rows[i].len, pieces[k]);

			assert_string_equal(s->text, rows[i].out);
		}
	}
}

#endif
