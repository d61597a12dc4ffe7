/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body_check.h: what the tests of bodies share. fn is any parse function, b the
 * address of its struct.
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

#include "base/err.h"

#define PREFIX \
	"An error occurred when deserializing the json body of a request: "
#define DRIVE_NAMES                                                      \
	"expected one of `drive_id`, `partuuid`, `is_root_device`, "     \
	"`cache_type`, `is_read_only`, `path_on_host`, `rate_limiter`, " \
	"`io_engine`, `socket`"
#define DRIVE "{\"drive_id\":\"d\",\"is_root_device\":false,"

#define assert_parses(fn, b, json)                           \
	do {                                                 \
		struct err e_ = {0};                         \
		if (fn((b), (json), strlen(json), &e_))      \
			fail_msg("%s: %s", (json), e_.text); \
	} while (0)

#define assert_refused(fn, b, json, want)                                      \
	do {                                                                   \
		struct err e_ = {0};                                           \
		assert_int_equal(fn((b), (json), strlen(json), &e_), -EINVAL); \
		assert_string_equal(e_.text, (want));                          \
	} while (0)

#endif
