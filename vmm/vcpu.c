/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vcpu.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sigmask.h"
#include "vmm/vm.h"

#define KICK_SIGNAL  SIGRTMIN
#define STACK_BYTES  65536
#define IO_MAX_BYTES 8

/*
 * A thread's orders are one futex word: what to do, and how many runs there
 * have been. A run that is withdrawn before the thread woke up is thus still
 * seen, and answered by a report like any other.
 */
enum command { PARK, RUN, EXIT };

#define ORDER(run, command) ((run) << 2 | (uint32_t)(command))
#define ORDER_COMMAND(o)    ((enum command)((o)&3))
#define ORDER_RUN(o)	    ((o) >> 2)

static void futex_wait(const uint32_t *word, uint32_t value)
{
	/* A wake or a signal: the caller looks at the word again. */
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL);
}

static void futex_wake(const uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX);
}

static uint32_t orders(const struct vcpu *v)
{
	return __atomic_load_n(&v->order, __ATOMIC_ACQUIRE);
}

/* ---- exits ---- */

static void handle_io(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	uint32_t size = run->io.size;
	uint8_t *data = (uint8_t *)v->run + run->io.data_offset;
	const struct bus *bus = &v->vm->pio;

	/* String instructions come with a count of accesses to one port. */
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			(void)bus_read(bus, v, run->io.port, data, size);
		else
			(void)bus_write(bus, v, run->io.port, data, size);
	}
	if (run->io.direction == KVM_EXIT_IO_IN)
		count_add(&v->counts.io_in, 1);
	else
		count_add(&v->counts.io_out, 1);
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint32_t len = run->mmio.len;
	const struct bus *bus = &v->vm->mmio;

	if (len > IO_MAX_BYTES)
		return;
	if (run->mmio.is_write) {
		(void)bus_write(bus, v, run->mmio.phys_addr, run->mmio.data,
				len);
		count_add(&v->counts.mmio_write, 1);
	} else {
		(void)bus_read(bus, v, run->mmio.phys_addr, run->mmio.data,
			       len);
		count_add(&v->counts.mmio_read, 1);
	}
}

static void internal_error(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	char text[16 * 17 + 1] = "";
	size_t at = 0;

	for (uint32_t i = 0; i < MIN(run->internal.ndata, 16U); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       " %" PRIx64,
				       (uint64_t)run->internal.data[i]);
	log_err("KVM internal error, suberror %u, data%s",
		run->internal.suberror, text);
	count_add(&v->counts.failures, 1);
	vm_end(v->vm, VM_END_ERROR);
}

static void system_event(struct vcpu *v)
{
	uint32_t type = v->run->system_event.type;

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN ||
	    type == KVM_SYSTEM_EVENT_RESET) {
		vm_end(v->vm, VM_END_RESET);
		return;
	}
	log_err("Unexpected KVM system event %u", type);
	count_add(&v->counts.failures, 1);
	vm_end(v->vm, VM_END_ERROR);
}

static void handle_exit(struct vcpu *v)
{
	const struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(v);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(v);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		log_info("Received KVM_EXIT_SHUTDOWN signal");
		vm_end(v->vm, VM_END_SHUTDOWN);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		log_err("Received KVM_EXIT_FAIL_ENTRY signal: 0x%" PRIx64,
			(uint64_t)
				run->fail_entry.hardware_entry_failure_reason);
		count_add(&v->counts.failures, 1);
		vm_end(v->vm, VM_END_ERROR);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		internal_error(v);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(v);
		break;
	default:
		log_err("Unexpected exit reason on vcpu run: %u",
			run->exit_reason);
		count_add(&v->counts.failures, 1);
		vm_end(v->vm, VM_END_ERROR);
		break;
	}
}

/* Run until told to park, or until the guest has ended. */
static void run_guest(struct vcpu *v)
{
	const struct vm *vm = v->vm;

	while (ORDER_COMMAND(orders(v)) == RUN &&
	       __atomic_load_n(&vm->end, __ATOMIC_RELAXED) == VM_END_NONE) {
		if (ioctl(v->fd, KVM_RUN, 0) == 0) {
			handle_exit(v);
		} else if (errno != EINTR && errno != EAGAIN) {
			log_err("KVM_RUN failed: errno %d", errno);
			count_add(&v->counts.failures, 1);
			vm_end(v->vm, VM_END_ERROR);
		}
	}
}

/*
 * KVM finishes a port or MMIO access when it is entered again: do that without
 * running the guest, so that the registers are those after the instruction.
 */
static void complete_exit(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
	/* One instruction may take several exits: page-crossing, `rep ins`. */
	while (__atomic_load_n(&v->vm->end, __ATOMIC_RELAXED) == VM_END_NONE &&
	       ioctl(v->fd, KVM_RUN, 0) == 0)
		handle_exit(v);
}

static void report_parked(struct vcpu *v)
{
	struct vm *vm = v->vm;

	if (__atomic_sub_fetch(&vm->n_running, 1, __ATOMIC_ACQ_REL) == 0)
		loop_post(vm->loop, &vm->parked_msg);
}

