/* SPDX-License-Identifier: Apache-2.0 */
/* State files as a load finds them: missing, whole, cut, changed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "snapshot/origin.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "vmm/saved.h"

#define CONFIG	 "{\"drives\":[]}"
#define N_VCPUS	 2
#define N_DEVS	 3
#define NO_FILE	 "Failed to get snapshot state from file: "
#define NO_STATE NO_FILE "Failed to load snapshot state from file: "

struct fixture {
	char path[40];
	uint8_t *data; /* of a file of two vCPUs, two drives and a vsock */
	size_t len;
};

static void add(struct state_file *f, uint32_t tag, uint32_t index,
		struct saved *s)
{
	struct origin_file file = {.bytes = 4096 + index};
	uint32_t flags = tag == TAG_DRIVE ? 0 : STATE_REQUIRED;
	struct archive a = state_begin(f, tag, index, flags);

	if (tag == TAG_CPUID)
		cpuid_describe(&s->cpuid, &a);
	else if (tag == TAG_VCPU)
		vcpu_state_describe(&s->vcpu[index], &a);
	else if (tag == TAG_CHIPS)
		chip_state_describe(&s->chips, &a);
	else if (tag == TAG_VIRTIO)
		archive_u32(&a, (uint32_t[]){index == 2 ? 19 : 2});
	else if (tag == TAG_DRIVE)
		origin_file_describe(&file, &a);
	else
		archive_bytes(&a, (void *)(uintptr_t)CONFIG, strlen(CONFIG));
	state_end(f, &a);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct state_file file;
	struct saved *s;
	struct err e;
	int fd;

	assert_non_null(f);
	(void)strcpy(f->path, "/tmp/mayfly-state-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(state_new(&file, &e), 0);
	assert_int_equal(saved_new(&s, N_VCPUS, &e), 0);
	s->cpuid.n = 3;
	s->vcpu[1].regs.rip = 0x1234;
	s->vcpu[1].n_msrs = 2;
	s->vcpu[1].xsave_bytes = 4096;
	add(&file, TAG_CONFIG, 0, s);
	add(&file, TAG_CPUID, 0, s);
	for (uint32_t i = 0; i < N_VCPUS; i++)
		add(&file, TAG_VCPU, i, s);
	add(&file, TAG_CHIPS, 0, s);
	for (uint32_t i = 0; i < N_DEVS; i++)
		add(&file, TAG_VIRTIO, i, s);
	add(&file, TAG_DRIVE, 1, s);
	f->data = state_pack(&file, &f->len, &e);
	assert_non_null(f->data);
	saved_free(s);
	state_exit(&file);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)unlink(f->path);
	free(f->data);
	free(f);
	return 0;
}

static void write_state(const struct fixture *f, size_t len)
{
	int fd = open(f->path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, f->data, len), len);
	(void)close(fd);
}

static void whole_file_is_read(void **state)
{
	struct fixture *f = *state;
	struct snapshot s;
	struct saved *v;
	struct err e;
	const char *config;
	size_t len;

	write_state(f, f->len);
	assert_int_equal(snapshot_open(&s, f->path, &e), 0);
	config = snapshot_config(&s, &len);
	assert_int_equal(len, strlen(CONFIG));
	assert_memory_equal(config, CONFIG, len);
	assert_int_equal(snapshot_saved(&s, N_VCPUS, &v, &e), 0);
	assert_int_equal(v->cpuid.n, 3);
	assert_int_equal(v->vcpu[1].regs.rip, 0x1234);
	assert_int_equal(v->vcpu[1].n_msrs, 2);
	saved_free(v);
	snapshot_exit(&s);
	snapshot_exit(&s);
}

