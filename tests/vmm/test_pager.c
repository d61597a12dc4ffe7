/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/num.h"
#include "vmm/gmem.h"
#include "vmm/pager.h"
#include "vmm/uffd.h"
#include "vmm/vm.h"

#define PAGE 4096
#define DATA 0x5a

/* Both ends: the monitor's, and the server, which the test plays. */
struct env {
	char folder[32];
	struct sockaddr_un addr;
	int listener, conn, uffd; /* the server's */
	char text[512];		  /* that it was sent */
	struct gmem mem;
	struct pager *pager;
	struct vm_owner owner;
	uint64_t offset; /* of the page that is touched */
	int touched;	 /* what was read there, -1: nothing yet */
	int lost;	 /* how often the owner was told */
	pthread_t toucher;
	struct err e;
};

static void on_lost(struct vm_owner *o)
{
	struct env *v = container_of(o, struct env, owner);

	(void)__atomic_add_fetch(&v->lost, 1, __ATOMIC_RELEASE);
}

static int set_up(void **state)
{
	struct env *v = calloc(1, sizeof(*v));

	assert_non_null(v);
	*v = (struct env){.folder = "/tmp/test_pager-XXXXXX",
			  .addr.sun_family = AF_UNIX,
			  .conn = -1,
			  .uffd = -1,
			  .touched = -1,
			  .owner.lost = on_lost};
	assert_non_null(mkdtemp(v->folder));
	(void)snprintf(v->addr.sun_path, sizeof(v->addr.sun_path), "%s/s",
		       v->folder);
	v->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		bind(v->listener, (struct sockaddr *)&v->addr, sizeof(v->addr)),
		0);
	assert_int_equal(listen(v->listener, 1), 0);
	*state = v;
	return 0;
}

static int tear_down(void **state)
{
	struct env *v = *state;

	pager_free(v->pager);
	gmem_exit(&v->mem);
	fd_close(&v->conn);
	fd_close(&v->uffd);
	fd_close(&v->listener);
	(void)unlink(v->addr.sun_path);
	(void)rmdir(v->folder);
	free(v);
	return 0;
}

static void connect_both(struct env *v, uint64_t bytes)
{
	assert_int_equal(gmem_reserve(&v->mem, bytes, &v->e), 0);
	assert_int_equal(gmem_back(&v->mem, GMEM_ANON, &v->e), 0);
	assert_int_equal(pager_open(&v->pager, v->addr.sun_path,
				    strlen(v->addr.sun_path), &v->e),
			 0);
	v->conn = accept(v->listener, NULL, NULL);
	assert_true(v->conn >= 0);
}

static void serve(struct env *v, uint64_t bytes)
{
	int fd;

	connect_both(v, bytes);
	fd = uffd_open(0, true, &v->e);
	if (fd < 0) {
		print_message("userfaultfd: %s\n", v->e.text);
		skip();
	}
	(void)close(fd);
	if (pager_serve(v->pager, &v->mem, &v->e) < 0)
		fail_msg("%s", v->e.text);
}

/* What the monitor has sent, with its descriptor. */
static void receive(struct env *v)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = v->text, .iov_len = sizeof(v->text)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(v->conn, &msg, MSG_CMSG_CLOEXEC);

	assert_in_range(n, 1, sizeof(v->text) - 1);
	v->text[n] = '\0';
	assert_int_equal(msg.msg_controllen, CMSG_SPACE(sizeof(int)));
	assert_int_equal(control.head.cmsg_type, SCM_RIGHTS);
	memcpy(&v->uffd, CMSG_DATA(&control.head), sizeof(int));
}

static void *touch(void *arg)
{
	struct env *v = arg;
	const volatile uint8_t *p = v->mem.region[0].hva + v->offset;

	__atomic_store_n(&v->touched, *p, __ATOMIC_RELEASE);
	return NULL;
}

