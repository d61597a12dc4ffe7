/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/num.h"
#include "virtio/mmds/http.h"
#include "virtio/mmds/mmds.h"
#include "virtio/mmds/token.h"

#define DOC                                                             \
	"{\"name\":{\"first\":\"John\",\"second\":\"Doe\"},\"age\":43," \
	"\"phones\":{\"home\":{\"RO\":\"+401\"},\"mobile\":\"+44\"}}"

static struct mmds m;
static uint64_t now;
static char reply[8192];
static bool closes;

static uint64_t test_now(void)
{
	return now;
}

static int setup(void **state)
{
	struct err e;

	(void)state;
	mmds_init(&m, 51200);
	m.now = test_now;
	now = 1000 * NS_PER_S;
	if (mmds_store_put(&m.store, DOC, strlen(DOC), &e) < 0)
		return -1;
	return mmds_token_key(&m, &e);
}

static int teardown(void **state)
{
	(void)state;
	mmds_exit(&m);
	return 0;
}

static const char *body_of(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

static void ask_bytes(const char *request, size_t len)
{
	size_t n;

	assert_int_equal(mmds_http_whole(request, len), len);
	n = mmds_http_reply(&m, request, len, reply, sizeof(reply) - 1,
			    &closes);
	assert_true(n < sizeof(reply));
	reply[n] = '\0';
}

__attribute__((format(printf, 1, 2))) static void ask(const char *fmt, ...)
{
	char request[MMDS_REQUEST_MAX + 1];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(request, sizeof(request), fmt, ap);
	va_end(ap);
	assert_true(n > 0 && (size_t)n < sizeof(request));
	ask_bytes(request, (size_t)n);
}

/* The reply is this, to the byte. */
static void replies(const char *version, int status, const char *headers,
		    const char *type, const char *body)
{
	char want[4096];

	(void)snprintf(want, sizeof(want),
		       "%s %d \r\nServer: Firecracker API\r\n"
		       "Connection: keep-alive\r\n%sContent-Type: %s\r\n"
		       "Content-Length: %zu\r\n\r\n%s",
		       version, status, headers, type, strlen(body), body);
	assert_string_equal(reply, want);
}

/* A request that is understood. */
static void text(int status, const char *body)
{
	replies("HTTP/1.1", status, "", "text/plain", body);
	assert_false(closes);
}

static void json(int status, const char *body)
{
	replies("HTTP/1.1", status, "", "application/json", body);
	assert_false(closes);
}

/* One that is not. */
static void fault(int status, const char *body)
{
	replies("HTTP/1.1", status, "", "application/json", body);
	assert_true(closes);
}

static void request_is_whole_with_an_empty_line(void **state)
{
	static const char *const whole[] = {"\n\n", "\r\n\r\n",
					    "GET / HTTP/1.1\r\n\r\n",
					    "a\nb\n\r\n", "\r\n\n"};
	static const char *const parts[] = {
		"",	 "\n", "\n\r", "a\r\nb\r\n", "GET / HTTP/1.1\r\n\r",
		"\r\r\n"};
	const char two[] = "GET / HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whole); i++)
		assert_int_equal(mmds_http_whole(whole[i], strlen(whole[i])),
				 strlen(whole[i]));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		assert_int_equal(mmds_http_whole(parts[i], strlen(parts[i])),
				 0);
	assert_int_equal(mmds_http_whole(two, strlen(two)), 18);
}

static void get_gives_text_or_json(void **state)
{
	(void)state;
	ask("GET / HTTP/1.1\r\n\r\n");
	text(200, "age\nname/\nphones/");
	ask("GET /name/first HTTP/1.1\r\nHost: x\r\n\r\n");
	text(200, "John");
	ask("GET /name/first HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	json(200, "\"John\"");
	ask("GET /name/ HTTP/1.1\r\nACCEPT :  application/json \r\n\r\n");
	json(200, "{\"first\":\"John\",\"second\":\"Doe\"}");
	ask("GET /age HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	json(200, "43");
	ask("GET http://169.254.169.254/phones//home HTTP/1.0\r\n\r\n");
	replies("HTTP/1.0", 200, "", "text/plain", "RO");
	assert_false(closes);
}

static void get_takes_unknown_types_for_text(void **state)
{
	static const char *const types[] = {"", "*/*", "text/plain",
					    "application/json2", "text/html"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		ask("GET /name HTTP/1.1\r\nAccept: %s\r\n\r\n", types[i]);
		text(200, "first\nsecond");
	}
	ask("GET /age HTTP/1.1\r\nAccept: application/json\r\n"
	    "Accept: text/plain\r\n\r\n");
	text(501, "Cannot retrieve value. The value has an unsupported type.");
}

static void get_with_imds_compat_is_always_text(void **state)
{
	(void)state;
	m.imds_compat = true;
	ask("GET /name HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	text(200, "first\nsecond");
	ask("GET /age HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	text(501, "Cannot retrieve value. The value has an unsupported type.");
}

static void get_of_nothing_is_404(void **state)
{
	(void)state;
	ask("GET /invalid HTTP/1.1\r\n\r\n");
	text(404, "Resource not found: /invalid.");
	ask("GET //name//x HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	text(404, "Resource not found: //name//x.");
	mmds_store_exit(&m.store);
	ask("GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n");
	json(200, "null");
	ask("GET / HTTP/1.1\r\n\r\n");
	text(501, "Cannot retrieve value. The value has an unsupported type.");
	ask("GET /a HTTP/1.1\r\n\r\n");
	text(404, "Resource not found: /a.");
}

static void path_must_be_absolute(void **state)
{
	static const char *const uris[] = {"http://", "http://host", "name",
					   "HTTP://h/name", "*"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
		ask("GET %s HTTP/1.1\r\n\r\n", uris[i]);
		text(400, "Invalid URI.");
		ask("PATCH %s HTTP/1.1\r\n\r\n", uris[i]);
		text(400, "Invalid URI.");
	}
}

static void other_methods_are_not_allowed(void **state)
{
	static const char *const methods[] = {"PATCH", "DELETE"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		ask("%s / HTTP/1.0\r\n\r\n", methods[i]);
		replies("HTTP/1.0", 405, "Allow: GET, PUT\r\n", "text/plain",
			"Not allowed HTTP method.");
		assert_false(closes);
	}
	ask("POST / HTTP/1.1\r\n\r\n");
	fault(501, "Unsupported HTTP method.");
	ask("get /name HTTP/1.1\r\n\r\n");
	fault(501, "Unsupported HTTP method.");
}

static void malformed_requests_are_refused(void **state)
{
	(void)state;
	ask("\n\n");
	fault(400, "Invalid request.");
	ask("\r\n\r\n");
	fault(400, "Invalid request.");
	ask("GET / HTTP/1.1\n\n");
	fault(400, "Invalid request.");
	ask("GET / HTTP/1.1\r\nA: b\n\r\n");
	fault(400, "Invalid request.");
	ask("GET /\r\n\r\n");
	fault(400, "Invalid request.");
	ask("GET /012345678901\r\n\r\n");
	fault(400, "Invalid request.");
	ask("GET  HTTP/1.1  \r\n\r\n");
	fault(400, "Empty URI not allowed.");
	ask("GET / HTTP/2.0\r\n\r\n");
	fault(501, "Unsupported HTTP version.");
	ask("GET / http/1.1\r\n\r\n");
	fault(501, "Unsupported HTTP version.");
	ask("GET /\xff\xfe HTTP/1.1\r\n\r\n");
	fault(400, "Cannot parse URI as UTF-8.");
	ask("GET / HTTP/1.1\r\nA: \xff\r\n\r\n");
	fault(400, "Invalid request.");
	ask("GET / HTTP/1.1\r\nA b\r\n\r\n");
	fault(400, "Header is incorrectly formatted. Key: A b");
	ask("GET / HTTP/1.1\r\nContent-Length: x1\r\n\r\n");
	fault(400, "Invalid value. Key:Content-Length; Value: x1");
	ask("GET / HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n");
	fault(400, "Invalid value. Key:Content-Length; Value: 4294967296");
	ask("PUT /latest/api/token HTTP/1.1\r\ncontent-length:5\r\n\r\n");
	fault(400, "Invalid request.");
	ask("GET /name/first HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
	text(200, "John");
}

static void put_gives_a_token(void **state)
{
	static const char *const names[] = {
		"X-metadata-token-ttl-seconds", "x-METADATA-token-ttl-seconds",
		"X-aws-ec2-metadata-token-ttl-seconds"};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
		char header[80], token[MMDS_TOKEN_BYTES + 1] = "";
		const char *name = names[i / 2];

		m.version = i % 2 ? MMDS_V2 : MMDS_V1;
		ask("PUT /latest//api/token HTTP/1.1\r\n%s:  +60 \r\n\r\n",
		    name);
		(void)snprintf(header, sizeof(header), "%s: 60\r\n", name);
		(void)snprintf(token, sizeof(token), "%s", body_of(reply));
		assert_int_equal(strlen(token), MMDS_TOKEN_BYTES);
		replies("HTTP/1.1", 200, header, "text/plain", token);
		assert_true(mmds_token_valid(&m, token, strlen(token)));
	}
}

static void put_without_a_good_ttl_is_refused(void **state)
{
	static const char *const bad[] = {
		"application/json", "",	    "-1",	  "1.5",
		"4294967296",	    "0x10", "99999999999"};
	static const char *const beyond[] = {"0", "21601", "4294967295"};
	char want[256];

	(void)state;
	ask("PUT /latest/api/token HTTP/1.1\r\n\r\n");
	text(400,
	     "Token time to live value not found. Use "
	     "`X-metadata-token-ttl-seconds` or "
	     "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the "
	     "token's lifetime.");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ask("PUT /latest/api/token HTTP/1.1\r\n"
		    "X-metadata-token-ttl-seconds: %s\r\n\r\n",
		    bad[i]);
		(void)snprintf(want, sizeof(want),
			       "Invalid header. Reason: Invalid value. "
			       "Key:X-metadata-token-ttl-seconds; Value:%s",
			       bad[i]);
		text(400, want);
	}
	for (size_t i = 0; i < ARRAY_LEN(beyond); i++) {
		ask("PUT /latest/api/token HTTP/1.1\r\n"
		    "X-metadata-token-ttl-seconds: %s\r\n\r\n",
		    beyond[i]);
		(void)snprintf(want, sizeof(want),
			       "Invalid time to live value provided for "
			       "token: %s. Please provide a value between 1 "
			       "and 21600.",
			       beyond[i]);
		text(400, want);
	}
}

static void put_elsewhere_or_forwarded_is_refused(void **state)
{
	static const char *const paths[] = {"/token", "/latest/api/token/",
					    "/latest/api/tokens",
					    "/latest/api/toke", "/"};
	char want[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		ask("PUT %s HTTP/1.1\r\n"
		    "X-metadata-token-ttl-seconds: 60\r\n\r\n",
		    paths[i]);
		(void)snprintf(want, sizeof(want), "Resource not found: %s.",
			       paths[i]);
		text(404, want);
	}
	ask("PUT /latest/api/token HTTP/1.1\r\nX-fOrWaRdEd-FoR: 1.2.3.4\r\n"
	    "X-metadata-token-ttl-seconds: 60\r\n\r\n");
	text(400, "Invalid header. Reason: Unsupported header name. Key: "
		  "X-fOrWaRdEd-FoR");
	ask("GET /name/first HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n");
	text(200, "John");
}

static void v1_counts_tokens_but_needs_none(void **state)
{
	char token[MMDS_TOKEN_BYTES + 1];

	(void)state;
	ask("GET /name/first HTTP/1.1\r\n\r\n");
	text(200, "John");
	assert_int_equal(m.counts.rx_no_token, 1);
	ask("GET /name/first HTTP/1.1\r\nX-metadata-token: no\r\n\r\n");
	text(200, "John");
	assert_int_equal(m.counts.rx_invalid_token, 1);
	mmds_token_new(&m, 60, token);
	ask("GET /name/first HTTP/1.1\r\nX-metadata-token: %s\r\n\r\n", token);
	text(200, "John");
	assert_int_equal(m.counts.rx_no_token, 1);
	assert_int_equal(m.counts.rx_invalid_token, 1);
}

static void v2_needs_a_token(void **state)
{
	char token[MMDS_TOKEN_BYTES + 1];

	(void)state;
	m.version = MMDS_V2;
	ask("GET /name/first HTTP/1.1\r\n\r\n");
	text(401, "No MMDS token provided. Use `X-metadata-token` or "
		  "`X-aws-ec2-metadata-token` header to specify the session "
		  "token.");
	assert_int_equal(m.counts.rx_no_token, 1);
	mmds_token_new(&m, 60, token);
	ask("GET /name/first HTTP/1.1\r\nx-metadata-TOKEN: %s\r\n\r\n", token);
	text(200, "John");
	ask("GET /invalid HTTP/1.1\r\nX-aws-ec2-metadata-token: %s\r\n\r\n",
	    token);
	text(404, "Resource not found: /invalid.");
	assert_int_equal(m.counts.rx_invalid_token, 0);
	now += 60 * NS_PER_S;
	ask("GET /name/first HTTP/1.1\r\nX-metadata-token: %s\r\n\r\n", token);
	text(401, "MMDS token not valid.");
	ask("GET /name/first HTTP/1.1\r\nX-metadata-token: x\r\n\r\n");
	text(401, "MMDS token not valid.");
	ask("GET /name/first HTTP/1.1\r\nX-metadata-token:\r\n\r\n");
	text(401, "MMDS token not valid.");
	assert_int_equal(m.counts.rx_invalid_token, 3);
	assert_int_equal(m.counts.rx_no_token, 1);
}

static void reply_that_does_not_fit_has_no_effect(void **state)
{
	const char q[] = "GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n";
	char buf[1024];
	size_t n;

	(void)state;
	n = mmds_http_reply(&m, q, strlen(q), buf, sizeof(buf), &closes);
	assert_int_equal(m.counts.rx_no_token, 1);
	for (size_t cap = 1; cap < n; cap++) {
		char *exact = malloc(cap); /* ASan watches its end */

		assert_int_equal(
			mmds_http_reply(&m, q, strlen(q), exact, cap, &closes),
			n);
		free(exact);
	}
	assert_int_equal(m.counts.rx_no_token, 1);
	assert_memory_equal(buf + n - strlen(DOC), "{\"age\":43,", 10);
}

static void longest_request_is_answered(void **state)
{
	char request[MMDS_REQUEST_MAX];
	size_t line = strlen("GET  HTTP/1.1\r\n\r\n");

	(void)state;
	memset(request, '/', sizeof(request));
	memset(request + 5, 'x', sizeof(request) - line - 4);
	memcpy(request, "GET /", 5);
	memcpy(request + sizeof(request) - 13, " HTTP/1.1\r\n\r\n", 13);
	ask_bytes(request, sizeof(request));
	assert_non_null(strstr(reply, " 404 "));
	assert_true(strlen(reply) <= MMDS_HEADERS_MAX + 2 * MMDS_REQUEST_MAX);
	assert_int_equal(strlen(body_of(reply)),
			 sizeof(request) - line +
				 strlen("Resource not found: ."));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(request_is_whole_with_an_empty_line),
		TEST(get_gives_text_or_json),
		TEST(get_takes_unknown_types_for_text),
		TEST(get_with_imds_compat_is_always_text),
		TEST(get_of_nothing_is_404),
		TEST(path_must_be_absolute),
		TEST(other_methods_are_not_allowed),
		TEST(malformed_requests_are_refused),
		TEST(put_gives_a_token),
		TEST(put_without_a_good_ttl_is_refused),
		TEST(put_elsewhere_or_forwarded_is_refused),
		TEST(v1_counts_tokens_but_needs_none),
		TEST(v2_needs_a_token),
		TEST(reply_that_does_not_fit_has_no_effect),
		TEST(longest_request_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
