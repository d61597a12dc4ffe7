/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on files in fixed slots, on both backends. */
#include "tests/base/loop_env.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES ((size_t)(1 * MIB))
#define MANY	   5000
#define PIECE	   512

/* A file of FILE_BYTES, each piece filled with its number plus salt. */
static int new_file(unsigned int salt)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	unsigned char piece[PIECE];

	assert_true(fd >= 0);
	for (size_t i = 0; i < FILE_BYTES / PIECE; i++) {
		memset(piece, (int)((i + salt) & 0xff), PIECE);
		assert_int_equal(write(fd, piece, PIECE), PIECE);
	}
	return fd;
}

static void put(struct env *v, unsigned int slot, int fd)
{
	struct rec r = REC;

	loop_slot_set(v->loop, &r.op, slot, fd);
	assert_int_equal(r.calls, 0);
	TURN_UNTIL(v, r.calls == 1);
	assert_int_equal(r.last, 0);
}

/* Wait for the end of r, which must have been told once. */
static int result(struct env *v, struct rec *r)
{
	TURN_UNTIL(v, !io_op_active(&r->op));
	assert_int_equal(r->calls, 1);
	r->calls = 0;
	return r->last;
}

static void slots_read_write_and_sync(void **state)
{
	struct env *v = *state;
	char path[] = "/tmp/test_loop_file.XXXXXX";
	int fd = mkstemp(path);
	char a[] = "hello ", b[] = "world!", in[16] = {0};
	const struct iovec out[] = {{a, 6}, {b, 6}};
	const struct iovec back[] = {{in + 6, 6}, {in, 6}};
	struct rec r = REC;
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	put(v, 63, fd);
	loop_writev(v->loop, &r.op, 63, out, 2, 1000);
	assert_int_equal(result(v, &r), 12);
	loop_fdatasync(v->loop, &r.op, 63);
	assert_int_equal(result(v, &r), 0);
	loop_readv(v->loop, &r.op, 63, back, 2, 1000);
	assert_int_equal(result(v, &r), 12);
	assert_memory_equal(in, "world!hello ", 12);
	/* Short at the end of the file. */
	loop_readv(v->loop, &r.op, 63, back, 2, 1004);
	assert_int_equal(result(v, &r), 8);
	loop_readv(v->loop, &r.op, 63, back, 2, UINT64_C(1) << 40);
	assert_int_equal(result(v, &r), 0);
	loop_fallocate(v->loop, &r.op, 63, 0, 0, 8192);
	assert_int_equal(result(v, &r), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 8192);
	loop_fallocate(v->loop, &r.op, 63,
		       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	assert_int_equal(result(v, &r), 0);
	loop_readv(v->loop, &r.op, 63, back, 2, 1000);
	assert_int_equal(result(v, &r), 12);
	assert_int_equal(in[0], 0);
	(void)close(fd);
}

static void empty_and_absent_slots_are_refused(void **state)
{
	struct env *v = *state;
	char buf[8];
	const struct iovec iov = {buf, sizeof(buf)};
	struct rec r = REC;
	int fd = new_file(0);

	loop_readv(v->loop, &r.op, 0, &iov, 1, 0);
	assert_int_equal(result(v, &r), -EBADF);
	loop_readv(v->loop, &r.op, LOOP_SLOTS, &iov, 1, 0);
	assert_int_equal(result(v, &r), -EBADF);
	loop_slot_set(v->loop, &r.op, LOOP_SLOTS, fd);
	assert_int_equal(result(v, &r), -EINVAL);
	put(v, 0, fd);
	loop_readv(v->loop, &r.op, 0, &iov, 1, 0);
	assert_int_equal(result(v, &r), 8);
	put(v, 0, -1);
	loop_fdatasync(v->loop, &r.op, 0);
	assert_int_equal(result(v, &r), -EBADF);
	put(v, 0, -1);
	(void)close(fd);
}

struct piece {
	struct rec r;
	struct iovec iov;
	unsigned char buf[PIECE];
};

static struct piece *new_pieces(size_t n)
{
	struct piece *p = calloc(n, sizeof(*p));

	assert_non_null(p);
	for (size_t i = 0; i < n; i++) {
		p[i].r.op.done = rec_done;
		p[i].iov = (struct iovec){p[i].buf, PIECE};
	}
	return p;
}

static void read_piece(struct env *v, struct piece *p, size_t n)
{
	loop_readv(v->loop, &p->r.op, 5, &p->iov, 1, (n * PIECE) % FILE_BYTES);
}

static void check_piece(struct env *v, struct piece *p, size_t n)
{
	const unsigned int want = (n % (FILE_BYTES / PIECE)) & 0xff;

	assert_int_equal(result(v, &p->r), PIECE);
	assert_int_equal(p->buf[0], want);
	assert_int_equal(p->buf[PIECE - 1], want);
}

static void thousands_of_operations_fit(void **state)
{
	struct env *v = *state;
	struct piece *p = new_pieces(MANY);
	int fd = new_file(0);

	put(v, 5, fd);
	for (unsigned int round = 0; round < 2; round++) {
		for (size_t i = 0; i < MANY; i++)
			read_piece(v, &p[i], i);
		for (size_t i = 0; i < MANY; i++)
			check_piece(v, &p[i], i);
	}
	free(p);
	(void)close(fd);
}

static void every_cancelled_operation_ends_once(void **state)
{
	struct env *v = *state;
	struct piece *p = new_pieces(MANY);
	int fd = new_file(0);
	size_t cancelled = 0;

	put(v, 5, fd);
	for (size_t i = 0; i < MANY; i++)
		read_piece(v, &p[i], i);
	turns(v, 1);
	for (size_t i = 0; i < MANY; i++)
		loop_cancel(v->loop, &p[i].r.op);
	for (size_t i = 0; i < MANY; i++) {
		int res = result(v, &p[i].r);

		assert_true(res == PIECE || res == -ECANCELED);
		cancelled += res == -ECANCELED;
	}
	/* At least those that had found no room in the ring. */
	assert_true(cancelled > 0 || loop_backend_of(v->loop) == LOOP_EPOLL);
	for (size_t i = 0; i < MANY; i++)
		read_piece(v, &p[i], i);
	for (size_t i = 0; i < MANY; i++)
		check_piece(v, &p[i], i);
	free(p);
	(void)close(fd);
}

/* Many reads, a swap and many reads: each sees the file of its start. */
static void a_swap_divides_old_from_new(void **state)
{
	struct env *v = *state;
	struct piece *p = new_pieces(MANY);
	int files[] = {new_file(0), new_file(1)};

	put(v, 5, files[0]);
	for (unsigned int round = 1; round < 7; round++) {
		struct rec swap = REC;

		for (size_t i = 0; i < MANY; i++) {
			if (i == MANY / 2)
				loop_slot_set(v->loop, &swap.op, 5,
					      files[round % 2]);
			read_piece(v, &p[i], 0);
		}
		TURN_UNTIL(v, !io_op_active(&swap.op));
		assert_int_equal(swap.last, 0);
		for (size_t i = 0; i < MANY; i++) {
			unsigned int salt = (i >= MANY / 2) == round % 2;

			assert_int_equal(result(v, &p[i].r), PIECE);
			assert_int_equal(p[i].buf[0], salt);
		}
	}
	free(p);
	(void)close(files[0]);
	(void)close(files[1]);
}

/* What the owner of the swapped-out file relies on. */
static void the_old_file_may_be_closed_after_the_swap(void **state)
{
	struct env *v = *state;
	struct piece *p = new_pieces(MANY);
	struct rec swap = REC;
	int old = new_file(0), new = new_file(7);

	put(v, 5, old);
	for (size_t i = 0; i < MANY; i++)
		read_piece(v, &p[i], i);
	loop_slot_set(v->loop, &swap.op, 5, new);
	TURN_UNTIL(v, !io_op_active(&swap.op));
	(void)close(old);
	for (size_t i = 0; i < MANY; i++)
		check_piece(v, &p[i], i);
	free(p);
	(void)close(new);
}

static void writes_to_a_read_only_file_fail(void **state)
{
	struct env *v = *state;
	char c = 'x';
	const struct iovec iov = {&c, 1};
	struct rec r = REC;
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

	put(v, 1, fd);
	loop_writev(v->loop, &r.op, 1, &iov, 1, 0);
	assert_int_equal(result(v, &r), -EBADF);
	(void)close(fd);
}

static void epoll_without_helper_refuses_files(void **state)
{
	struct env v = {0};
	struct rec r = REC;
	struct err e;

	(void)state;
	assert_int_equal(loop_new(&v.loop, LOOP_EPOLL, NULL, &e), 0);
	loop_slot_set(v.loop, &r.op, 0, 0);
	assert_int_equal(result(&v, &r), -EOPNOTSUPP);
	loop_fdatasync(v.loop, &r.op, 0);
	assert_int_equal(result(&v, &r), -EOPNOTSUPP);
	loop_free(v.loop);
}

#define TESTS(on)                                                  \
	ON(slots_read_write_and_sync, on),                         \
		ON(empty_and_absent_slots_are_refused, on),        \
		ON(thousands_of_operations_fit, on),               \
		ON(every_cancelled_operation_ends_once, on),       \
		ON(a_swap_divides_old_from_new, on),               \
		ON(the_old_file_may_be_closed_after_the_swap, on), \
		ON(writes_to_a_read_only_file_fail, on)

int main(void)
{
	const struct CMUnitTest uring[] = {TESTS(uring)};
	const struct CMUnitTest epoll[] = {
		TESTS(epoll),
		cmocka_unit_test(epoll_without_helper_refuses_files)};

	return RUN_ON_BOTH(uring, epoll);
}