static void other_numbers_of_vcpus_are_refused_with_both(void **state)
{
	const unsigned int n[] = {0, N_VCPUS - 1, N_VCPUS + 1, 32};
	struct fixture *f = *state;
	struct snapshot s;
	struct err e;

	write_state(f, f->len);
	assert_int_equal(snapshot_open(&s, f->path, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(n); i++) {
		struct saved *v = NULL;
		char text[80];

		assert_int_equal(snapshot_saved(&s, n[i], &v, &e), -EINVAL);
		assert_null(v);
		(void)snprintf(text, sizeof(text),
			       "The state has 2 vCPUs, its configuration %u",
			       n[i]);
		assert_non_null(strstr(e.text, text));
	}
	snapshot_exit(&s);
}

static void devices_must_be_those_of_the_configuration(void **state)
{
	static const struct {
		uint32_t kind[4];
		unsigned int n;
		const char *text; /* NULL: they are */
	} tries[] = {
		{{2, 2, 19}, 3, NULL},
		{{2, 2}, 2, "has 3 virtio devices, its configuration 2"},
		{{2, 2, 19, 1}, 4, "has 3 virtio devices, its configuration 4"},
		{{2, 2, 1},
		 3,
		 "Device 2 of the state is of virtio's type 19, "
		 "that of its configuration of type 1"},
		{{1, 2, 19},
		 3,
		 "Device 0 of the state is of virtio's type 2, "
		 "that of its configuration of type 1"},
	};
	struct fixture *f = *state;
	struct snapshot s;
	struct err e;

	write_state(f, f->len);
	assert_int_equal(snapshot_open(&s, f->path, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		int ret = snapshot_check_devices(&s, tries[i].kind, tries[i].n,
						 &e);

		assert_int_equal(ret, tries[i].text ? -EINVAL : 0);
		if (tries[i].text)
			assert_non_null(strstr(e.text, tries[i].text));
	}
	snapshot_exit(&s);
}

static void what_is_said_of_a_drive_is_found(void **state)
{
	struct fixture *f = *state;
	struct origin_file file = {0};
	struct snapshot s;
	struct err e;

	write_state(f, f->len);
	assert_int_equal(snapshot_open(&s, f->path, &e), 0);
	assert_int_equal(snapshot_drive(&s, 0, &file, &e), 0);
	assert_int_equal(snapshot_drive(&s, 1, &file, &e), 1);
	assert_int_equal(file.bytes, 4097);
	/* That of the host is not there, either. */
	assert_int_equal(snapshot_check_host(&s, &e), 0);
	snapshot_exit(&s);
}

static void refused(const char *path, int ret, const char *text)
{
	struct snapshot s;
	struct err e = {0};

	assert_int_equal(snapshot_open(&s, path, &e), ret);
	assert_string_equal(e.text, text);
	snapshot_exit(&s);
}

static void what_cannot_be_read_is_refused(void **state)
{
	struct fixture *f = *state;

	refused("/nowhere", -ENOENT,
		NO_FILE "Failed to open snapshot file: No such file or "
			"directory (os error 2)");
	refused("/tmp", -EISDIR,
		NO_STATE "IO Error: Is a directory (os error 21)");
	refused(f->path, -EBADMSG,
		NO_STATE "IO Error: File too short to contain CRC");
	refused("/dev/zero", -EFBIG,
		NO_STATE "The file has more than 1048576 bytes");
	/* Nobody waits for the other end of it. */
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	refused(f->path, -EBADMSG,
		NO_STATE "IO Error: File too short to contain CRC");
}

static void every_truncation_is_refused(void **state)
{
	struct fixture *f = *state;
	struct state_file file;
	struct err e;

	for (size_t len = 0; len < f->len; len++) {
		/* Of its own length, so that what is read beyond is seen. */
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, f->data, len);
		assert_int_equal(state_parse(&file, copy, len, &e), -EBADMSG);
		free(copy);
	}
}

static void every_flipped_bit_is_refused(void **state)
{
	struct fixture *f = *state;
	struct state_file file;
	struct err e;

	for (size_t bit = 0; bit < f->len * 8; bit++) {
		f->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_true(state_parse(&file, f->data, f->len, &e) < 0);
		f->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(state_parse(&file, f->data, f->len, &e), 0);
}

static void section_of_no_known_tag_is_refused_by_name(void **state)
{
	struct fixture *f = *state;
	struct state_file file;
	struct archive a;
	struct err e;
	uint8_t byte = 1;

	free(f->data);
	assert_int_equal(state_new(&file, &e), 0);
	a = state_begin(&file, STATE_TAG('N', '\n', 'w', '!'), 0,
			STATE_REQUIRED);
	archive_u8(&a, &byte);
	state_end(&file, &a);
	f->data = state_pack(&file, &f->len, &e);
	state_exit(&file);
	assert_non_null(f->data);
	write_state(f, f->len);
	refused(f->path, -ENOTSUP,
		NO_STATE "The snapshot needs what this program does not know: "
			 "section 'N?w!'");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whole_file_is_read),
		TEST(other_numbers_of_vcpus_are_refused_with_both),
		TEST(devices_must_be_those_of_the_configuration),
		TEST(what_is_said_of_a_drive_is_found),
		TEST(what_cannot_be_read_is_refused),
		TEST(every_truncation_is_refused),
		TEST(every_flipped_bit_is_refused),
		TEST(section_of_no_known_tag_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
