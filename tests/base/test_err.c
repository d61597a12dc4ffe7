/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"

static void context_goes_in_front(void **state)
{
	struct err e;

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_sys(&e, "open '%s'", "x"), -ENOENT);
	assert_int_equal(err_wrap(&e, "drive '%s': ", "d"), -ENOENT);
	assert_string_equal(
		e.text,
		"drive 'd': open 'x': No such file or directory (os error 2)");
	assert_int_equal(e.code, -ENOENT);
}

static void os_texts_are_those_of_musl(void **state)
{
	static const struct {
		int err;
		const char *text;
	} want[] = {
		{ENOMEM, "Out of memory (os error 12)"},
		{EADDRINUSE, "Address in use (os error 98)"},
		{EBUSY, "Resource busy (os error 16)"},
		{ENAMETOOLONG, "Filename too long (os error 36)"},
		{EIO, "I/O error (os error 5)"},
		{EMFILE, "No file descriptors available (os error 24)"},
		{EACCES, "Permission denied (os error 13)"},
		{EISDIR, "Is a directory (os error 21)"},
		{ETXTBSY, "Text file busy (os error 26)"},
	};
	char buf[96];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		err_os_text(want[i].err, buf, sizeof(buf));
		assert_string_equal(buf, want[i].text);
	}
	err_os_text(99999, buf, sizeof(buf));
	assert_string_equal(buf, "Unknown error (os error 99999)");
}

static void long_texts_are_cut_not_overrun(void **state)
{
	char big[2 * ERR_TEXT_BYTES];
	struct err e;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(err_set(&e, -EINVAL, "%s", big), -EINVAL);
	assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
	(void)err_wrap(&e, "%s", big);
	assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
	assert_int_equal(err_code(&e, -EIO, "%s", big), -EIO);
	assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
}

static void ranges_do_not_wrap(void **state)
{
	(void)state;
	assert_true(num_inside(0, 0, 0));
	assert_true(num_inside(10, 0, 10));
	assert_false(num_inside(11, 0, 10));
	assert_true(num_inside(2, 8, 10));
	assert_false(num_inside(3, 8, 10));
	assert_false(num_inside(1, UINT64_MAX, 10));
	assert_false(num_inside(UINT64_MAX, 1, UINT64_MAX));
	assert_true(num_inside(0, UINT64_MAX, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(context_goes_in_front),
		cmocka_unit_test(os_texts_are_those_of_musl),
		cmocka_unit_test(long_texts_are_cut_not_overrun),
		cmocka_unit_test(ranges_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
