/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the agent hands out and takes. */
#include "tests/guest/agent_fixture.h"

#define FILE_BYTES (300U << 10) /* several messages */

static void fill(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(close(fd), 0);
}

static void assert_file(const char *path, const uint8_t *data, size_t len)
{
	uint8_t *got = malloc(len + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_non_null(got);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, len + 1), len);
	assert_memory_equal(got, data, len);
	(void)close(fd);
	free(got);
}

static void get_sends_mode_size_and_bytes(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[FILE_BYTES], got[FILE_BYTES];
	size_t n = 0;

	fill(data, sizeof(data));
	write_file(f->file, data, sizeof(data));
	assert_int_equal(chmod(f->file, 04751), 0);
	request_file(f, WIRE_GET, 0, 0, f->file);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_FILE);
	assert_int_equal(wire_len(&f->rx), 12);
	assert_int_equal(wire_get32(wire_data(&f->rx)), 04751);
	assert_int_equal(wire_get32(wire_data(&f->rx) + 4), FILE_BYTES);
	assert_int_equal(wire_get32(wire_data(&f->rx) + 8), 0);
	for (;;) {
		take(f);
		if (wire_type(&f->rx) != WIRE_DATA)
			break;
		assert_true(wire_len(&f->rx) <= sizeof(got) - n);
		memcpy(got + n, wire_data(&f->rx), wire_len(&f->rx));
		n += wire_len(&f->rx);
	}
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
	assert_int_equal(n, sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
}

static void get_reads_files_of_proc(void **state)
{
	struct fixture *f = *state;

	request_file(f, WIRE_GET, 0, 0, "/proc/self/status");
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_FILE);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DATA);
	assert_true(wire_len(&f->rx) > 100);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
}

static void get_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;

	request_file(f, WIRE_GET, 0, 0, f->file);
	assert_error(f, ENOENT, f->file);
	disconnect(f);
	assert_int_equal(mkfifo(f->file, 0600), 0);
	connect_agent(f);
	request_file(f, WIRE_GET, 0, 0, f->file);
	assert_error(f, EINVAL, "is no regular file");
	connect_again(f);
	request_file(f, WIRE_GET, 0, 0, "/tmp");
	assert_error(f, EINVAL, "is no regular file");
}

static void put_makes_a_file(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[FILE_BYTES];
	struct stat st;

	fill(data, sizeof(data));
	write_file(f->file, "old", 3);
	request_file(f, WIRE_PUT, 02711, sizeof(data), f->file);
	for (size_t i = 0; i < sizeof(data); i += 60 << 10)
		send_message(f, WIRE_DATA, data + i, 60 << 10);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
	assert_closed(f);
	assert_file(f->file, data, sizeof(data));
	assert_int_equal(stat(f->file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02711);
}

static void put_makes_an_empty_file(void **state)
{
	struct fixture *f = *state;

	request_file(f, WIRE_PUT, 0600, 0, f->file);
	take(f);
	assert_int_equal(wire_type(&f->rx), WIRE_DONE);
	assert_file(f->file, (const uint8_t *)"", 0);
}

/* The folder holds nothing else afterwards: teardown looks. */
static void put_that_breaks_off_leaves_the_old_file(void **state)
{
	struct fixture *f = *state;

	write_file(f->file, "old", 3);
	request_file(f, WIRE_PUT, 0600, 4, f->file);
	send_message(f, WIRE_DATA, "new", 3);
	disconnect(f);
	assert_file(f->file, (const uint8_t *)"old", 3);
}

static void put_refuses_wrong_data(void **state)
{
	static const struct {
		enum wire_type type;
		size_t len;
	} bad[] = {{WIRE_DATA, 5}, {WIRE_DATA, 0}, {WIRE_OUT, 4}};
	struct fixture *f = *state;

	write_file(f->file, "old", 3);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		request_file(f, WIRE_PUT, 0600, 4, f->file);
		send_message(f, bad[i].type, "12345", bad[i].len);
		assert_error(f, EPROTO, f->file);
		connect_again(f);
	}
	assert_file(f->file, (const uint8_t *)"old", 3);
}

static void put_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	char path[80];

	request_file(f, WIRE_PUT, 0600, 4, "/no/such/file");
	assert_error(f, ENOENT, "/no/such/file");
	connect_again(f);
	request_file(f, WIRE_PUT, 010644, 4, f->file);
	assert_error(f, EINVAL, "mode 010644");
	connect_again(f);
	/* A folder stands there. */
	(void)snprintf(path, sizeof(path), "%s/folder", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	request_file(f, WIRE_PUT, 0600, 1, path);
	send_message(f, WIRE_DATA, "x", 1);
	assert_error(f, EISDIR, path);
	assert_int_equal(rmdir(path), 0);
}

/* The client sends all before it looks, and the agent has failed long before.
 */
static void put_error_outlives_the_data(void **state)
{
	struct fixture *f = *state;
	static const char block[60000];

	request_file(f, WIRE_PUT, 0600, 40 * sizeof(block), "/proc/self/file");
	for (int i = 0; i < 40; i++)
		send_message(f, WIRE_DATA, block, sizeof(block));
	assert_error(f, ENOENT, "/proc/self/file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(get_sends_mode_size_and_bytes),
		TEST(get_reads_files_of_proc),
		TEST(get_says_what_is_wrong),
		TEST(put_makes_a_file),
		TEST(put_makes_an_empty_file),
		TEST(put_that_breaks_off_leaves_the_old_file),
		TEST(put_refuses_wrong_data),
		TEST(put_says_what_is_wrong),
		TEST(put_error_outlives_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
