/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h: from the files of a snapshot to the configuration of a machine that
 * can be started (see start in api.h). After an error config_clear() makes the
 * process able to try again. Texts are Firecracker's behind "Failed to restore
 * from snapshot: ".
 */
#ifndef API_LOAD_H
#define API_LOAD_H

#include <stdbool.h>

#include "snapshot/snapshot.h"
#include "virtio/mmds/store.h"

struct body_load;
struct config;
struct err;
struct pager;
struct saved;
struct vm;

struct load {
	struct snapshot snapshot;
	struct saved *saved;
	int mem_fd;	     /* of its memory file, -1: none */
	struct pager *pager; /* or who brings it, until vm_new() takes it */
	struct mmds_store mmds;
	bool has_mmds; /* which takes the place of what there is */
};

void load_init(struct load *l);
void load_exit(struct load *l);

/*
 * Read the state, open everything that it names and what the request names
 * instead. Takes apart *b. Helper thread.
 */
int load_files(struct load *l, struct body_load *b, struct config *c,
	       struct err *e);

/* Nothing can fail any more: what waited for that. Loop thread. */
void load_succeeded(struct load *l, struct config *c);

#endif
