/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "vmm/cmdline.h"

#define TOO_LONG "Inserting string would make command line too long."

static void init_ok(struct cmdline *c, const char *user)
{
	struct err e;

	assert_int_equal(cmdline_init(c, user, &e), 0);
	assert_int_equal(c->len, strlen(c->text));
}

static void add_ok(struct cmdline *c, const char *words)
{
	struct err e;

	assert_int_equal(cmdline_add(c, &e, "%s", words), 0);
	assert_int_equal(c->len, strlen(c->text));
}

static void default_is_firecrackers(void **state)
{
	struct cmdline c;

	(void)state;
	init_ok(&c, NULL);
	assert_string_equal(c.text, "reboot=k panic=1 nomodule 8250.nr_uarts=0 "
				    "i8042.noaux i8042.nomux i8042.dumbkbd "
				    "swiotlb=noforce");
	add_ok(&c, "pci=off");
	assert_string_equal(c.text + c.len - 23, "swiotlb=noforce pci=off");
}

static void words_are_separated_by_one_space(void **state)
{
	struct cmdline c;

	(void)state;
	init_ok(&c, "");
	add_ok(&c, "a=1");
	assert_string_equal(c.text, "a=1");
	add_ok(&c, "b");
	assert_string_equal(c.text, "a=1 b");
}

static void white_space_around_is_dropped(void **state)
{
	struct cmdline c;

	(void)state;
	init_ok(&c, " \t a  b\r\n");
	add_ok(&c, "c");
	assert_string_equal(c.text, "a  b c");
	init_ok(&c, "  a   --   b  ");
	add_ok(&c, "c");
	assert_string_equal(c.text, "a c -- b");
	init_ok(&c, " a -- ");
	assert_string_equal(c.text, "a");
	init_ok(&c, "a --");
	assert_string_equal(c.text, "a --");
	init_ok(&c, "a -- \t ");
	assert_string_equal(c.text, "a");
}

static void words_go_before_the_words_of_init(void **state)
{
	struct cmdline c;

	(void)state;
	init_ok(&c, "quiet -- single -- x");
	add_ok(&c, "pci=off");
	add_ok(&c, "root=/dev/vda");
	assert_string_equal(c.text,
			    "quiet pci=off root=/dev/vda -- single -- x");
	init_ok(&c, " -- single");
	add_ok(&c, "pci=off");
	assert_string_equal(c.text, "pci=off -- single");
}

static void separator_inside_quotes_does_not_count(void **state)
{
	struct cmdline c;

	(void)state;
	init_ok(&c, "a=\"b -- c\" d -- e");
	add_ok(&c, "x");
	assert_string_equal(c.text, "a=\"b -- c\" d x -- e");
	init_ok(&c, "a=\"b -- c\"");
	add_ok(&c, "x");
	assert_string_equal(c.text, "a=\"b -- c\" x");
	init_ok(&c, "a-- b --c");
	add_ok(&c, "x");
	assert_string_equal(c.text, "a-- b --c x");
}

static void user_part_has_a_limit(void **state)
{
	char user[CMDLINE_MAX + 1];
	struct cmdline c;
	struct err e;

	(void)state;
	memset(user, 'x', sizeof(user));
	user[2048] = '\0';
	assert_int_equal(cmdline_init(&c, user, &e), -E2BIG);
	assert_string_equal(e.text, "Invalid cmdline capacity provided.");
	user[2047] = '\0';
	init_ok(&c, user);
	assert_int_equal(c.len, 2047);
}

static void user_part_is_not_checked_further(void **state)
{
	struct cmdline c;

	(void)state;
	init_ok(&c, "a\nb \xc3\xa9");
	assert_string_equal(c.text, "a\nb \xc3\xa9");
}

static void too_much_is_refused_whole(void **state)
{
	char user[CMDLINE_MAX];
	char words[2 * CMDLINE_MAX];
	struct cmdline c;
	struct err e;

	(void)state;
	memset(user, 'x', sizeof(user));
	user[2040] = '\0';
	init_ok(&c, user);
	assert_int_equal(cmdline_add(&c, &e, "pci=off"), -E2BIG);
	assert_string_equal(e.text, TOO_LONG);
	assert_string_equal(c.text, user);
	assert_int_equal(c.len, 2040);

	user[2039] = '\0';
	init_ok(&c, user);
	add_ok(&c, "pci=off");
	assert_int_equal(c.len, 2047);
	assert_int_equal(cmdline_add(&c, &e, "%s", ""), -E2BIG);

	memset(words, 'y', sizeof(words));
	words[sizeof(words) - 1] = '\0';
	init_ok(&c, "");
	assert_int_equal(cmdline_add(&c, &e, "%s", words), -E2BIG);
	words[2047] = '\0';
	add_ok(&c, words);
}

static void unprintable_words_are_refused(void **state)
{
	struct cmdline c;
	struct err e;

	(void)state;
	init_ok(&c, "a");
	assert_int_equal(cmdline_add(&c, &e, "root=PARTUUID=%s", "\xc3\xa9"),
			 -EINVAL);
	assert_string_equal(e.text,
			    "String contains a non-printable ASCII character.");
	assert_int_equal(cmdline_add(&c, &e, "b\n"), -EINVAL);
	assert_string_equal(c.text, "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_is_firecrackers),
		cmocka_unit_test(words_are_separated_by_one_space),
		cmocka_unit_test(white_space_around_is_dropped),
		cmocka_unit_test(words_go_before_the_words_of_init),
		cmocka_unit_test(separator_inside_quotes_does_not_count),
		cmocka_unit_test(user_part_has_a_limit),
		cmocka_unit_test(user_part_is_not_checked_further),
		cmocka_unit_test(too_much_is_refused_whole),
		cmocka_unit_test(unprintable_words_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
