/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/mmds/http.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "base/utf8.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/token.h"

#define TOKEN_PATH  "/latest/api/token"
#define TOKEN_NAME  "X-metadata-token"
#define TTL_NAME    "X-metadata-token-ttl-seconds"
#define TOKEN_ALIAS "X-aws-ec2-metadata-token"
#define TTL_ALIAS   "X-aws-ec2-metadata-token-ttl-seconds"

struct span {
	const char *s; /* NULL: is not there */
	size_t len;
};

enum method { OTHER, GET, PUT };

struct request {
	enum method method;
	struct span path;	/* with slashes as they came */
	struct span token, ttl; /* values */
	struct span ttl_name;	/* as the client writes it */
	struct span forwarded;	/* name */
	bool json;
};

struct answer {
	const char *version, *type;
	unsigned int status;
	bool allow, no_token, bad_token;
	bool value; /* the body is the document at the path, else body */
	size_t len;
	char ttl[64]; /* "", or a header line */
	char body[MMDS_REQUEST_MAX + 256];
};

/* For "%.*s". */
#define ARG(span) (int)(span).len, (span).s

__attribute__((format(printf, 3, 4))) static bool answer(struct answer *a,
							 unsigned int status,
							 const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(a->body, sizeof(a->body), fmt, ap);
	va_end(ap);
	a->len = MIN((size_t)MAX(n, 0), sizeof(a->body) - 1);
	a->status = status;
	return false;
}

static bool is(struct span a, const char *s)
{
	return a.len == strlen(s) && memcmp(a.s, s, a.len) == 0;
}

static bool is_name(struct span a, const char *s)
{
	return a.len == strlen(s) && strncasecmp(a.s, s, a.len) == 0;
}

static struct span trim(struct span a)
{
	for (; a.len > 0 && isspace((unsigned char)*a.s); a.len--)
		a.s++;
	while (a.len > 0 && isspace((unsigned char)a.s[a.len - 1]))
		a.len--;
	return a;
}

/* What of *rest is in front of the separator, which is taken off with it. */
static bool cut(struct span *rest, const char *separator, struct span *out)
{
	size_t n = strlen(separator);
	const char *at = memmem(rest->s, rest->len, separator, n);

	if (!at)
		return false;
	*out = (struct span){rest->s, (size_t)(at - rest->s)};
	rest->len -= out->len + n;
	rest->s = at + n;
	return true;
}

/* Decimal digits, perhaps behind a plus. */
static bool number(struct span a, uint32_t *out)
{
	uint32_t n = 0;

	if (a.len > 1 && *a.s == '+')
		a = (struct span){a.s + 1, a.len - 1};
	for (size_t i = 0; i < a.len; i++) {
		if (!isdigit((unsigned char)a.s[i]) || !num_mul(n, 10, &n) ||
		    !num_add(n, (uint32_t)(a.s[i] - '0'), &n))
			return false;
	}
	*out = n;
	return a.len > 0;
}

static bool utf8(struct span a)
{
	size_t bad;

	return utf8_prefix(a.s, a.len, &bad) == a.len;
}

/* The path in "/path" or "http://host/path"; empty if it is neither. */
static struct span path_of(struct span uri)
{
	const char *slash = uri.s;

	if (uri.len > 7 && memcmp(uri.s, "http://", 7) == 0)
		slash = memchr(uri.s + 7, '/', uri.len - 7);
	if (!slash || *slash != '/')
		return (struct span){uri.s, 0};
	return (struct span){slash, uri.len - (size_t)(slash - uri.s)};
}

