/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orders.h: what init is told to do, on the kernel command line.
 *
 *   mayfly.run=ORDER[:ARG...][,ORDER[:ARG...]...]
 *
 *   info                  CPUs, memory, kernel
 *   drives                list the block devices
 *   rw                    read, write and verify each drive but the root drive
 *   write:PATH:MIB:SEED   write a file with a known pattern and verify it
 *   read:PATH[:SEED]      read a file, verify it if there is a seed
 *   exec:PROGRAM[:ARG...] run a program and report how it ended
 *   offload:IFACE[:FEATURE:on|off...]
 *                         switch what a network interface leaves to its device
 *   agent[:PORT]          serve the host by vsock (docs/agent.md), until
 *                         busybox's poweroff or reboot
 *   poweroff              end by ACPI (the default)
 *   reboot                end by a reset
 *
 * The kernel leaves words with a dot in their name to nobody else.
 */
#ifndef GUEST_INIT_ORDERS_H
#define GUEST_INIT_ORDERS_H

#define ORDERS_DEFAULT "info,drives"
#define ORDER_ARGS_MAX 16

/* How the last order wants the guest to end. */
enum order_end { ORDER_POWER_OFF, ORDER_REBOOT };

/*
 * Carry out list, which is changed on the way. An order that fails is reported
 * and the next one follows; *end is set at the end. Returns the number of
 * orders that failed.
 */
unsigned int orders_run(char *list, enum order_end *end);

#endif
