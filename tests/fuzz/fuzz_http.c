/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request parser, fed in pieces whose sizes are part of the input: whatever
 * it yields must keep the promises of http.h.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "api/http.h"
#include "base/utf8.h"
#include "base/num.h"

#define MAX_BODY 3000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const struct http_request *r)
{
	size_t bad = 0;

	assert(!r->next);
	assert(r->target[r->target_len] == '\0');
	assert(utf8_prefix(r->target, r->target_len, &bad) == r->target_len);
	assert(r->path_len >= 1 && r->path[0] == '/');
	assert(r->path_len == 1 || r->path[1] != '/');
	assert(r->body_len <= MAX_BODY && !r->body == !r->body_len);
	assert(!r->body || r->body[r->body_len] == '\0');
}

/* Returns false when the connection is to be closed. */
static bool take_all(struct http_parser *p)
{
	struct http_request *r = NULL;
	struct http_error e;
	enum http_event event;

	while ((event = http_next(p, &r, &e)) != HTTP_MORE) {
		if (event == HTTP_REQUEST) {
			check_request(r);
			http_request_free(r);
		} else if (event != HTTP_CONTINUE) {
			size_t bad = 0;

			assert(e.len < sizeof(e.text));
			assert(utf8_prefix(e.text, e.len, &bad) == e.len);
			assert(http_parser_idle(p));
		}
		if (event == HTTP_FATAL)
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_parser p;
	bool open = true;

	http_parser_init(&p, MAX_BODY);
	while (open && size > 1) {
		size_t piece = data[0] ? data[0] : 4096, room = 0;
		void *space = http_space(&p, &room);

		assert(room > 0);
		piece = MIN(MIN(piece, size - 1), room);
		memcpy(space, data + 1, piece);
		http_received(&p, piece);
		data += 1 + piece;
		size -= 1 + piece;
		open = take_all(&p);
	}
	http_parser_exit(&p);
	return 0;
}
