/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/pager.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sigmask.h"
#include "vmm/gmem.h"
#include "vmm/uffd.h"
#include "vmm/vm.h"

#define STACK_BYTES   65536
#define MESSAGE_BYTES 512

/* Where the watch is; only its own thread moves it on. */
enum state {
	LOADING, /* a guest is being built */
	ARMED,	 /* it may run */
	LOST,	 /* the server went while it was being built */
	FAILED,	 /* no filter */
};

enum order { NOTHING, ARM, STOP };

struct pager {
	int sock;
	int uffd;
	const struct gmem *mem;
	int orders; /* eventfd: look at .order */
	pthread_t thread;
	bool has_thread;
	int order;	/* enum order */
	uint32_t state; /* enum state, futex */
	int error;	/* of FAILED */
	const struct filter *filter;
	struct vm_owner *owner;
};

/* ---- the watching thread ---- */

static void move_on(struct pager *p, enum state state)
{
	__atomic_store_n(&p->state, (uint32_t)state, __ATOMIC_RELEASE);
	(void)syscall(SYS_futex, &p->state, FUTEX_WAKE_PRIVATE, INT_MAX);
}

/*
 * Helper and loop may be waiting in faults, and the server may live on with its
 * copy of the userfaultfd: RAM is taken from it. They go on with zeros, in a
 * machine that will not run.
 */
static void lose(struct pager *p)
{
	move_on(p, LOST);
	uffd_unregister(p->uffd, p->mem);
	fd_close(&p->uffd);
	fd_close(&p->sock);
}

static void arm(struct pager *p)
{
	p->error = p->filter ? filter_add(p->filter) : 0;
	move_on(p, p->error == 0 ? ARMED : FAILED);
}

/* Returns whether to go on. */
static bool obey(struct pager *p)
{
	uint64_t n;

	(void)!read(p->orders, &n, sizeof(n));
	switch (__atomic_load_n(&p->order, __ATOMIC_ACQUIRE)) {
	case ARM:
		if (p->state == LOADING)
			arm(p);
		return true;
	case STOP:
		return false;
	default:
		return true;
	}
}

/* Its filter knows no other way to wait. What the server says is not heard. */
static void wait_for_end(struct pager *p)
{
	char ignored[64];
	ssize_t n;

	do
		n = read(p->sock, ignored, sizeof(ignored));
	while (n > 0 || (n < 0 && errno == EINTR));
	if (__atomic_load_n(&p->order, __ATOMIC_ACQUIRE) != STOP)
		p->owner->lost(p->owner);
}

static void *watch(void *arg)
{
	struct pager *p = arg;

	(void)prctl(PR_SET_NAME, "fc_pager");
	log_set_thread("fc_pager");
	while (p->state != ARMED) {
		/* Hang-ups and errors come unasked; nothing else is wanted. */
		struct pollfd fd[] = {{.fd = p->orders, .events = POLLIN},
				      {.fd = p->sock}};

		if (poll(fd, ARRAY_LEN(fd), -1) < 0)
			continue;
		if (fd[1].revents)
			lose(p);
		if (fd[0].revents && !obey(p))
			return NULL;
	}
	wait_for_end(p);
	return NULL;
}

static int start_thread(struct pager *p)
{
	pthread_attr_t attr;
	sigset_t blocked;
	int ret;

	p->orders = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->orders < 0)
		return -errno;
	sigmask_fill(&blocked);
	ret = -pthread_attr_init(&attr);
	if (ret < 0)
		return ret;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
#endif
	ret = -pthread_attr_setsigmask_np(&attr, &blocked);
	if (ret == 0)
		ret = -pthread_create(&p->thread, &attr, watch, p);
	(void)pthread_attr_destroy(&attr);
	p->has_thread = ret == 0;
	return ret;
}

static void give_order(struct pager *p, enum order order)
{
	const uint64_t one = 1;

	__atomic_store_n(&p->order, (int)order, __ATOMIC_RELEASE);
	/* EAGAIN: it is awake. An order that is lost is waited for. */
	while (write(p->orders, &one, sizeof(one)) < 0 && errno != EAGAIN)
		;
}

/* ---- the others' side ---- */

