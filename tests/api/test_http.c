/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/api/http_script.h"

static void methods_are_case_sensitive(void **state)
{
#define UNKNOWN "B Invalid HTTP Method: Unsupported HTTP method.\n"
	static const struct row rows[] = {
		ROW(GET "\r\n", GOT),
		ROW("PUT /a HTTP/1.1\r\n\r\n", "PUT /a|/a|-\n"),
		ROW("PATCH /a HTTP/1.0\r\n\r\n", "PATCH /a|/a|-\n"),
		ROW("DELETE /a HTTP/1.1\r\n\r\n", "DELETE /a|/a|-\n"),
		ROW("get /a HTTP/1.1\r\n\r\n", UNKNOWN),
		ROW("GETT /a HTTP/1.1\r\n\r\n", UNKNOWN),
		ROW("GE /a HTTP/1.1\r\n\r\n", UNKNOWN),
		ROW("POST /a HTTP/1.1\r\n\r\n", UNKNOWN),
		ROW("G\tT /a HTTP/1.1\r\n\r\n", UNKNOWN),
		ROW(" GET /a HTTP/1.1\r\n\r\n", UNKNOWN),
		ROW("  \r\n\r\n", UNKNOWN),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void bad_lines_have_texts_of_their_own(void **state)
{
#define NO_VERSION "B Invalid HTTP Version: Unsupported HTTP version.\n"
#define INVALID	   "B Invalid request.\n"
	static const struct row rows[] = {
		ROW("GET  /a HTTP/1.1\r\n\r\n",
		    "B Invalid URI: Empty URI not allowed.\n"),
		ROW("GET /\xff HTTP/1.1\r\n\r\n",
		    "B Invalid URI: Cannot parse URI as UTF-8.\n"),
		ROW("GET /a  HTTP/1.1\r\n\r\n", NO_VERSION),
		ROW("GET /a HTTP/2\r\n\r\n", NO_VERSION),
		ROW("GET /a http/1.1\r\n\r\n", NO_VERSION),
		ROW("GET /a HTTP/1.1 \r\n\r\n", NO_VERSION),
		ROW("GET /a HTTP/1.1\n\r\n", NO_VERSION),
		ROW("\r\n" GET "\r\n", INVALID),
		ROW("\r\n\r\n", INVALID),
		ROW(" \r\n\r\n", INVALID),
		ROW("GET\r\n\r\n", INVALID),
		ROW("GET /a\r\n\r\n", INVALID),
		ROW("GET\t/a\tHTTP/1.1\r\n\r\n", INVALID),
		ROW("\0\1\2\xff\r\n\r\n", INVALID),
		/* Of two errors the first in the line is told. */
		ROW("get  HTTP/9\r\n\r\n", UNKNOWN),
		ROW("GET  HTTP/9\r\n\r\n",
		    "B Invalid URI: Empty URI not allowed.\n"),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void unfinished_requests_say_nothing(void **state)
{
	static const struct row rows[] = {
		ROW("GET /version HTTP/1.1", ""),
		ROW(GET, ""),
		ROW(GET "\r", ""),
		ROW("GET /version HTTP/1.1\n\n", ""),
		ROW("GET /version HTTP/1.1\r\r", ""),
		ROW(PUT "Content-Length: 3\r\n\r\n{}", ""),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void target_forms(void **state)
{
	static const struct row rows[] = {
		ROW("GET / HTTP/1.1\r\n\r\n", "GET /|/|-\n"),
		ROW("GET //a//b/ HTTP/1.1\r\n\r\n", "GET /a//b/|//a//b/|-\n"),
		ROW("GET //// HTTP/1.1\r\n\r\n", "GET /|////|-\n"),
		ROW("GET version HTTP/1.1\r\n\r\n", "GET /||-\n"),
		ROW("GET * HTTP/1.1\r\n\r\n", "GET /||-\n"),
		ROW("GET http:// HTTP/1.1\r\n\r\n", "GET /||-\n"),
		ROW("GET http://host HTTP/1.1\r\n\r\n", "GET /||-\n"),
		ROW("GET http://h:8/a/b HTTP/1.1\r\n\r\n", "GET /a/b|/a/b|-\n"),
		ROW("GET http:///a HTTP/1.1\r\n\r\n", "GET /a|/a|-\n"),
		ROW("GET https://h/a HTTP/1.1\r\n\r\n", "GET /||-\n"),
		ROW("GET HTTP://h/a HTTP/1.1\r\n\r\n", "GET /||-\n"),
		ROW("GET /./a/../%2e?q#f HTTP/1.1\r\n\r\n",
		    "GET /./a/../%2e?q#f|/./a/../%2e?q#f|-\n"),
		ROW("GET /\xc3\xa9\x7f HTTP/1.1\r\n\r\n",
		    "GET /\xc3\xa9\x7f|/\xc3\xa9\x7f|-\n"),
	};
	const struct script *s;

	(void)state;
	check(rows, ARRAY_LEN(rows));

	/* A NUL is a byte of the target like any other. */
	s = parse("GET /a\0b HTTP/1.1\r\n\r\n", 21, 64);
	assert_int_equal(s->len, 16);
	assert_memory_equal(s->text, "GET /a\0b|/a\0b|-\n", s->len);
}

static void bodies_are_as_long_as_announced(void **state)
{
	static const struct row rows[] = {
		ROW(PUT "Content-Length: 2\r\n\r\n{}", "PUT /x|/x|{}\n"),
		ROW(PUT "content-length:2\r\n\r\n{}", "PUT /x|/x|{}\n"),
		ROW(PUT "CONTENT-LENGTH : +02 \t\r\n\r\n{}", "PUT /x|/x|{}\n"),
		ROW(PUT "Content-Length: 9\r\nContent-Length: 2\r\n\r\n{}",
		    "PUT /x|/x|{}\n"),
		ROW(PUT "Content-Length: 0\r\n\r\n", "PUT /x|/x|-\n"),
		ROW(PUT "Host: x\r\n\r\n", "PUT /x|/x|-\n"),
		ROW(PUT "Content-Length: 2\r\n\r\n{}" GET "\r\n",
		    "PUT /x|/x|{}\n" GOT),
		ROW(PUT "Content-Length: 4\r\n\r\n\r\n\r\n" GET "\r\n",
		    "PUT /x|/x|\r\n\r\n\n" GOT),
		ROW("GET /x HTTP/1.1\r\nContent-Length: 1\r\n\r\n7",
		    "GET /x|/x|7\n"),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void lengths_that_are_none_end_the_connection(void **state)
{
	static const char *const values[] = {
		"",
		" ",
		" -1",
		" 0x22",
		" 34.0",
		" many",
		" 34, 34",
		" +",
		" ++1",
		" 4294967296",
		" 18446744073709551616",
		" 1 2",
		" +-1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		char in[256], out[256];

		(void)snprintf(in, sizeof(in),
			       PUT "Content-length:%s\r\n\r\n{}", values[i]);
		(void)snprintf(out, sizeof(out),
			       "F Invalid header. Reason: Invalid value. "
			       "Key:Content-length; Value:%s\n",
			       values[i]);
		check(&(struct row){in, strlen(in), out}, 1);
	}
}

static void too_large_bodies_end_the_connection(void **state)
{
	static const struct row rows[] = {
		ROW(PUT "Content-Length: 51200\r\n\r\n", ""),
		ROW(PUT "Content-Length: 51201\r\n\r\n",
		    "F Request payload with size 51201 is larger than the "
		    "limit of 51200 allowed by server.\n"),
		ROW(PUT "Expect: 100-continue\r\n"
			"Content-Length: 4294967295\r\n\r\n",
		    "F Request payload with size 4294967295 is larger than "
		    "the limit of 51200 allowed by server.\n"),
		/* The last length counts, and only where the headers end. */
		ROW(PUT "Content-Length: 99999\r\nContent-Length: 2\r\n\r\n{}",
		    "PUT /x|/x|{}\n"),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void encodings_must_leave_identity(void **state)
{
#define AE GET "Accept-Encoding:"
#define BAD_AE(v)                                   \
	"F Invalid header. Reason: Invalid value. " \
	"Key:Accept-Encoding; Value:" v "\n"
	static const struct row rows[] = {
		ROW(AE " gzip\r\n\r\n", GOT),
		ROW(AE " gzip;q=0\r\n\r\n", GOT),
		ROW(AE " identity; q=0\r\n\r\n", GOT),
		ROW(AE " identity;q=0.5\r\n\r\n", GOT),
		ROW(AE " *;q=0, identity;q=1\r\n\r\n", GOT),
		ROW(AE " ;\r\n\r\n", GOT),
		ROW(AE " identity;q=0\r\n\r\n", BAD_AE("identity;q=0")),
		ROW(AE " *;q=0\r\n\r\n", BAD_AE("*;q=0")),
		ROW(AE " gzip, identity;q=0\r\n\r\n", BAD_AE(" identity;q=0")),
		ROW(AE " identity;q=0, *;q=0\r\n\r\n", BAD_AE("identity;q=0")),
		ROW(AE " \r\n\r\n", "F Invalid request.\n"),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void other_headers_are_ignored(void **state)
{
	static const struct row rows[] = {
		ROW(GET "Host: localhost\r\nX: y\r\n\r\n", GOT),
		ROW(GET "Accept: text/html\r\nContent-Type: x\r\n\r\n", GOT),
		ROW(GET ": no name\r\nA:\nB\r\n\r\n", GOT),
		ROW(GET "Expect: 200-ok\r\n\r\n", GOT),
		ROW(PUT "Transfer-Encoding: chunked\r\n\r\n", "PUT /x|/x|-\n"),
		ROW(PUT "Transfer-Encoding: chunked\r\n"
			"Content-Length: 2\r\n\r\n{}",
		    "PUT /x|/x|{}\n"),
		/* Chunks are taken for the next request. */
		ROW(PUT "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
		    "PUT /x|/x|-\n" INVALID),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void malformed_headers_end_the_connection(void **state)
{
#define HEADER "F Invalid header. Reason: Header "
	static const struct row rows[] = {
		ROW(GET "Foo\r\n\r\n",
		    HEADER "is incorrectly formatted. Key: Foo\n"),
		ROW(GET "A: b\r\n folded\r\n\r\n",
		    HEADER "is incorrectly formatted. Key:  folded\n"),
		ROW(GET "Foo: \xff\r\n\r\n",
		    HEADER "contains invalid characters. Key: invalid utf-8 "
			   "sequence of 1 bytes from index 5\n"),
		ROW(GET "Foo: \xe2\x82x\r\n\r\n",
		    HEADER "contains invalid characters. Key: invalid utf-8 "
			   "sequence of 2 bytes from index 5\n"),
		ROW(GET "Foo: \xe2\x82\r\n\r\n",
		    HEADER "contains invalid characters. Key: incomplete utf-8 "
			   "byte sequence from index 5\n"),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void expect_asks_for_a_100_before_a_body(void **state)
{
	static const struct row rows[] = {
		ROW(PUT "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		    "C\nPUT /x|/x|{}\n"),
		ROW(PUT "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
		    "C\n"),
		ROW(PUT "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n{}",
		    "PUT /x|/x|{}\n"),
		ROW(GET "Expect: 100-continue\r\n\r\n", GOT),
	};

	(void)state;
	check(rows, ARRAY_LEN(rows));
}

static void errors_discard_what_arrived_with_them(void **state)
{
	static const char in[] = GET "\r\nGET / HTTP/3\r\n\r\n" GET "\r\n";
	static struct script s;
	struct http_parser p;

	(void)state;
	s = (struct script){0};
	http_parser_init(&p, MAX_BODY);
	feed(&s, &p, in, sizeof(in) - 1, sizeof(in));
	assert_string_equal(s.text, GOT NO_VERSION);
	assert_true(http_parser_idle(&p));

	/* What arrives later is a request again. */
	s = (struct script){0};
	feed(&s, &p, GET "\r\n", sizeof(GET "\r\n") - 1, 4096);
	assert_string_equal(s.text, GOT);
	http_parser_exit(&p);
}

/* A request whose target fills a request line of `len` bytes. */
static size_t long_target(char *buf, size_t len)
{
	static const char end[] = " HTTP/1.1\r\n";

	memset(buf, 'a', len);
	memcpy(buf, "GET /", 5);
	memcpy(buf + len - strlen(end), end, strlen(end));
	memcpy(buf + len, "\r\n", 2);
	return len + 2;
}

static void request_lines_have_1024_bytes(void **state)
{
	char in[2048];
	size_t len = long_target(in, HTTP_LINE_MAX);
	const struct script *s = parse(in, len, 4096);

	(void)state;
	assert_memory_equal(s->text, "GET /aaa", 8);
	assert_int_equal(s->ended, false);

	len = long_target(in, HTTP_LINE_MAX + 1);
	assert_string_equal(parse(in, len, 4096)->text, "F Invalid request.\n");
	assert_string_equal(parse(in, len, 1)->text, "F Invalid request.\n");
}

static void header_lines_have_1024_bytes(void **state)
{
	static char in[4096], out[4096];
	static const char words[] =
		"F Invalid header. Reason: Invalid content length. Header: ";
	size_t head = strlen(GET), prefix = strlen(words);

	(void)state;
	memcpy(in, GET, head);
	memset(in + head, 'a', HTTP_LINE_MAX + 8);
	in[head + 1] = ':';
	memcpy(in + head + HTTP_LINE_MAX - 2, "\r\n\r\n", 4);
	check(&(struct row){in, head + HTTP_LINE_MAX + 2, GOT}, 1);

	/* One more is shown as far as it was read. */
	memset(in + head + HTTP_LINE_MAX - 2, 'b', 4);
	memcpy(out, words, prefix);
	memcpy(out + prefix, in + head, HTTP_LINE_MAX);
	memcpy(out + prefix + HTTP_LINE_MAX, "\n", 2);
	check(&(struct row){in, head + HTTP_LINE_MAX + 2, out}, 1);

	/* What is not UTF-8 in it becomes U+FFFD, and still fits. */
	memset(in + head, 0xff, HTTP_LINE_MAX);
	for (size_t i = 0; i < HTTP_LINE_MAX; i++)
		memcpy(out + prefix + 3 * i, "\xef\xbf\xbd", 3);
	memcpy(out + prefix + (size_t)3 * HTTP_LINE_MAX, "\n", 2);
	check(&(struct row){in, head + HTTP_LINE_MAX, out}, 1);
}

static void headers_may_be_many(void **state)
{
	static char in[5000 * 6 + 64];
	size_t len = 0;

	(void)state;
	memcpy(in, GET, strlen(GET));
	len += strlen(GET);
	for (int i = 0; i < 5000; i++) {
		memcpy(in + len, "a: b\r\n", 6);
		len += 6;
	}
	memcpy(in + len, "\r\n", 2);
	check(&(struct row){in, len + 2, GOT}, 1);
}

static void bodies_arrive_in_place(void **state)
{
	static const char in[] = PUT "Content-Length: 5000\r\n\r\nabc";
	struct http_parser p;
	struct http_request *r = NULL;
	struct http_error e;
	size_t room = 0;
	char *space;

	(void)state;
	http_parser_init(&p, MAX_BODY);
	space = http_space(&p, &room);
	assert_int_equal(room, HTTP_LINE_MAX);
	memcpy(space, in, sizeof(in) - 1);
	http_received(&p, sizeof(in) - 1);
	assert_int_equal(http_next(&p, &r, &e), HTTP_MORE);
	assert_false(http_parser_idle(&p));

	space = http_space(&p, &room);
	assert_int_equal(room, 4997);
	memset(space, 'x', room);
	http_received(&p, room);
	assert_int_equal(http_next(&p, &r, &e), HTTP_REQUEST);
	assert_int_equal(r->body_len, 5000);
	assert_memory_equal(r->body, "abcxxx", 6);
	assert_ptr_equal(r->body + 3, space);
	assert_true(http_parser_idle(&p));
	http_request_free(r);
	http_parser_exit(&p);
}

static void unfinished_bodies_are_freed(void **state)
{
	(void)state;
	/* The leak checker of the sanitizer build is the witness. */
	(void)parse(PUT "Content-Length: 99\r\n\r\n", 39, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(methods_are_case_sensitive),
		cmocka_unit_test(bad_lines_have_texts_of_their_own),
		cmocka_unit_test(unfinished_requests_say_nothing),
		cmocka_unit_test(target_forms),
		cmocka_unit_test(bodies_are_as_long_as_announced),
		cmocka_unit_test(lengths_that_are_none_end_the_connection),
		cmocka_unit_test(too_large_bodies_end_the_connection),
		cmocka_unit_test(encodings_must_leave_identity),
		cmocka_unit_test(other_headers_are_ignored),
		cmocka_unit_test(malformed_headers_end_the_connection),
		cmocka_unit_test(expect_asks_for_a_100_before_a_body),
		cmocka_unit_test(errors_discard_what_arrived_with_them),
		cmocka_unit_test(request_lines_have_1024_bytes),
		cmocka_unit_test(header_lines_have_1024_bytes),
		cmocka_unit_test(headers_may_be_many),
		cmocka_unit_test(bodies_arrive_in_place),
		cmocka_unit_test(unfinished_bodies_are_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
