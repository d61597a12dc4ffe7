/* SPDX-License-Identifier: Apache-2.0 */
#include "api/http.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "base/utf8.h"

struct slice {
	const char *s;
	size_t len;
};

static const char *const method_names[] = {
	[HTTP_GET] = "GET",
	[HTTP_PUT] = "PUT",
	[HTTP_PATCH] = "PATCH",
	[HTTP_DELETE] = "DELETE",
};

const char *http_method_name(enum http_method method)
{
	return method_names[method];
}

static bool equal(struct slice a, const char *text)
{
	return a.len == strlen(text) && memcmp(a.s, text, a.len) == 0;
}

static bool starts(struct slice a, const char *text)
{
	size_t len = strlen(text);

	return a.len >= len && memcmp(a.s, text, len) == 0;
}

static struct slice skip(struct slice a, size_t n)
{
	return (struct slice){a.s + n, a.len - n};
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice trim(struct slice a)
{
	while (a.len && is_blank(a.s[0]))
		a = skip(a, 1);
	while (a.len && is_blank(a.s[a.len - 1]))
		a.len--;
	return a;
}

/*
 * The part of *a before the first sep; *a becomes what is behind it. Returns
 * false if there is no sep: then all of *a is the part.
 */
static bool cut(struct slice *a, char sep, struct slice *part)
{
	const char *at = memchr(a->s, sep, a->len);

	*part = *a;
	if (!at) {
		*a = skip(*a, a->len);
		return false;
	}
	part->len = (size_t)(at - a->s);
	*a = skip(*a, part->len + 1);
	return true;
}

static void put(struct http_error *e, struct slice text)
{
	size_t n = MIN(text.len, sizeof(e->text) - e->len);

	memcpy(e->text + e->len, text.s, n);
	e->len += n;
}

static void put_text(struct http_error *e, const char *text)
{
	put(e, (struct slice){text, strlen(text)});
}

/* Each sequence that is not UTF-8 is shown as U+FFFD. */
static void put_lossy(struct http_error *e, struct slice text)
{
	while (text.len) {
		size_t bad = 0;
		size_t good = utf8_prefix(text.s, text.len, &bad);

		put(e, (struct slice){text.s, good});
		if (good == text.len)
			break;
		put_text(e, "\xef\xbf\xbd");
		text = skip(text, bad ? good + bad : text.len);
	}
}

static enum http_event bad(struct http_error *e, const char *text)
{
	put_text(e, text);
	return HTTP_BAD;
}

static enum http_event fatal(struct http_error *e, const char *text)
{
	put_text(e, text);
	return HTTP_FATAL;
}

static enum http_event bad_value(struct http_error *e, struct slice key,
				 struct slice value)
{
	put_text(e, "Invalid header. Reason: Invalid value. Key:");
	put(e, key);
	put_text(e, "; Value:");
	put(e, value);
	return HTTP_FATAL;
}

void http_request_free(struct http_request *r)
{
	if (!r)
		return;
	free(r->target);
	free(r->body);
	free(r);
}

void http_parser_init(struct http_parser *p, size_t max_body)
{
	*p = (struct http_parser){.max_body = max_body};
}

void http_parser_exit(struct http_parser *p)
{
	http_request_free(p->request);
	p->request = NULL;
}

bool http_parser_idle(const struct http_parser *p)
{
	return p->state == HTTP_AT_LINE && p->start == p->end;
}

void *http_space(struct http_parser *p, size_t *len)
{
	if (p->state == HTTP_AT_BODY) {
		*len = p->content_length - p->body_have;
		return p->request->body + p->body_have;
	}
	*len = sizeof(p->line) - p->end;
	return p->line + p->end;
}

void http_received(struct http_parser *p, size_t n)
{
	if (p->state == HTTP_AT_BODY) {
		assert(n <= p->content_length - p->body_have);
		p->body_have += n;
	} else {
		assert(n <= sizeof(p->line) - p->end);
		p->end += n;
	}
}

/* Only these two forms of a target have a path; all others name the root. */
static struct slice absolute_path(struct slice target)
{
	static const char scheme[] = "http://";
	struct slice host;

