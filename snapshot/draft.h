/* SPDX-License-Identifier: Apache-2.0 */
/*
 * draft.h: a snapshot in the making: its two files, under temporary names, and
 * what the state file is going to hold. create.c and live.c put it together.
 *
 * Open; the machine, while it is paused; RAM, into mem.fd; its sections, into
 * file; commit. Helper thread. Texts as those of snapshot_create().
 */
#ifndef SNAPSHOT_DRAFT_H
#define SNAPSHOT_DRAFT_H

#include "snapshot/file.h"
#include "snapshot/target.h"

struct err;
struct snapshot_order;
struct vm;

struct draft {
	struct state_file file;
	struct target state, mem;
};

/* draft_exit() in every case. */
int draft_open(struct draft *d, const struct vm *vm,
	       const struct snapshot_order *o, struct err *e);

/* Registers and devices. */
int draft_add_machine(struct draft *d, struct vm *vm, struct err *e);

/* On the disk, and under their names. */
int draft_commit(struct draft *d, struct err *e);

/* Takes away what was not committed. */
void draft_exit(struct draft *d);

#endif