static bool parse_line(struct request *q, struct answer *a, struct span line)
{
	struct span method, uri;

	if (line.len < strlen("GET  HTTP/1.1") + 1 ||
	    !cut(&line, " ", &method) || !cut(&line, " ", &uri))
		return answer(a, 400, "Invalid request.");
	if (is(method, "GET"))
		q->method = GET;
	else if (is(method, "PUT"))
		q->method = PUT;
	else if (!is(method, "PATCH") && !is(method, "DELETE"))
		return answer(a, 501, "Unsupported HTTP method.");
	if (uri.len == 0)
		return answer(a, 400, "Empty URI not allowed.");
	if (!utf8(uri))
		return answer(a, 400, "Cannot parse URI as UTF-8.");
	if (!is(line, "HTTP/1.0") && !is(line, "HTTP/1.1"))
		return answer(a, 501, "Unsupported HTTP version.");
	a->version = is(line, "HTTP/1.0") ? "HTTP/1.0" : "HTTP/1.1";
	q->path = path_of(uri);
	return true;
}

static bool parse_header(struct request *q, struct answer *a, struct span line)
{
	struct span name, value = line;
	uint32_t length = 0;

	if (!cut(&value, ":", &name))
		return answer(a, 400,
			      "Header is incorrectly formatted. Key: %.*s",
			      ARG(line));
	if (is_name(trim(name), "Content-Length") &&
	    !number(trim(value), &length))
		return answer(a, 400, "Invalid value. Key:%.*s; Value:%.*s",
			      ARG(name), ARG(value));
	if (length > 0) /* no request here has a body */
		return answer(a, 400, "Invalid request.");
	name = trim(name);
	value = trim(value);
	if (is_name(name, TOKEN_NAME) || is_name(name, TOKEN_ALIAS)) {
		q->token = value;
	} else if (is_name(name, TTL_NAME) || is_name(name, TTL_ALIAS)) {
		q->ttl_name = name;
		q->ttl = value;
	} else if (is_name(name, "X-Forwarded-For")) {
		q->forwarded = name;
	} else if (is_name(name, "Accept") &&
		   (is(value, "application/json") || is(value, "text/plain"))) {
		q->json = is(value, "application/json");
	}
	return true;
}

/* False: the answer is made, and what follows the request is of no use. */
static bool parse(struct request *q, struct answer *a, struct span text)
{
	struct span line, headers = {text.s, text.len - 2};

	if (text.len < 4 || memcmp(text.s + text.len - 4, "\r\n\r\n", 4) != 0 ||
	    !cut(&headers, "\r\n", &line))
		return answer(a, 400, "Invalid request.");
	if (!parse_line(q, a, line))
		return false;
	if (!utf8(headers))
		return answer(a, 400, "Invalid request.");
	while (cut(&headers, "\r\n", &line))
		if (!parse_header(q, a, line))
			return false;
	return true;
}

static void serve_get(const struct mmds *m, const struct request *q,
		      struct answer *a)
{
	bool json = q->json && !m->imds_compat;

	a->no_token = !q->token.s;
	a->bad_token =
		q->token.s && !mmds_token_valid(m, q->token.s, q->token.len);
	if (a->no_token && m->version == MMDS_V2) {
		answer(a, 401,
		       "No MMDS token provided. Use `" TOKEN_NAME
		       "` or `" TOKEN_ALIAS
		       "` header to specify the session token.");
		return;
	}
	if (a->bad_token && m->version == MMDS_V2) {
		answer(a, 401, "MMDS token not valid.");
		return;
	}
	switch (mmds_store_get(&m->store, q->path.s, q->path.len,
			       json ? MMDS_JSON : MMDS_IMDS, a->body, 0,
			       &a->len)) {
	case MMDS_FOUND:
		a->status = 200;
		a->type = json ? "application/json" : "text/plain";
		a->value = true;
		break;
	case MMDS_NOT_FOUND:
		answer(a, 404, "Resource not found: %.*s.", ARG(q->path));
		break;
	case MMDS_NOT_TEXT:
		answer(a, 501,
		       "Cannot retrieve value. The value has an unsupported "
		       "type.");
		break;
	}
}

