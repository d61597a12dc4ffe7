/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands on good files, and on files that are wrong in every way, with a
 * stand-in for KVM: they end with an exit code that says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "ctl/snapshot.h"
#include "snapshot/memory.h"
#include "snapshot/sections.h"
#include "tests/snapshot/fake_kvm.h"

#define MEM_BYTES    (2 * MEMORY_CHUNK_BYTES + 4096)
#define N_CHUNKS     3
#define HEADER_BYTES 64
#define ENTRY_BYTES  24
#define HEADER_CRC   48
#define FLIP_STEP    131 /* of the bits, one in so many */
#define CONFIG                                                        \
	"{\"drives\":[{\"drive_id\":\"a\",\"path_on_host\":\"/b\"}]," \
	"\"network-interfaces\":[{\"iface_id\":\"c\"}],\"vsock\":{"   \
	"\"guest_cid\":3,\"uds_path\":\"d\"},\"machine-config\":{}}"

struct fixture {
	char dir[32];
	char state[64], mem[64], base[64], diff[64], out[64];
	struct state_file file; /* of data */
	uint8_t *data;
	size_t len;
	int said; /* what the commands print goes there */
	int keep[2];
};

static void put_page(const char *path, uint64_t page, uint8_t byte)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	uint8_t data[4096];

	memset(data, byte, sizeof(data));
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEM_BYTES), 0);
	assert_int_equal(pwrite(fd, data, sizeof(data), (off_t)(page * 4096)),
			 sizeof(data));
	(void)close(fd);
}

static void put_state(const struct fixture *f, const uint8_t *data, size_t len)
{
	int fd = open(f->state, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	(void)close(fd);
}

static void add(struct state_file *f, uint32_t tag)
{
	static struct cpuid cpuid;
	static struct vcpu_state vcpu = {
		.tsc_khz = FAKE_TSC_KHZ,
		.n_msrs = 2,
		.msr = {{.index = 0x10}, {.index = 0xc0000081}},
		.xsave_bytes = 512};
	static struct chip_state chips;
	struct archive a = state_begin(f, tag, 0, STATE_REQUIRED);

	if (tag == TAG_CPUID) {
		cpuid.n = CPUID_MAX_ENTRIES;
		(void)fake_cpuid((struct kvm_cpuid2 *)&cpuid);
		cpuid_describe(&cpuid, &a);
	} else if (tag == TAG_VCPU) {
		vcpu_state_describe(&vcpu, &a);
	} else if (tag == TAG_CHIPS) {
		chip_state_describe(&chips, &a);
	} else {
		archive_bytes(&a, (void *)(uintptr_t)CONFIG, strlen(CONFIG));
	}
	state_end(f, &a);
}

/* Digests of what the memory file of the test holds. */
static void add_digests(struct state_file *f, const char *path)
{
	struct archive a = state_begin(f, TAG_DIGEST, 0, 0);
	int fd = open(path, O_RDONLY);
	uint8_t *data = malloc(MEM_BYTES);

	assert_true(fd >= 0 && data);
	assert_int_equal(pread(fd, data, MEM_BYTES, 0), MEM_BYTES);
	for (uint64_t at = 0; at < MEM_BYTES; at += MEMORY_CHUNK_BYTES) {
		uint32_t crc = crc32c(0, data + at,
				      MIN(MEM_BYTES - at, MEMORY_CHUNK_BYTES));

		archive_u32(&a, &crc);
	}
	state_end(f, &a);
	free(data);
	(void)close(fd);
}

static void make_state(struct fixture *f)
{
	struct state_file new;
	struct err e;

	assert_int_equal(state_new(&new, &e), 0);
	new.mem_bytes = MEM_BYTES;
	memset(new.id, 7, sizeof(new.id));
	add(&new, TAG_CONFIG);
	add(&new, TAG_CPUID);
	add(&new, TAG_VCPU);
	add(&new, TAG_CHIPS);
	add_digests(&new, f->mem);
	f->data = state_pack(&new, &f->len, &e);
	assert_non_null(f->data);
	state_exit(&new);
	assert_int_equal(state_parse(&f->file, f->data, f->len, &e), 0);
	put_state(f, f->data, f->len);
}

/* Page 3 changes, page 5 becomes zero, page 600 is as it was. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)strcpy(f->dir, "/tmp/mayfly-ctl-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
	(void)snprintf(f->mem, sizeof(f->mem), "%s/mem", f->dir);
	(void)snprintf(f->base, sizeof(f->base), "%s/base", f->dir);
	(void)snprintf(f->diff, sizeof(f->diff), "%s/diff", f->dir);
	(void)snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
	put_page(f->base, 3, 1);
	put_page(f->base, 5, 1);
	put_page(f->base, 600, 1);
	put_page(f->diff, 3, 2);
	put_page(f->diff, 5, 0);
	put_page(f->mem, 3, 2);
	put_page(f->mem, 600, 1);
	make_state(f);
	f->said = memfd_create("said", MFD_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		f->keep[i] = dup(i + 1);
		assert_true(dup2(f->said, i + 1) >= 0);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	(void)fflush(NULL);
	for (int i = 0; i < 2; i++) {
		assert_true(dup2(f->keep[i], i + 1) >= 0);
		(void)close(f->keep[i]);
	}
	(void)close(f->said);
	(void)snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	/* NOLINTNEXTLINE(cert-env33-c): a path of ours */
	assert_int_equal(system(command), 0);
	free(f->data);
	free(f);
	return 0;
}

