/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watched_page.h: sees every load from one page of guest RAM, one instruction
 * at a time: the page cannot be accessed, each load of it faults, is stepped
 * over, and what it has loaded is gone when the next one comes.
 *
 * x86; the kernel's own accesses fail instead. One page at a time.
 */
#ifndef TESTS_VIRTIO_WATCHED_PAGE_H
#define TESTS_VIRTIO_WATCHED_PAGE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define WATCHED_BYTES 4096
#define WATCHED_LOADS 64
#define FLAG_TRAP     0x100

static struct {
	uint8_t *page;
	unsigned int at[WATCHED_LOADS]; /* offsets in the page */
	unsigned int n;
	struct sigaction old_segv, old_trap;
} watched;

static inline void watched_protect(int prot)
{
	if (mprotect(watched.page, WATCHED_BYTES, prot) < 0)
		abort();
}

static inline void watched_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;
	uintptr_t at = (uintptr_t)info->si_addr - (uintptr_t)watched.page;

	(void)sig;
	if (at >= WATCHED_BYTES || watched.n == WATCHED_LOADS)
		abort();
	watched.at[watched.n++] = (unsigned int)at;
	watched_protect(PROT_READ | PROT_WRITE);
	c->uc_mcontext.gregs[REG_EFL] |= FLAG_TRAP;
}

/* The load is done: whoever loads the same again gets something else. */
static inline void watched_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	(void)sig;
	(void)info;
	watched.page[watched.at[watched.n - 1]] ^= 0xff;
	watched_protect(PROT_NONE);
	c->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)FLAG_TRAP;
}

static inline void watch(void *page)
{
	struct sigaction segv = {.sa_sigaction = watched_fault,
				 .sa_flags = SA_SIGINFO};
	struct sigaction trap = {.sa_sigaction = watched_step,
				 .sa_flags = SA_SIGINFO};

	watched.page = page;
	watched.n = 0;
	if (sigaction(SIGSEGV, &segv, &watched.old_segv) < 0 ||
	    sigaction(SIGTRAP, &trap, &watched.old_trap) < 0)
		abort();
	watched_protect(PROT_NONE);
}

/* How many loads there were; watched.at[] says of what. */
static inline unsigned int unwatch(void)
{
	watched_protect(PROT_READ | PROT_WRITE);
	if (sigaction(SIGSEGV, &watched.old_segv, NULL) < 0 ||
	    sigaction(SIGTRAP, &watched.old_trap, NULL) < 0)
		abort();
	return watched.n;
}

#endif
