/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generation.h: how a guest learns that it is a copy: VMGenID (a random number
 * in RAM that changes) and VMClock (a counter and a marker that advance), each
 * with an interrupt line that ACPI turns into a notification.
 *
 * Helper thread, before the vCPUs run.
 */
#ifndef VMM_GENERATION_H
#define VMM_GENERATION_H

struct err;
struct gmem;

/* The first generation: a machine that boots. */
int generation_write(const struct gmem *m, struct err *e);

/*
 * The next one, of RAM that was restored: new values in RAM and both lines of
 * the VM raised, so that the guest's first instruction finds them. Before the
 * state of the interrupt chips is set is too early.
 */
int generation_next(const struct gmem *m, int vm_fd, struct err *e);

#endif