/* Its exit code; arguments up to NULL. */
/* Behind the arguments of run(). */
#define END ((char *)NULL)

static int run(struct fixture *f, ...)
{
	char name[] = "snapshot";
	char *argv[12] = {name};
	int argc = 1;
	va_list args;
	int ret;

	va_start(args, f);
	while ((argv[argc] = va_arg(args, char *)))
		argc++;
	va_end(args);
	(void)fflush(NULL);
	assert_int_equal(ftruncate(f->said, 0), 0);
	(void)lseek(f->said, 0, SEEK_SET);
	optind = 0; /* a new command line */
	ret = snapshot_main(argc, argv);
	(void)fflush(NULL);
	return ret;
}

/* Whether the last command printed that. */
static bool said(const struct fixture *f, const char *text)
{
	char buf[8192] = "";

	assert_true(pread(f->said, buf, sizeof(buf) - 1, 0) >= 0);
	return strstr(buf, text);
}

static void good_files_are_good(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "info", f->state, END), 0);
	assert_true(said(f, "AuthenticAMD family 25 model 33 stepping 0"));
	assert_true(said(f, "TSC 2000000 kHz"));
	assert_int_equal(run(f, "info", "--json", f->state, END), 0);
	assert_true(said(f, "\"memory_bytes\":4198400"));
	assert_int_equal(run(f, "verify", f->state, END), 0);
	assert_int_equal(run(f, "verify", f->state, f->mem, END), 0);
	assert_true(said(f, "3 chunks"));
	assert_int_equal(run(f, "check-host", f->state, END), 0);
	assert_true(said(f, "MSRs of vCPU 0: ok"));
}

static void arguments_are_checked(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, END), 2);
	assert_int_equal(run(f, "infos", f->state, END), 2);
	assert_int_equal(run(f, "info", END), 2);
	assert_int_equal(run(f, "info", "--json", END), 2);
	assert_int_equal(run(f, "info", "-x", f->state, END), 2);
	assert_int_equal(run(f, "verify", END), 2);
	assert_int_equal(run(f, "verify", "a", "b", "c", END), 2);
	assert_int_equal(run(f, "check-host", END), 2);
	assert_int_equal(run(f, "merge", f->base, f->diff, END), 2);
	assert_int_equal(run(f, "merge", "-o", f->out, f->base, END), 2);
	assert_int_equal(run(f, "merge", "-x", f->out, f->base, END), 2);
	assert_int_equal(run(f, "info", "/nowhere", f->state, END), 2);
	assert_true(said(f, "/nowhere"));
}

static void changed_chunk_is_named(void **state)
{
	struct fixture *f = *state;

	put_page(f->mem, 512, 1);
	assert_int_equal(run(f, "verify", f->state, f->mem, END), 1);
	assert_true(said(f, "chunk 1 (bytes 2097152 to 4194303) differs"));
	assert_int_equal(truncate(f->mem, MEM_BYTES - 1), 0);
	assert_int_equal(run(f, "verify", f->state, f->mem, END), 1);
	assert_true(said(f, "4198399 bytes"));
	assert_int_equal(run(f, "verify", f->state, f->out, END), 2);
	assert_int_equal(run(f, "verify", f->state, f->dir, END), 1);
}