	if (starts(target, "/"))
		return target;
	if (starts(target, scheme)) {
		struct slice rest = skip(target, strlen(scheme));

		if (cut(&rest, '/', &host))
			return (struct slice){rest.s - 1, rest.len + 1};
	}
	return skip(target, target.len);
}

static struct http_request *new_request(enum http_method method,
					struct slice target)
{
	struct http_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->method = method;
	r->target_len = target.len;
	r->target = malloc(target.len + 1);
	if (!r->target) {
		http_request_free(r);
		return NULL;
	}
	memcpy(r->target, target.s, target.len);
	r->target[target.len] = '\0';

	struct slice path = {"/", 1};

	if (target.len)
		path = (struct slice){r->target, r->target_len};
	while (path.len > 1 && path.s[1] == '/')
		path = skip(path, 1);
	r->path = path.s;
	r->path_len = path.len;
	return r;
}

static enum http_event parse_request_line(struct http_parser *p,
					  struct slice line,
					  struct http_error *e)
{
	struct slice method, target, version = line;
	size_t m = 0, wrong = 0;

	if (!cut(&version, ' ', &method) || !cut(&version, ' ', &target))
		return bad(e, "Invalid request.");
	while (m < ARRAY_LEN(method_names) && !equal(method, method_names[m]))
		m++;
	if (m == ARRAY_LEN(method_names))
		return bad(e, "Invalid HTTP Method: Unsupported HTTP method.");
	if (target.len == 0)
		return bad(e, "Invalid URI: Empty URI not allowed.");
	if (utf8_prefix(target.s, target.len, &wrong) != target.len)
		return bad(e, "Invalid URI: Cannot parse URI as UTF-8.");
	if (!equal(version, "HTTP/1.1") && !equal(version, "HTTP/1.0"))
		return bad(e,
			   "Invalid HTTP Version: Unsupported HTTP version.");

	p->request = new_request((enum http_method)m, absolute_path(target));
	if (!p->request)
		return fatal(e, "Out of memory.");
	p->content_length = 0;
	p->body_have = 0;
	p->state = HTTP_AT_HEADERS;
	return HTTP_MORE;
}

/* Digits that fit 32 bits, with a plus sign if the client likes. */
static bool parse_length(struct slice text, uint32_t *length)
{
	uint32_t n = 0;

	if (starts(text, "+"))
		text = skip(text, 1);
	if (text.len == 0)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.s[i] < '0' || text.s[i] > '9' ||
		    !num_mul(n, 10U, &n) ||
		    !num_add(n, (uint32_t)(text.s[i] - '0'), &n))
			return false;
	}
	*length = n;
	return true;
}

/* Replies are never encoded, so a client that refuses that is refused. */
static enum http_event check_encodings(struct slice list, struct http_error *e)
{
	bool named = memmem(list.s, list.len, "identity", 8) != NULL;
	struct slice item;
	bool more;

	if (list.len == 0)
		return fatal(e, "Invalid request.");
	do {
		more = cut(&list, ',', &item);
		if (equal(trim(item), "identity;q=0") ||
		    (!named && equal(trim(item), "*;q=0")))
			return bad_value(
				e, (struct slice){"Accept-Encoding", 15}, item);
	} while (more);
	return HTTP_MORE;
}

static bool is_header(struct slice name, const char *text)
{
	name = trim(name);
	return name.len == strlen(text) &&
	       strncasecmp(name.s, text, name.len) == 0;
}

static enum http_event bad_utf8(struct http_error *e, size_t good, size_t bytes)
{
	char text[96];

	if (bytes)
		(void)snprintf(text, sizeof(text),
			       "invalid utf-8 sequence of %zu bytes", bytes);
	else
		(void)snprintf(text, sizeof(text),
			       "incomplete utf-8 byte sequence");
	put_text(e, "Invalid header. Reason: Header contains invalid "
		    "characters. Key: ");
	put_text(e, text);
	(void)snprintf(text, sizeof(text), " from index %zu", good);
	return fatal(e, text);
}

static enum http_event parse_header(struct http_parser *p, struct slice line,
				    struct http_error *e)
{
	struct slice name, value = line;
	size_t wrong = 0;
	size_t good = utf8_prefix(line.s, line.len, &wrong);

