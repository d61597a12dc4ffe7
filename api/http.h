/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h: HTTP/1.1 requests as bytes: an incremental parser.
 *
 * It imitates Firecracker's server to the letter where clients can see it:
 * lines of at most 1,024 bytes that end in CR LF, the texts of errors, what is
 * ignored, a body that only Content-Length announces. Two things differ: a bad
 * header and a line that is too long end the connection (HTTP_FATAL; there the
 * connection goes on in the middle of the request).
 *
 * What arrives is received into http_space() and counted by http_received();
 * then http_next() is called until it returns HTTP_MORE. So the parser never
 * copies a body, and never holds more than one line and one unfinished request;
 * memory for a body is allocated once its length is known and checked.
 *
 * No locks, no descriptors.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LINE_MAX 1024 /* with CR LF */

/* A line of bytes that are not UTF-8, each shown as U+FFFD, and words of ours.
 */
#define HTTP_ERROR_BYTES (3 * HTTP_LINE_MAX + 256)

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };

/*
 * One request; freed by http_request_free(). The strings are its own and end in
 * a NUL that does not count, but may hold others (target: UTF-8; body: bytes).
 */
struct http_request {
	struct http_request *next; /* for a queue; NULL from the parser */
	enum http_method method;
	bool expect;	   /* the client waits for "100 Continue" */
	char *target;	   /* absolute path as it was sent, for log lines: */
	size_t target_len; /* "//a/b", or "" if it has none ("*", "http://h") */
	const char *path;  /* part of target with just one leading slash, or */
	size_t path_len;   /* "/": what a router takes apart */
	char *body;	   /* NULL if none, or one of 0 bytes, was declared */
	size_t body_len;
};

/* The body of an error reply (status 400, application/json), not a string. */
struct http_error {
	size_t len;
	char text[HTTP_ERROR_BYTES];
};

enum http_event {
	HTTP_MORE,     /* all that arrived is used up */
	HTTP_REQUEST,  /* a whole request, the caller's from now on */
	HTTP_CONTINUE, /* "100 Continue" is due before the body is read */
	/* Each means one error reply, and that what arrived is discarded: */
	HTTP_BAD,   /* ... the next request may follow */
	HTTP_FATAL, /* ... the connection must be closed then */
};

enum http_state { HTTP_AT_LINE, HTTP_AT_HEADERS, HTTP_AT_BODY, HTTP_AT_END };

struct http_parser {
	size_t max_body;
	enum http_state state;
	struct http_request *request; /* unfinished */
	uint32_t content_length;
	size_t body_have;
	size_t start, end; /* what is not yet used of line */
	char line[HTTP_LINE_MAX];
};

/* Bodies of more than max_body bytes are an error. */
void http_parser_init(struct http_parser *p, size_t max_body);
void http_parser_exit(struct http_parser *p);

/* Whether no byte of an unfinished request has arrived. */
bool http_parser_idle(const struct http_parser *p);

/* Where the next bytes go, and how many at most: never 0 after HTTP_MORE. */
void *http_space(struct http_parser *p, size_t *len);

/* n bytes were put there. */
void http_received(struct http_parser *p, size_t n);

/*
 * What comes next in the bytes that arrived. *r is set for HTTP_REQUEST, *e for
 * HTTP_BAD and HTTP_FATAL; otherwise both are left undefined.
 */
enum http_event http_next(struct http_parser *p, struct http_request **r,
			  struct http_error *e);

/* "GET" */
const char *http_method_name(enum http_method method);

/* Accepts NULL. */
void http_request_free(struct http_request *r);

#endif
