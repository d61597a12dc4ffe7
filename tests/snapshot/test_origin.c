/* SPDX-License-Identifier: Apache-2.0 */
/* The host and the files that a snapshot was made with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/archive.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/origin.h"

#define TEXT_BYTES 200

static void releases_are_compared_by_number(void **state)
{
	static const struct {
		const char *a, *b;
		bool older;
	} pairs[] = {
		{"6.1.0", "6.1.0", false},
		{"6.1.9", "6.1.10", true},
		{"6.1.10", "6.1.9", false},
		{"5.15.0", "6.1.0", true},
		{"6.1.0-9", "6.1.0-10", false},
		{"6.18", "6.18.1", false},
		{"6.9-rc1", "6.10-rc1", true},
		{"", "6.1", true},
		{"6.1", "", false},
		{"x", "y", false},
		{"99999999999999999999999.1", "6", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct origin_host a = {0}, b = {0};

		(void)snprintf(a.release, sizeof(a.release), "%s", pairs[i].a);
		(void)snprintf(b.release, sizeof(b.release), "%s", pairs[i].b);
		assert_int_equal(origin_host_is_older(&a, &b), pairs[i].older);
	}
}

static void host_goes_through_an_archive(void **state)
{
	struct origin_host host = {0}, back = {0};
	uint8_t buf[ORIGIN_RELEASE_MAX];
	struct archive a = archive_saver(buf, sizeof(buf));
	struct utsname u;
	struct err e;

	(void)state;
	assert_int_equal(uname(&u), 0);
	assert_int_equal(origin_host_read(&host, &e), 0);
	assert_string_equal(host.release, u.release);
	origin_host_describe(&host, &a);
	assert_int_equal(a.at, sizeof(buf));
	a = archive_loader(buf, sizeof(buf));
	origin_host_describe(&back, &a);
	assert_true(archive_ok(&a));
	assert_string_equal(back.release, u.release);
}

/* Untrusted, and it goes into the log. */
static void release_that_is_no_word_is_refused(void **state)
{
	const char bad[] = {' ', '\n', '\x1b', '\x7f', '\xff'};
	struct origin_host back;
	uint8_t buf[ORIGIN_RELEASE_MAX];
	struct archive a;

	(void)state;
	for (size_t i = 0; i < sizeof(bad); i++) {
		memset(buf, 'x', sizeof(buf));
		buf[ORIGIN_RELEASE_MAX - 1] = (uint8_t)bad[i];
		a = archive_loader(buf, sizeof(buf));
		origin_host_describe(&back, &a);
		assert_false(archive_ok(&a));
	}
	memset(buf, 'x', sizeof(buf));
	a = archive_loader(buf, sizeof(buf));
	origin_host_describe(&back, &a);
	assert_true(archive_ok(&a));
	assert_int_equal(strlen(back.release), ORIGIN_RELEASE_MAX);
}

static void file_is_as_the_kernel_says(void **state)
{
	char path[] = "/tmp/mayfly-origin-XXXXXX";
	struct origin_file was, now = {0};
	char text[TEXT_BYTES];
	uint8_t buf[64];
	struct archive a = archive_saver(buf, sizeof(buf));
	struct stat st;
	struct err e;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, 12345), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(origin_file_read(&was, fd, &e), 0);
	assert_int_equal(was.bytes, 12345);
	assert_int_equal(was.inode, st.st_ino);
	assert_int_equal(was.mtime_s, st.st_mtim.tv_sec);
	assert_int_equal(was.mtime_ns, st.st_mtim.tv_nsec);
	origin_file_describe(&was, &a);
	a = archive_loader(buf, a.at);
	origin_file_describe(&now, &a);
	assert_true(archive_ok(&a));
	assert_false(
		origin_file_differs(&was, &now, false, text, sizeof(text)));
	(void)close(fd);
	assert_true(origin_file_read(&was, -1, &e) < 0);
}

static void each_difference_is_named_with_both_values(void **state)
{
	const struct origin_file was = {4096, 7, 100, 5};
	const struct origin_file now = {8192, 8, 101, 0};
	struct origin_file one = was;
	char text[TEXT_BYTES], little[10];

	(void)state;
	assert_true(origin_file_differs(&was, &now, false, text, TEXT_BYTES));
	assert_string_equal(text, "8192 bytes, were 4096; inode 8, was 7; "
				  "changed at 101.000000000, was at "
				  "100.000000005");
	assert_true(origin_file_differs(&was, &now, true, text, TEXT_BYTES));
	assert_string_equal(text, "8192 bytes, were 4096");
	one.mtime_ns++;
	assert_true(origin_file_differs(&was, &one, false, text, TEXT_BYTES));
	assert_string_equal(text, "changed at 100.000000006, was at "
				  "100.000000005");
	assert_false(origin_file_differs(&was, &one, true, text, TEXT_BYTES));
	/* It is cut, not written beyond. */
	assert_true(
		origin_file_differs(&was, &now, false, little, sizeof(little)));
	assert_string_equal(little, "8192 byte");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(releases_are_compared_by_number),
		cmocka_unit_test(host_goes_through_an_archive),
		cmocka_unit_test(release_that_is_no_word_is_refused),
		cmocka_unit_test(file_is_as_the_kernel_says),
		cmocka_unit_test(each_difference_is_named_with_both_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