	if (good != line.len)
		return bad_utf8(e, good, wrong);
	if (!cut(&value, ':', &name)) {
		put_text(e, "Invalid header. Reason: Header is incorrectly "
			    "formatted. Key: ");
		put(e, name);
		return HTTP_FATAL;
	}
	if (is_header(name, "Content-Length")) {
		if (!parse_length(trim(value), &p->content_length))
			return bad_value(e, name, value);
	} else if (is_header(name, "Expect")) {
		if (equal(trim(value), "100-continue"))
			p->request->expect = true;
	} else if (is_header(name, "Accept-Encoding")) {
		return check_encodings(trim(value), e);
	}
	return HTTP_MORE;
}

/* The empty line: a body follows, or the request is whole. */
static enum http_event finish_headers(struct http_parser *p,
				      struct http_error *e)
{
	struct http_request *r = p->request;
	char text[128];

	if (p->content_length == 0) {
		r->expect = false;
		p->state = HTTP_AT_END;
		return HTTP_MORE;
	}
	if (p->content_length > p->max_body) {
		(void)snprintf(text, sizeof(text),
			       "Request payload with size %u is larger than "
			       "the limit of %zu allowed by server.",
			       p->content_length, p->max_body);
		return fatal(e, text);
	}

	char *body = malloc((size_t)p->content_length + 1);

	if (!body)
		return fatal(e, "Out of memory.");
	body[p->content_length] = '\0';
	r->body = body;
	r->body_len = p->content_length;
	p->state = HTTP_AT_BODY;

	/* What has arrived of it already lies behind the headers. */
	p->body_have = MIN(r->body_len, p->end - p->start);
	memcpy(r->body, p->line + p->start, p->body_have);
	p->start += p->body_have;
	return r->expect ? HTTP_CONTINUE : HTTP_MORE;
}

static enum http_event long_line(const struct http_parser *p,
				 struct http_error *e)
{
	if (p->state == HTTP_AT_LINE)
		return fatal(e, "Invalid request.");
	put_text(e, "Invalid header. Reason: Invalid content length. Header: ");
	put_lossy(e, (struct slice){p->line, sizeof(p->line)});
	return HTTP_FATAL;
}

/*
 * Take the next line, if it is whole, and use it. *idle is set if nothing can
 * be done before more arrives.
 */
static enum http_event next_line(struct http_parser *p, struct http_error *e,
				 bool *idle)
{
	struct slice line = {p->line + p->start, p->end - p->start};
	const char *end = memmem(line.s, line.len, "\r\n", 2);

	if (!end) {
		*idle = true;
		memmove(p->line, line.s, line.len);
		p->start = 0;
		p->end = line.len;
		return line.len < sizeof(p->line) ? HTTP_MORE : long_line(p, e);
	}
	line.len = (size_t)(end - line.s);
	p->start += line.len + 2;
	if (p->state == HTTP_AT_LINE)
		return parse_request_line(p, line, e);
	return line.len ? parse_header(p, line, e) : finish_headers(p, e);
}

static enum http_event next_step(struct http_parser *p, struct http_error *e,
				 bool *idle)
{
	if (p->state == HTTP_AT_LINE || p->state == HTTP_AT_HEADERS)
		return next_line(p, e, idle);
	if (p->state == HTTP_AT_BODY && p->body_have < p->content_length) {
		/* All that arrived is in the body: the line buffer is free. */
		p->start = 0;
		p->end = 0;
		*idle = true;
		return HTTP_MORE;
	}
	p->state = HTTP_AT_LINE;
	return HTTP_REQUEST;
}

enum http_event http_next(struct http_parser *p, struct http_request **r,
			  struct http_error *e)
{
	enum http_event event = HTTP_MORE;
	bool idle = false;

	e->len = 0;
	put_text(e, "{ \"error\": \"");
	while (event == HTTP_MORE && !idle)
		event = next_step(p, e, &idle);

	if (event == HTTP_REQUEST) {
		*r = p->request;
		p->request = NULL;
	} else if (event == HTTP_BAD || event == HTTP_FATAL) {
		put_text(e, "\nAll previous unanswered requests will be "
			    "dropped.\" }");
		http_request_free(p->request);
		p->request = NULL;
		p->state = HTTP_AT_LINE;
		p->start = 0;
		p->end = 0;
	}
	return event;
}