static void start_to_touch(struct env *v, uint64_t offset)
{
	v->offset = offset;
	v->touched = -1;
	assert_int_equal(pthread_create(&v->toucher, NULL, touch, v), 0);
}

static int was_touched(struct env *v)
{
	return __atomic_load_n(&v->touched, __ATOMIC_ACQUIRE);
}

static void pause_ms(long ms)
{
	const struct timespec t = {.tv_nsec = ms * 1000000};

	(void)nanosleep(&t, NULL);
}

static void bring(struct env *v, uint64_t offset)
{
	static uint8_t page[PAGE];
	struct uffdio_copy c = {
		.dst = (uintptr_t)v->mem.region[0].hva + offset,
		.src = (uintptr_t)page,
		.len = PAGE,
	};

	memset(page, DATA, sizeof(page));
	assert_int_equal(ioctl(v->uffd, UFFDIO_COPY, &c), 0);
}

static void wait_lost(struct env *v)
{
	for (int i = 0; i < 10000; i++) {
		if (__atomic_load_n(&v->lost, __ATOMIC_ACQUIRE))
			return;
		pause_ms(1);
	}
	fail_msg("the owner was never told");
}

static void says_why_it_cannot_connect(void **state)
{
	static const char none[] = "/no/such/socket";
	struct env *v = *state;
	char longest[200];

	memset(longest, 'x', sizeof(longest));
	assert_int_equal(pager_open(&v->pager, none, strlen(none), &v->e),
			 -ENOENT);
	assert_string_equal(v->e.text, "Failed to connect to UDS Unix stream: "
				       "No such file or directory (os error "
				       "2)");
	assert_int_equal(pager_open(&v->pager, longest, 108, &v->e),
			 -ENAMETOOLONG);
	assert_string_equal(v->e.text, "Failed to connect to UDS Unix stream: "
				       "path must be shorter than SUN_LEN");
	assert_int_equal(pager_open(&v->pager, "a\0b", 3, &v->e), -EINVAL);
	assert_string_equal(v->e.text,
			    "Failed to connect to UDS Unix stream: paths must "
			    "not contain interior null bytes");
	assert_int_equal(pager_open(&v->pager, "", 0, &v->e), -EINVAL);
	fd_close(&v->listener);
	assert_int_equal(pager_open(&v->pager, v->addr.sun_path,
				    strlen(v->addr.sun_path), &v->e),
			 -ECONNREFUSED);
	assert_null(v->pager);
}

static void tells_the_regions(void **state)
{
	struct env *v = *state;
	char want[512];

	serve(v, 3 * GIB + 8 * MIB);
	receive(v);
	(void)snprintf(
		want, sizeof(want),
		"[{\"base_host_virt_addr\":%llu,\"size\":3221225472,"
		"\"offset\":0,\"page_size\":4096,\"page_size_kib\":4096},"
		"{\"base_host_virt_addr\":%llu,\"size\":8388608,"
		"\"offset\":3221225472,\"page_size\":4096,"
		"\"page_size_kib\":4096}]",
		(unsigned long long)(uintptr_t)v->mem.region[0].hva,
		(unsigned long long)(uintptr_t)v->mem.region[1].hva);
	assert_string_equal(v->text, want);
	assert_false(v->mem.anonymous);
}

static void a_page_is_what_the_server_brings(void **state)
{
	struct env *v = *state;

	serve(v, MIB);
	receive(v);
	assert_int_equal(pager_arm(v->pager, &v->owner, NULL, &v->e), 0);
	start_to_touch(v, 5 * PAGE);
	pause_ms(20);
	assert_int_equal(was_touched(v), -1);
	/* What it says is nobody's business. */
	assert_int_equal(write(v->conn, "hello", 5), 5);
	bring(v, 5 * PAGE);
	(void)pthread_join(v->toucher, NULL);
	assert_int_equal(was_touched(v), DATA);
	assert_int_equal(v->lost, 0);
}

