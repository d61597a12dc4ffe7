/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/vmm/kvm_env.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/num.h"
#include "base/worker.h"
#include "vmm/probe.h"

#define ASKERS 8

struct env {
	struct loop *loop;
	struct worker *worker;
	struct probe probe;
};

/* A job that keeps the helper thread busy. */
struct blocker {
	struct job job;
	sem_t go;
};

static void block(struct job *j)
{
	(void)sem_wait(&container_of(j, struct blocker, job)->go);
}

static void done(struct job *j)
{
	(void)j;
}

static int set_up(void **state)
{
	struct env *v = calloc(1, sizeof(*v));
	struct err e;

	assert_non_null(v);
	assert_int_equal(worker_new(&v->worker, &e), 0);
	assert_int_equal(loop_new(&v->loop, LOOP_AUTO, v->worker, &e), 0);
	worker_attach(v->worker, v->loop);
	*state = v;
	return 0;
}

static int take_down(void **state)
{
	struct env *v = *state;

	worker_free(v->worker);
	(void)loop_turn(v->loop, 0);
	loop_free(v->loop);
	free(v);
	return 0;
}

static void check_host(const struct cpu_host *h)
{
	struct cpu_host own = {0};
	struct err e;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_int_equal(cpu_host_read(&own, fd, &e), 0);
	(void)close(fd);
	assert_non_null(h);
	assert_int_equal(h->cpuid.n, own.cpuid.n);
	assert_memory_equal(h->brand, own.brand, sizeof(own.brand));
	for (uint32_t i = 0; i < own.cpuid.n; i++)
		assert_int_equal(h->cpuid.entry[i].function,
				 own.cpuid.entry[i].function);
}

static void *ask(void *arg)
{
	return (void *)(uintptr_t)probe_get(arg);
}

static void all_who_ask_get_the_same(void **state)
{
	struct env *v = *state;
	pthread_t thread[ASKERS];
	void *got;

	probe_start(&v->probe, v->worker);
	probe_start(&v->probe, v->worker);
	for (int i = 0; i < ASKERS; i++)
		assert_int_equal(
			pthread_create(&thread[i], NULL, ask, &v->probe), 0);
	for (int i = 0; i < ASKERS; i++) {
		assert_int_equal(pthread_join(thread[i], &got), 0);
		assert_ptr_equal(got, &v->probe.host);
	}
	check_host(&v->probe.host);
}

static void busy_helper_is_not_waited_for(void **state)
{
	struct env *v = *state;
	struct blocker b = {.job = {.work = block, .done = done}};

	assert_int_equal(sem_init(&b.go, 0, 0), 0);
	worker_submit(v->worker, &b.job);
	probe_start(&v->probe, v->worker);
	check_host(probe_get(&v->probe));
	(void)sem_post(&b.go);
	/* The helper comes too late, and finds nothing to do. */
	worker_free(v->worker);
	v->worker = NULL;
	assert_ptr_equal(probe_get(&v->probe), &v->probe.host);
	(void)loop_turn(v->loop, 0);
	(void)sem_destroy(&b.go);
}

static void failure_is_told(void **state)
{
	struct env *v = *state;
	struct rlimit old, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	probe_start(&v->probe, v->worker);
	assert_null(probe_get(&v->probe));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_null(probe_get(&v->probe));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_who_ask_get_the_same,
						set_up, take_down),
		cmocka_unit_test_setup_teardown(busy_helper_is_not_waited_for,
						set_up, take_down),
		cmocka_unit_test_setup_teardown(failure_is_told, set_up,
						take_down),
	};

	if (kvm_missing())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