static void set_up_thread(struct vcpu *v)
{
	sigset_t kick;

	/* Before the first look at the orders: see stop_running(). */
	(void)__atomic_exchange_n(&v->tid, gettid(), __ATOMIC_ACQ_REL);
	(void)pthread_setname_np(pthread_self(), v->name);
	log_set_thread(v->name);
	(void)sigemptyset(&kick);
	(void)sigaddset(&kick, KICK_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

/* A thread that cannot have its filter never runs the guest. */
static void add_filter(const struct vcpu *v)
{
	const struct filter *f = v->vm->cfg.filter;
	int ret = f ? filter_add(f) : 0;

	if (ret == 0)
		return;
	log_err("Failed to add the system call filter: errno %d", -ret);
	vm_end(v->vm, VM_END_ERROR);
}

static void *thread_main(void *arg)
{
	struct vcpu *v = arg;
	bool filtered = false;
	uint32_t order, run = 0;

	set_up_thread(v);
	for (;;) {
		order = orders(v);
		if (ORDER_COMMAND(order) == EXIT)
			return NULL;
		if (ORDER_RUN(order) == run) {
			futex_wait(&v->order, order);
			continue;
		}
		if (!filtered)
			add_filter(v);
		filtered = true;
		run = ORDER_RUN(order);
		run_guest(v);
		complete_exit(v);
		/* A guest that ended waits for the loop's word. */
		while (ORDER_COMMAND(order = orders(v)) == RUN)
			futex_wait(&v->order, order);
		if (ORDER_COMMAND(order) == PARK)
			report_parked(v);
	}
}

/* ---- the loop's side ---- */

static void on_kick(int sig)
{
	(void)sig; /* its only purpose is to end KVM_RUN with EINTR */
}

static int start_thread(struct vcpu *v)
{
	const struct sigaction action = {.sa_handler = on_kick};
	pthread_attr_t attr;
	sigset_t blocked, old;
	int ret;

	(void)sigaction(KICK_SIGNAL, &action, NULL);
	sigmask_fill(&blocked);
	ret = pthread_attr_init(&attr);
	if (ret != 0)
		return -ret;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
#endif
	/* The thread inherits the mask: no signal but the kick is for it. */
	(void)pthread_sigmask(SIG_SETMASK, &blocked, &old);
	ret = pthread_create(&v->thread, &attr, thread_main, v);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	return -ret;
}

int vcpu_init(struct vcpu *v, struct vm *vm, unsigned int index, struct err *e)
{
	int ret;

	*v = (struct vcpu){.vm = vm, .index = index, .fd = -1, .pid = getpid()};
	(void)snprintf(v->name, sizeof(v->name), "fc_vcpu %u", index);
	ret = start_thread(v);
	if (ret < 0)
		return err_code(e, ret, "Thread of vCPU %u", index);
	v->has_thread = true;
	return 0;
}

int vcpu_create(struct vcpu *v, size_t run_bytes, struct err *e)
{
	void *run;
	int fd;

	fd = ioctl(FD_VM, KVM_CREATE_VCPU, (unsigned long)v->index);
	if (fd < 0)
		return err_sys(e, "KVM_CREATE_VCPU %u", v->index);
	v->fd = fds_move(fd, FD_VCPU0 + (int)v->index, e);
	if (v->fd < 0)
		return e->code;
	run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
		   0);
	if (run == MAP_FAILED)
		return err_sys(e, "mmap of the run page of vCPU %u", v->index);
	v->run = run;
	v->run_bytes = run_bytes;
	return 0;
}

static void give_order(struct vcpu *v, enum command command)
{
	__atomic_store_n(&v->order, ORDER(v->runs, command), __ATOMIC_RELEASE);
	futex_wake(&v->order);
}

void vcpu_run(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_RELAXED);
	v->runs++;
	give_order(v, RUN);
}

/*
 * The flag covers a thread that is about to enter KVM_RUN, the signal one that
 * is inside.
 */
static void stop_running(struct vcpu *v, enum command command)
{
	pid_t tid;

	if (v->run)
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
	give_order(v, command);
	/*
	 * Not pthread_kill(), which makes other system calls, too. Either the
	 * thread's exchange comes first and its number is seen here, or this
	 * one does, and the thread then sees the order; 0 is no thread.
	 */
	tid = __atomic_fetch_or(&v->tid, 0, __ATOMIC_ACQ_REL);
	(void)syscall(SYS_tgkill, v->pid, tid, KICK_SIGNAL);
}

void vcpu_note_pause(struct vcpu *v)
{
	/* EINVAL: the guest has not set up its clock. */
	(void)ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

void vcpu_park(struct vcpu *v)
{
	stop_running(v, PARK);
}

void vcpu_exit(struct vcpu *v)
{
	if (v->has_thread) {
		stop_running(v, EXIT);
		(void)pthread_join(v->thread, NULL);
		v->has_thread = false;
	}
	if (v->run)
		(void)munmap(v->run, v->run_bytes);
	v->run = NULL;
	if (v->fd >= 0)
		fds_release(v->fd);
	v->fd = -1;
}

/* ---- calls ---- */

static void on_call(struct loop_msg *m)
{
	struct vcpu_call *c = container_of(m, struct vcpu_call, msg);

	c->fn(c);
}

void vcpu_call(struct vcpu *v, struct vcpu_call *c)
{
	c->done = 0;
	if (!v) {
		c->fn(c);
		assert(c->done); /* or the loop keeps a pointer to *c */
		return;
	}
	c->msg.fn = on_call;
	loop_post(v->vm->loop, &c->msg);
	while (__atomic_load_n(&c->done, __ATOMIC_ACQUIRE) == 0)
		futex_wait(&c->done, 0);
}

void vcpu_answer(struct vcpu_call *c)
{
	/*
	 * The caller may return, and its stack with *c go away, once done is
	 * set: the wake takes the address alone and does not look behind it.
	 */
	__atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
	futex_wake(&c->done);
}