/* Its connection, and its copy of the userfaultfd. */
static void end_server(struct env *v)
{
	fd_close(&v->uffd);
	fd_close(&v->conn);
	fd_close(&v->listener);
}

static void end_while_loading_frees_who_waits(void **state)
{
	struct env *v = *state;

	serve(v, MIB);
	receive(v);
	start_to_touch(v, 0);
	pause_ms(20);
	assert_int_equal(was_touched(v), -1);
	end_server(v);
	(void)pthread_join(v->toucher, NULL);
	/* So that this machine does not run. */
	assert_int_equal(pager_arm(v->pager, &v->owner, NULL, &v->e),
			 -ECONNRESET);
	assert_string_equal(v->e.text,
			    "The page server has closed its connection");
	assert_int_equal(v->lost, 0);
}

/* It has closed its connection, and keeps the userfaultfd. */
static void deaf_server_of_a_load_holds_nobody_up(void **state)
{
	struct env *v = *state;

	serve(v, 3 * GIB + 8 * MIB);
	receive(v);
	start_to_touch(v, 3 * GIB + PAGE);
	pause_ms(20);
	assert_int_equal(was_touched(v), -1);
	fd_close(&v->conn);
	(void)pthread_join(v->toucher, NULL);
	assert_int_equal(pager_arm(v->pager, &v->owner, NULL, &v->e),
			 -ECONNRESET);
}

static void end_before_the_message_was_read(void **state)
{
	struct env *v = *state;

	serve(v, MIB);
	end_server(v);
	start_to_touch(v, 0);
	(void)pthread_join(v->toucher, NULL);
	assert_int_equal(pager_arm(v->pager, &v->owner, NULL, &v->e),
			 -ECONNRESET);
}

static void end_before_it_is_told(void **state)
{
	struct env *v = *state;

	connect_both(v, MIB);
	end_server(v);
	if (pager_serve(v->pager, &v->mem, &v->e) < 0)
		assert_int_equal(v->e.code, -EPIPE);
}

static void end_of_a_running_guests_server_brings_no_zeros(void **state)
{
	struct env *v = *state;

	serve(v, MIB);
	receive(v);
	assert_int_equal(pager_arm(v->pager, &v->owner, NULL, &v->e), 0);
	start_to_touch(v, 0);
	end_server(v);
	wait_lost(v);
	pause_ms(50);
	assert_int_equal(was_touched(v), -1);
	assert_int_equal(v->lost, 1);
	/* Here the process would have ended. */
	pager_free(v->pager);
	v->pager = NULL;
	(void)pthread_join(v->toucher, NULL);
}

static void what_the_server_says_is_not_heard(void **state)
{
	struct env *v = *state;

	serve(v, MIB);
	receive(v);
	assert_int_equal(pager_arm(v->pager, &v->owner, NULL, &v->e), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(send(v->conn, "some", 4, 0), 4);
	pause_ms(20);
	assert_int_equal(v->lost, 0);
}

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void nothing_is_left_open(void **state)
{
	struct env *v = *state;
	unsigned int before = count_fds();

	for (int i = 0; i < 4; i++) {
		serve(v, MIB);
		if (i & 1)
			assert_int_equal(
				pager_arm(v->pager, &v->owner, NULL, &v->e), 0);
		pager_free(v->pager);
		v->pager = NULL;
		gmem_exit(&v->mem);
		fd_close(&v->conn);
	}
	assert_int_equal(count_fds(), before);
	pager_free(NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(says_why_it_cannot_connect),
		T(tells_the_regions),
		T(a_page_is_what_the_server_brings),
		T(end_while_loading_frees_who_waits),
		T(deaf_server_of_a_load_holds_nobody_up),
		T(end_before_the_message_was_read),
		T(end_before_it_is_told),
		T(end_of_a_running_guests_server_brings_no_zeros),
		T(what_the_server_says_is_not_heard),
		T(nothing_is_left_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
