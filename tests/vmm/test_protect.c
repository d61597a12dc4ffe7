/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/protect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/uffd.h"

#define PAGE	  4096
#define RAM_BYTES (4 * MIB)
#define TOUCHED	  (2 * MIB)

struct fixture {
	struct gmem mem;
	struct protect protect;
	uint8_t *ram;
	pthread_t writer;
	uint64_t at; /* where it is to write */
	bool wrote;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	assert_non_null(f);
	f->protect.fd = -1;
	assert_int_equal(gmem_reserve(&f->mem, RAM_BYTES, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	protect_close(&f->protect);
	gmem_exit(&f->mem);
	free(f);
	return 0;
}

static bool protected_ram(struct fixture *f)
{
	struct err e = {0};

	f->ram = gmem_ptr(&f->mem, 0, RAM_BYTES);
	memset(f->ram, 1, TOUCHED);
	if (access("/dev/userfaultfd", R_OK | W_OK) < 0) {
		print_message("userfaultfd: %s\n", strerror(errno));
		skip();
	}
	if (protect_open(&f->protect, &f->mem, &e) == -ENOTSUP)
		return false;
	assert_int_equal(protect_start(&f->protect, 0, f->mem.bytes, &e), 0);
	return true;
}

static void anonymous(struct fixture *f)
{
	struct err e = {0};

	assert_int_equal(gmem_back(&f->mem, GMEM_ANON, &e), 0);
	assert_true(protected_ram(f));
}

static void *write_byte(void *arg)
{
	struct fixture *f = arg;

	f->ram[f->at] = 2;
	__atomic_store_n(&f->wrote, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool wrote(struct fixture *f)
{
	return __atomic_load_n(&f->wrote, __ATOMIC_ACQUIRE);
}

static void start_writer(struct fixture *f, uint64_t at)
{
	f->at = at;
	f->wrote = false;
	assert_int_equal(pthread_create(&f->writer, NULL, write_byte, f), 0);
}

/* It is let go by the end of the protection, if by nothing else. */
static void end_writer(struct fixture *f)
{
	protect_close(&f->protect);
	(void)pthread_join(f->writer, NULL);
	assert_int_equal(f->ram[f->at], 2);
}

static uint64_t wait_for_writer(struct fixture *f)
{
	uint64_t offset = 0;
	struct err e = {0};
	int ret;

	while ((ret = protect_waiting(&f->protect, &offset, &e)) == 0)
		(void)usleep(100);
	assert_int_equal(ret, 1);
	return offset;
}

static void writer_waits_until_released(void **state)
{
	struct fixture *f = *state;
	uint64_t offset;
	struct err e = {0};

	anonymous(f);
	assert_int_equal(protect_waiting(&f->protect, &offset, &e), 0);
	start_writer(f, 5 * PAGE + 77);
	assert_int_equal(wait_for_writer(f), 5 * PAGE);
	assert_false(wrote(f));
	assert_int_equal(f->ram[f->at], 1);
	assert_int_equal(protect_release(&f->protect, 5 * PAGE, PAGE, &e), 0);
	(void)pthread_join(f->writer, NULL);
	assert_int_equal(f->ram[f->at], 2);
	/* That page alone. */
	start_writer(f, 6 * PAGE);
	assert_int_equal(wait_for_writer(f), 6 * PAGE);
	assert_int_equal(protect_release(&f->protect, 0, RAM_BYTES, &e), 0);
	(void)pthread_join(f->writer, NULL);
}

static void close_lets_everybody_go(void **state)
{
	struct fixture *f = *state;

	anonymous(f);
	start_writer(f, 0);
	assert_int_equal(wait_for_writer(f), 0);
	end_writer(f);
	f->ram[PAGE] = 3; /* would not return */
	/* And again: nothing of the first time is left. */
	assert_true(protected_ram(f));
	start_writer(f, 0);
	assert_int_equal(wait_for_writer(f), 0);
	end_writer(f);
}

static void new_pages_do_not_wait(void **state)
{
	struct fixture *f = *state;
	unsigned char in = 1;

	anonymous(f);
	assert_int_equal(mincore(f->ram + TOUCHED, PAGE, &in), 0);
	assert_int_equal(in & 1, 0);
	f->ram[TOUCHED] = 1;
	assert_int_equal(mincore(f->ram + TOUCHED, PAGE, &in), 0);
	assert_int_equal(in & 1, 1);
	assert_int_equal(f->ram[TOUCHED + 1], 0);
}

static void file_of_memory_is_protected(void **state)
{
	struct fixture *f = *state;
	int fd = memfd_create("ram", MFD_CLOEXEC);
	struct err e = {0};

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	assert_int_equal(gmem_back_file(&f->mem, fd, &e), 0);
	(void)close(fd);
	assert_true(protected_ram(f));
	/* Also a page that is in the file alone: reading it takes it out. */
	assert_int_equal(f->ram[TOUCHED + PAGE], 0);
	start_writer(f, TOUCHED + PAGE);
	assert_int_equal(wait_for_writer(f), TOUCHED + PAGE);
	assert_int_equal(protect_release(&f->protect, TOUCHED, 2 * PAGE, &e),
			 0);
	(void)pthread_join(f->writer, NULL);
	start_writer(f, TOUCHED + 2 * PAGE);
	assert_int_equal(wait_for_writer(f), TOUCHED + 2 * PAGE);
	end_writer(f);
}

static void regular_file_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[] = "./protect-XXXXXX"; /* /tmp may be memory */
	int fd = mkstemp(path);
	struct err e = {0};

	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	assert_int_equal(gmem_back_file(&f->mem, fd, &e), 0);
	(void)close(fd);
	assert_false(protected_ram(f));
	f->ram[0] = 3; /* would not return */
}

/* A page server's, for example. */
static void memory_that_is_taken_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	int fd;

	assert_int_equal(gmem_back(&f->mem, GMEM_ANON, &e), 0);
	fd = uffd_open(0, false, &e);
	if (fd < 0)
		skip();
	assert_int_equal(
		uffd_register(fd, &f->mem, UFFDIO_REGISTER_MODE_MISSING, &e),
		0);
	assert_int_equal(protect_open(&f->protect, &f->mem, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "Resource busy"));
	assert_int_equal(f->protect.fd, -1);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writer_waits_until_released,
						setup, teardown),
		cmocka_unit_test_setup_teardown(close_lets_everybody_go, setup,
						teardown),
		cmocka_unit_test_setup_teardown(new_pages_do_not_wait, setup,
						teardown),
		cmocka_unit_test_setup_teardown(file_of_memory_is_protected,
						setup, teardown),
		cmocka_unit_test_setup_teardown(regular_file_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(memory_that_is_taken_is_refused,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
