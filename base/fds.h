/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fds.h: descriptors with fixed numbers.
 *
 * Seccomp tables are made at build time and match descriptors by number, so
 * those that a filter must name live at fixed places, moved there with
 * fds_move() when they are made. From the start each of them is occupied, by a
 * copy of standard input until its own descriptor comes, so that nothing else
 * can sit there; RLIMIT_NOFILE must allow FDS_END.
 *
 * This also grows the descriptor table once, while the process has one thread:
 * later growth would wait for an RCU grace period.
 */
#ifndef BASE_FDS_H
#define BASE_FDS_H

struct err;

enum {
	FDS_FIRST = 192,
	FD_TAP0 =
		FDS_FIRST, /* TAP of interface 0; interface n is FD_TAP0 + n */
	FD_TAP_END = FD_TAP0 + 17,
	FD_LOOP = FD_TAP_END, /* io_uring, or epoll */
	FD_WAKE,	      /* eventfd by which other threads wake the loop */
	FD_LOG,		      /* log file */
	FD_METRICS,	      /* metrics file */
	FD_API,		      /* listening API socket */
	FD_SERIAL,	      /* serial output file */
	FD_KVM,		      /* /dev/kvm */
	FD_PROBE,	      /* the same, while the helper reads from it */
	FD_VM,		      /* the virtual machine */
	FD_VSOCK,	      /* listening socket of the vsock device */
	FD_BASE,	      /* memory file that RAM was restored from */
	/* vCPU 0; vCPU n is FD_VCPU0 + n. A filter compares by one mask. */
	FD_VCPU0 = 224,
	FDS_END = FD_VCPU0 + 32,
};

/*
 * Close every inherited descriptor above 2 and check that the limit on open
 * files leaves room. Once, before anything is opened.
 */
int fds_init(struct err *e);

/*
 * Move fd to the fixed number `to` with close-on-exec; fd is closed in every
 * case. Returns `to`, or a negative errno.
 */
int fds_move(int fd, int to, struct err *e);

/* Close what is at a fixed number and occupy it again. */
void fds_release(int fd);

#endif