static void merged_file_is_the_later_one(void **state)
{
	struct fixture *f = *state;
	struct stat before, after;

	assert_int_equal(run(f, "merge", "-s", f->state, "-o", f->out, f->base,
			     f->diff, END),
			 0);
	assert_int_equal(run(f, "verify", f->state, f->out, END), 0);
	assert_int_equal(run(f, "verify", f->state, f->base, END), 1);
	/* In its place: another file under its name. */
	assert_int_equal(stat(f->base, &before), 0);
	assert_int_equal(run(f, "merge", "-o", f->base, f->base, f->diff, END),
			 0);
	assert_int_equal(stat(f->base, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(run(f, "verify", f->state, f->base, END), 0);
}

static void what_is_not_the_later_one_is_not_written(void **state)
{
	struct fixture *f = *state;

	/* As cp --sparse=always makes it: page 5 is a hole. */
	assert_int_equal(unlink(f->diff), 0);
	put_page(f->diff, 3, 2);
	assert_int_equal(run(f, "merge", "-s", f->state, "-o", f->out, f->base,
			     f->diff, END),
			 1);
	assert_true(said(f, "Chunk 0 of the result"));
	assert_int_equal(access(f->out, F_OK), -1);
	assert_int_equal(truncate(f->diff, MEM_BYTES - 4096), 0);
	assert_int_equal(run(f, "merge", "-o", f->out, f->base, f->diff, END),
			 1);
	assert_true(said(f, "not of one guest"));
	assert_int_equal(
		run(f, "merge", "-o", f->out, f->base, "/nowhere", END), 2);
	assert_int_equal(
		run(f, "merge", "-o", "/dev/null", f->base, f->diff, END), 1);
	assert_int_equal(access(f->out, F_OK), -1);
	/* Nothing under a name of its own is left either. */
	assert_int_equal(unlink(f->diff), 0);
	assert_int_equal(unlink(f->base), 0);
	assert_int_equal(unlink(f->mem), 0);
	assert_int_equal(unlink(f->state), 0);
	assert_int_equal(rmdir(f->dir), 0);
}

/* ---- files that are wrong ---- */

static void all_refuse(struct fixture *f)
{
	assert_int_equal(run(f, "info", f->state, END), 1);
	assert_int_equal(run(f, "info", "--json", f->state, END), 1);
	assert_int_equal(run(f, "verify", f->state, f->mem, END), 1);
	assert_int_equal(run(f, "check-host", f->state, END), 1);
}

static void cut_and_flipped_files_are_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->len; len += FLIP_STEP) {
		put_state(f, f->data, len);
		all_refuse(f);
	}
	for (size_t bit = 0; bit < f->len * 8; bit += FLIP_STEP) {
		f->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		put_state(f, f->data, f->len);
		all_refuse(f);
		f->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* One byte of section i is another, and the checksums are right. */
static void put_changed(struct fixture *f, uint32_t i, uint8_t *p, uint8_t v)
{
	const struct state_section *s = &f->file.section[i];
	uint8_t *sum = f->data + HEADER_BYTES + i * ENTRY_BYTES + 12;
	size_t table = HEADER_BYTES + f->file.n_sections * ENTRY_BYTES;
	uint8_t old = *p;

	*p = v;
	put_le32(sum, crc32c(0, f->data + s->offset, s->bytes));
	put_le32(f->data + HEADER_CRC, 0);
	put_le32(f->data + HEADER_CRC, crc32c(0, f->data, table));
	put_state(f, f->data, f->len);
	*p = old;
	put_le32(sum, s->crc);
}

/* Numbers of what follows are not zero: all of these, and some of the rest. */
static bool worth_a_look(const uint8_t *section, size_t at)
{
	return at < 8 || section[at] || at % 37 == 0;
}

/* With right checksums: any exit code, but an end. */
static void changed_files_harm_nobody(void **state)
{
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
	struct fixture *f = *state;

	for (uint32_t i = 0; i < f->file.n_sections; i++) {
		const struct state_section *s = &f->file.section[i];
		uint8_t *p = f->data + s->offset;

		for (size_t n = 0; n < s->bytes * ARRAY_LEN(values); n++) {
			size_t at = n / ARRAY_LEN(values);

			if (!worth_a_look(p, at))
				continue;
			put_changed(f, i, p + at,
				    values[n % ARRAY_LEN(values)]);
			assert_true(run(f, "info", f->state, END) <= 1);
			assert_true(run(f, "info", "--json", f->state, END) <=
				    1);
			assert_true(run(f, "check-host", f->state, END) <= 1);
		}
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(good_files_are_good),
		TEST(arguments_are_checked),
		TEST(changed_chunk_is_named),
		TEST(merged_file_is_the_later_one),
		TEST(what_is_not_the_later_one_is_not_written),
		TEST(cut_and_flipped_files_are_refused),
		TEST(changed_files_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
