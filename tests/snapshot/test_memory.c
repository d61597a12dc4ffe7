/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/num.h"
#include "snapshot/file.h"
#include "snapshot/memory.h"
#include "vmm/gmem.h"
#include "vmm/x86/layout.h"

#define RAM_BYTES  (5 * MIB + 3 * 4096) /* the last chunk is a short one */
#define PAGE_BYTES 4096

struct fixture {
	struct gmem mem;
	char path[40];
	int fd;
	uint32_t crc[4];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	assert_non_null(f);
	assert_int_equal(gmem_reserve(&f->mem, RAM_BYTES, &e), 0);
	assert_int_equal(gmem_back(&f->mem, GMEM_ANON, &e), 0);
	(void)strcpy(f->path, "/tmp/mayfly-memory-XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)close(f->fd);
	(void)unlink(f->path);
	gmem_exit(&f->mem);
	free(f);
	return 0;
}

static void write_memory(struct fixture *f)
{
	struct err e = {0};

	assert_int_equal(memory_write(&f->mem, f->fd, f->crc, &e), 0);
}

/* The file as it is, RAM_BYTES of it; free() it. */
static uint8_t *contents(const struct fixture *f)
{
	uint8_t *p = malloc(RAM_BYTES);
	struct stat st;

	assert_non_null(p);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, RAM_BYTES);
	assert_int_equal(pread(f->fd, p, RAM_BYTES, 0), RAM_BYTES);
	return p;
}

static void file_is_ram(void **state)
{
	static const uint64_t at[] = {
		0,	 4095,	      3 * PAGE_BYTES + 1, 2 * MIB - 1,
		2 * MIB, 4 * MIB + 7, RAM_BYTES - 1};
	struct fixture *f = *state;
	uint8_t *file;

	for (size_t i = 0; i < ARRAY_LEN(at); i++)
		assert_int_equal(gmem_write(&f->mem, at[i], "x", 1), 0);
	write_memory(f);
	file = contents(f);
	assert_memory_equal(file, f->mem.region[0].hva, RAM_BYTES);
	assert_int_equal(memory_chunks(&f->mem), 3);
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t start = (uint64_t)i * MEMORY_CHUNK_BYTES;
		size_t len =
			MIN(RAM_BYTES - start, (uint64_t)MEMORY_CHUNK_BYTES);

		assert_int_equal(f->crc[i], crc32c(0, file + start, len));
	}
	free(file);
}

static void file_is_sparse_where_ram_is_zero(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(gmem_write(&f->mem, 4 * MIB, "x", 1), 0);
	/* Written once, zero again: not worth a block either. */
	assert_int_equal(gmem_write(&f->mem, MIB, "\0", 1), 0);
	write_memory(f);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_true(st.st_blocks * 512 <= 16 * 4096);
	free(contents(f));
}

static void untouched_ram_stays_untouched(void **state)
{
	struct fixture *f = *state;
	unsigned char in[RAM_BYTES / PAGE_BYTES];

	write_memory(f);
	assert_int_equal(mincore(f->mem.region[0].hva, RAM_BYTES, in), 0);
	for (size_t i = 0; i < sizeof(in); i++)
		assert_int_equal(in[i] & 1, 0);
	/* Three digests of zeros. */
	assert_int_equal(f->crc[0], f->crc[1]);
}

static void full_disk_is_an_error(void **state)
{
	struct fixture *f = *state;
	int full = open("/dev/full", O_WRONLY);
	struct err e = {0};

	/* What cannot be made as long as RAM is refused before that. */
	assert_true(full >= 0);
	assert_int_equal(memory_write(&f->mem, full, f->crc, &e), -EINVAL);
	assert_string_equal(e.text, "Cannot perform truncate on the memory "
				    "backing file: Invalid argument (os error "
				    "22)");
	(void)close(full);
}

static void ram_can_be_the_file(void **state)
{
	const struct state_file head = {.mem_bytes = RAM_BYTES};
	struct fixture *f = *state;
	struct gmem clone;
	struct err e = {0};
	uint8_t *file;
	char c = 0;
	int fd;

	assert_int_equal(gmem_write(&f->mem, 2 * MIB, "x", 1), 0);
	write_memory(f);
	fd = memory_open(f->path, &head, &e);
	assert_true(fd >= 0);
	assert_int_equal(gmem_reserve(&clone, RAM_BYTES, &e), 0);
	assert_int_equal(gmem_back_file(&clone, fd, &e), 0);
	(void)close(fd);
	assert_int_equal(gmem_read(&clone, 2 * MIB, &c, 1), 0);
	assert_int_equal(c, 'x');
	/* What a clone writes is its own; what it shares is written too. */
	assert_int_equal(gmem_write(&clone, 2 * MIB, "y", 1), 0);
	file = contents(f);
	assert_int_equal(file[2 * MIB], 'x');
	free(file);
	assert_int_equal(memory_write(&clone, f->fd, f->crc, &e), 0);
	file = contents(f);
	assert_int_equal(file[2 * MIB], 'y');
	free(file);
	gmem_exit(&clone);
}

static void memory_file_has_all_of_ram(void **state)
{
	const struct state_file file = {.mem_bytes = RAM_BYTES};
	const struct state_file larger = {.mem_bytes = RAM_BYTES + 1};
	struct fixture *f = *state;
	struct err e = {0};

	write_memory(f);
	assert_int_equal(memory_open(f->path, &larger, &e), -EINVAL);
	assert_int_equal(memory_open("/tmp", &file, &e), -EINVAL);
	assert_int_equal(memory_open("/dev/zero", &file, &e), -EINVAL);
	assert_int_equal(memory_open("/nowhere", &file, &e), -ENOENT);
	assert_string_equal(e.text, "Failed to load guest memory: No such file "
				    "or directory (os error 2)");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(file_is_ram),
		TEST(file_is_sparse_where_ram_is_zero),
		TEST(untouched_ram_stays_untouched),
		TEST(full_disk_is_an_error),
		TEST(ram_can_be_the_file),
		TEST(memory_file_has_all_of_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