static int connect_to(const char *path, size_t len, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;
	socklen_t n;

	if (len >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "Failed to connect to UDS Unix stream: path "
			       "must be shorter than SUN_LEN");
	if (memchr(path, 0, len))
		return err_set(e, -EINVAL,
			       "Failed to connect to UDS Unix stream: paths "
			       "must not contain interior null bytes");
	memcpy(addr.sun_path, path, len);
	n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			(len ? len + 1 : 0));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, n) < 0)
		return err_sys(e, "Failed to connect to UDS Unix stream");
	return fd_steal(&fd);
}

int pager_open(struct pager **out, const char *path, size_t len, struct err *e)
{
	struct pager *p = calloc(1, sizeof(*p));

	if (!p)
		return err_code(e, -ENOMEM, "Connection to the page server");
	p->uffd = p->orders = -1;
	p->sock = connect_to(path, len, e);
	if (p->sock < 0) {
		pager_free(p);
		return e->code;
	}
	*out = p;
	return 0;
}

static size_t describe(const struct gmem *m, char text[MESSAGE_BYTES])
{
	uint64_t offset = 0;
	size_t at = 0;

	for (unsigned int i = 0; i < m->n_regions; i++) {
		const struct gmem_region *r = &m->region[i];

		at += (size_t)snprintf(
			text + at, MESSAGE_BYTES - at,
			"%c{\"base_host_virt_addr\":%llu,\"size\":%llu,"
			"\"offset\":%llu,\"page_size\":%zu,"
			"\"page_size_kib\":%zu}",
			i == 0 ? '[' : ',',
			(unsigned long long)(uintptr_t)r->hva,
			(unsigned long long)r->bytes,
			(unsigned long long)offset, m->page_bytes,
			m->page_bytes);
		offset += r->bytes;
	}
	at += (size_t)snprintf(text + at, MESSAGE_BYTES - at, "]");
	return at;
}

static int tell_server(const struct pager *p, const struct gmem *m,
		       struct err *e)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char text[MESSAGE_BYTES];
	struct iovec v = {.iov_base = text, .iov_len = describe(m, text)};
	struct msghdr msg = {.msg_iov = &v,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &p->uffd, sizeof(int));
	/* Shorter than any socket's buffer: all of it or nothing. */
	if (sendmsg(p->sock, &msg, MSG_NOSIGNAL) < 0)
		return err_sys(e, "Failed to sends file descriptor");
	return 0;
}

int pager_serve(struct pager *p, struct gmem *m, struct err *e)
{
	int ret;

	/*
	 * MADV_DONTNEED would tell the server that a page is to be zero from
	 * now on. We have no use for it, but servers expect the feature.
	 */
	p->uffd = uffd_open(UFFD_FEATURE_EVENT_REMOVE, true, e);
	if (p->uffd < 0)
		return p->uffd;
	ret = uffd_register(p->uffd, m, UFFDIO_REGISTER_MODE_MISSING, e);
	if (ret < 0)
		return ret;
	m->anonymous = false; /* what is not there is not zero */
	p->mem = m;
	ret = tell_server(p, m, e);
	if (ret < 0)
		return ret;
	ret = start_thread(p);
	return ret < 0 ? err_code(e, ret, "Thread that watches the page server")
		       : 0;
}

int pager_arm(struct pager *p, struct vm_owner *o, const struct filter *f,
	      struct err *e)
{
	uint32_t state;

	p->owner = o;
	p->filter = f;
	give_order(p, ARM);
	while ((state = __atomic_load_n(&p->state, __ATOMIC_ACQUIRE)) ==
	       LOADING)
		(void)syscall(SYS_futex, &p->state, FUTEX_WAIT_PRIVATE, LOADING,
			      NULL);
	if (state == FAILED)
		return err_code(e, p->error, "Failed to add filters");
	if (state == LOST)
		return err_set(e, -ECONNRESET,
			       "The page server has closed its connection");
	return 0;
}

void pager_free(struct pager *p)
{
	if (!p)
		return;
	if (p->has_thread) {
		give_order(p, STOP);
		if (__atomic_load_n(&p->state, __ATOMIC_ACQUIRE) == ARMED)
			(void)shutdown(p->sock, SHUT_RDWR);
		(void)pthread_join(p->thread, NULL);
	}
	fd_close(&p->orders);
	fd_close(&p->uffd);
	fd_close(&p->sock);
	free(p);
}