/* Whether the path is that of tokens, with any number of slashes for one. */
static bool is_token_path(struct span path)
{
	const char *want = TOKEN_PATH;

	for (size_t i = 0; i < path.len; i++) {
		if (i > 0 && path.s[i] == '/' && path.s[i - 1] == '/')
			continue;
		if (*want != path.s[i] || *want++ == '\0')
			return false;
	}
	return *want == '\0';
}

static void serve_put(struct mmds *m, const struct request *q, struct answer *a)
{
	uint32_t ttl;

	if (q->forwarded.s) {
		answer(a, 400,
		       "Invalid header. Reason: Unsupported header name. "
		       "Key: %.*s",
		       ARG(q->forwarded));
	} else if (!is_token_path(q->path)) {
		answer(a, 404, "Resource not found: %.*s.", ARG(q->path));
	} else if (!q->ttl.s) {
		answer(a, 400,
		       "Token time to live value not found. Use `" TTL_NAME
		       "` or `" TTL_ALIAS
		       "` header to specify the token's lifetime.");
	} else if (!number(q->ttl, &ttl)) {
		answer(a, 400,
		       "Invalid header. Reason: Invalid value. Key:%.*s; "
		       "Value:%.*s",
		       ARG(q->ttl_name), ARG(q->ttl));
	} else if (ttl < 1 || ttl > MMDS_TOKEN_TTL_S_MAX) {
		answer(a, 400,
		       "Invalid time to live value provided for token: %u. "
		       "Please provide a value between 1 and %u.",
		       ttl, MMDS_TOKEN_TTL_S_MAX);
	} else {
		mmds_token_new(m, ttl, a->body);
		a->len = MMDS_TOKEN_BYTES;
		a->status = 200;
		(void)snprintf(a->ttl, sizeof(a->ttl), "%.*s: %u\r\n",
			       ARG(q->ttl_name), ttl);
	}
}

size_t mmds_http_whole(const char *buf, size_t len)
{
	const char *end = buf + len;

	for (const char *p = buf; p < end; p++) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (!p)
			return 0;
		if (end - p >= 2 && p[1] == '\n')
			return (size_t)(p - buf) + 2;
		if (end - p >= 3 && p[1] == '\r' && p[2] == '\n')
			return (size_t)(p - buf) + 3;
	}
	return 0;
}

size_t mmds_http_reply(struct mmds *m, const char *req, size_t len, char *buf,
		       size_t cap, bool *close)
{
	struct request q = {.method = OTHER};
	struct answer a = {.version = "HTTP/1.1", .type = "application/json"};
	size_t n, ignored;

	*close = !parse(&q, &a, (struct span){req, len});
	if (!*close) {
		a.type = "text/plain";
		a.allow = q.method == OTHER && q.path.len > 0;
		if (q.path.len == 0)
			answer(&a, 400, "Invalid URI.");
		else if (q.method == GET)
			serve_get(m, &q, &a);
		else if (q.method == PUT)
			serve_put(m, &q, &a);
		else
			answer(&a, 405, "Not allowed HTTP method.");
	}
	n = (size_t)snprintf(
		buf, cap,
		"%s %u \r\nServer: Firecracker API\r\n"
		"Connection: keep-alive\r\n%s%sContent-Type: %s\r\n"
		"Content-Length: %zu\r\n\r\n",
		a.version, a.status, a.allow ? "Allow: GET, PUT\r\n" : "",
		a.ttl, a.type, a.len);
	if (n > cap || a.len > cap - n)
		return n + a.len;
	if (a.value)
		(void)mmds_store_get(&m->store, q.path.s, q.path.len,
				     *a.type == 't' ? MMDS_IMDS : MMDS_JSON,
				     buf + n, a.len, &ignored);
	else
		memcpy(buf + n, a.body, a.len);
	m->counts.rx_no_token += a.no_token;
	m->counts.rx_invalid_token += a.bad_token;
	return n + a.len;
}
