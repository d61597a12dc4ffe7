/* SPDX-License-Identifier: Apache-2.0 */
/* What of the guest's init can be tried without a guest. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/init/check.h"
#include "guest/init/orders.h"
#include "guest/init/report.h"
#include "guest/init/sha256.h"

/* init reports on its standard output: here, into a file. */
struct fixture {
	char dir[32], file[48];
	FILE *said;
	int out;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/mayfly-init.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->file, sizeof(f->file), "%s/file", f->dir);
	f->said = tmpfile();
	assert_non_null(f->said);
	(void)fflush(stdout);
	f->out = dup(STDOUT_FILENO);
	assert_true(dup2(fileno(f->said), STDOUT_FILENO) >= 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_true(dup2(f->out, STDOUT_FILENO) >= 0);
	(void)close(f->out);
	(void)fclose(f->said);
	(void)unlink(f->file);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void assert_said(struct fixture *f, const char *text)
{
	char all[4096];
	ssize_t n = pread(fileno(f->said), all, sizeof(all) - 1, 0);

	assert_true(n >= 0);
	all[n] = 0;
	assert_non_null(strstr(all, text));
}

static void assert_sha256(const char *text, const char *want)
{
	struct sha256 s;
	char hex[SHA256_HEX];

	sha256_init(&s);
	for (size_t i = 0; i < strlen(text); i++)
		sha256_add(&s, text + i, 1);
	sha256_hex(&s, hex);
	assert_string_equal(hex, want);
	sha256_init(&s);
	sha256_add(&s, text, strlen(text));
	sha256_hex(&s, hex);
	assert_string_equal(hex, want);
}

/* The examples of FIPS 180-2, appendix B, and the empty message. */
static void sha256_matches_published_digests(void **state)
{
	(void)state;
	assert_sha256("", "e3b0c44298fc1c149afbf4c8996fb924"
			  "27ae41e4649b934ca495991b7852b855");
	assert_sha256("abc", "ba7816bf8f01cfea414140de5dae2223"
			     "b00361a396177a9cb410ff61f20015ad");
	assert_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmno"
		      "mnopnopq",
		      "248d6a61d20638b8e5c026930c3e6039"
		      "a33ce45964ff2167f6ecedd419db06c1");
}

static void check_reads_back_what_it_wrote(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 5;

	assert_int_equal(check_write(f->file, 1000003, seed), 0);
	assert_int_equal(check_read(f->file, &seed), 0);
	assert_said(f, "1000003 bytes, verified, sha256 ");
}

static void check_refuses_another_seed(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 6;

	assert_int_equal(check_write(f->file, 4096, 5), 0);
	assert_int_equal(check_read(f->file, &seed), -EBADMSG);
	assert_int_equal(check_read(f->file, NULL), 0);
}

static void check_finds_one_wrong_byte(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 5;

	assert_int_equal(check_write(f->file, 1 << 20, seed), 0);
	int fd = open(f->file, O_RDWR | O_CLOEXEC);
	char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 777777), 1);
	byte = (char)~byte;
	assert_int_equal(pwrite(fd, &byte, 1, 777777), 1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(check_read(f->file, &seed), -EBADMSG);
	assert_said(f, "differs from byte 777777\n");
}

static void check_reports_a_missing_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(check_read(f->file, NULL), -ENOENT);
}

/* Orders change their text. */
static unsigned int run(const char *orders, enum order_end *end)
{
	char text[256];

	assert_true(strlen(orders) < sizeof(text));
	(void)snprintf(text, sizeof(text), "%s", orders);
	return orders_run(text, end);
}

static void orders_set_the_end(void **state)
{
	enum order_end end = ORDER_POWER_OFF;

	(void)state;
	assert_int_equal(run("info,reboot", &end), 0);
	assert_int_equal(end, ORDER_REBOOT);
	assert_int_equal(run("poweroff", &end), 0);
	assert_int_equal(end, ORDER_POWER_OFF);
	assert_int_equal(run("", &end), 0);
}

static void orders_go_on_after_a_failure(void **state)
{
	struct fixture *f = *state;
	enum order_end end = ORDER_POWER_OFF;
	char text[256];

	(void)snprintf(text, sizeof(text),
		       "bogus,exec,read:%s,write:%s:1:9,exec:/bin/false,"
		       "exec:/bin/true,read:%s:9,exec:/nothing",
		       f->file, f->file, f->file);
	assert_int_equal(orders_run(text, &end), 5);
	assert_said(f, "init: bogus failed: ");
	assert_said(f, "init: /bin/false exited with 1\n");
	assert_said(f, "init: /bin/true exited with 0\n");
	assert_said(f, " 1048576 bytes, verified, sha256 ");
}

static void orders_refuse_too_many_arguments(void **state)
{
	enum order_end end = ORDER_POWER_OFF;

	(void)state;
	assert_int_equal(run("exec:1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:g", &end), 1);
	assert_int_equal(run("info:1", &end), 1);
}

static void report_cuts_long_lines(void **state)
{
	struct fixture *f = *state;
	char text[1000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	report("%s", text);
	report("end");
	assert_said(f, "init: xxx");
	assert_said(f, "xxx\ninit: end\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_matches_published_digests),
		cmocka_unit_test_setup_teardown(check_reads_back_what_it_wrote,
						setup, teardown),
		cmocka_unit_test_setup_teardown(check_refuses_another_seed,
						setup, teardown),
		cmocka_unit_test_setup_teardown(check_finds_one_wrong_byte,
						setup, teardown),
		cmocka_unit_test_setup_teardown(check_reports_a_missing_file,
						setup, teardown),
		cmocka_unit_test_setup_teardown(orders_set_the_end, setup,
						teardown),
		cmocka_unit_test_setup_teardown(orders_go_on_after_a_failure,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			orders_refuse_too_many_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(report_cuts_long_lines, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
