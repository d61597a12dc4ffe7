/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "base/worker.h"

static bool read_host(struct cpu_host *h)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct err e;
	int ret;

	if (fd < 0 || fds_move(fd, FD_PROBE, &e) < 0)
		return false;
	ret = cpu_host_read(h, FD_PROBE, &e);
	fds_release(FD_PROBE);
	return ret == 0;
}

static void read_once(struct probe *p)
{
	if (atomic_flag_test_and_set(&p->taken))
		return;
	p->failed = !read_host(&p->host);
	(void)sem_post(&p->ready);
}

static void work(struct job *j)
{
	read_once(container_of(j, struct probe, job));
}

static void done(struct job *j)
{
	(void)j; /* who needs the result asks for it */
}

void probe_start(struct probe *p, struct worker *w)
{
	if (p->started)
		return;
	p->started = true;
	atomic_flag_clear(&p->taken);
	(void)sem_init(&p->ready, 0, 0);
	p->job = (struct job){.work = work, .done = done};
	worker_submit(w, &p->job);
}

const struct cpu_host *probe_get(struct probe *p)
{
	read_once(p);
	while (sem_wait(&p->ready) < 0 && errno == EINTR)
		;
	(void)sem_post(&p->ready);
	return p->failed ? NULL : &p->host;
}
