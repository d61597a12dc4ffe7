/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body_check.h: what the tests of bodies share. s is a table, b the address of
 * its struct; fn is a function that parses in its place.
 */
#ifndef TESTS_API_BODY_CHECK_H
#define TESTS_API_BODY_CHECK_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/body.h"
#include "base/err.h"

#define PREFIX \
	"An error occurred when deserializing the json body of a request: "
#define DRIVE_NAMES                                                      \
	"expected one of `drive_id`, `partuuid`, `is_root_device`, "     \
	"`cache_type`, `is_read_only`, `path_on_host`, `rate_limiter`, " \
	"`io_engine`, `socket`"
#define DRIVE "{\"drive_id\":\"d\",\"is_root_device\":false,"

#define assert_taken(parse, json)                            \
	do {                                                 \
		struct err e_ = {0};                         \
		if (parse)                                   \
			fail_msg("%s: %s", (json), e_.text); \
	} while (0)

#define assert_refused_as(parse, want)                \
	do {                                          \
		struct err e_ = {0};                  \
		assert_int_equal(parse, -EINVAL);     \
		assert_string_equal(e_.text, (want)); \
	} while (0)

#define assert_fn_parses(fn, b, json) \
	assert_taken(fn((b), (json), strlen(json), &e_), json)
#define assert_fn_refuses(fn, b, json, want) \
	assert_refused_as(fn((b), (json), strlen(json), &e_), want)

#define assert_parses(s, b, json)                                              \
	assert_taken(                                                          \
		body_parse((s), (json), strlen(json), (b), sizeof(*(b)), &e_), \
		json)
#define assert_refused(s, b, json, want)                                       \
	assert_refused_as(                                                     \
		body_parse((s), (json), strlen(json), (b), sizeof(*(b)), &e_), \
		want)

#endif
