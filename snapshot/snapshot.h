/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h: a paused machine to files, and files to a paused machine.
 *
 * The state file holds the machine (file.h), the memory file its RAM
 * (memory.h). The configuration is a text of the API's, kept as it is.
 */
#ifndef SNAPSHOT_SNAPSHOT_H
#define SNAPSHOT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/file.h"

struct err;
struct origin_file;
struct saved;
struct vm;

struct snapshot_order {
	const char *config; /* as JSON */
	size_t config_len;
	const char *state_path;
	const char *mem_path;
	bool diff; /* only what has changed, see image.h */
};

/*
 * Write both files. The moment at which the state file gets its name decides:
 * before it the old snapshot is whole, after it the new one (see target.h).
 * Texts as Firecracker's behind "Create snapshot error: ". Helper thread; the
 * vCPUs are parked, the devices drained.
 */
int snapshot_create(struct vm *vm, const struct snapshot_order *o,
		    struct err *e);

/* A state file that has been read and checked. */
struct snapshot {
	struct state_file file;
	uint8_t *data; /* of the file; owned */
};

/*
 * Read it: helper thread. Texts as Firecracker's behind "Failed to restore
 * from snapshot: ".
 */
int snapshot_open(struct snapshot *s, const char *path, struct err *e);

/* The same of bytes, which *s then borrows: a zeroed struct, any thread. */
int snapshot_parse(struct snapshot *s, const uint8_t *data, size_t len,
		   struct err *e);
void snapshot_exit(struct snapshot *s); /* accepts zeroed */

/* The configuration: not NUL-terminated, lives as long as *s. */
const char *snapshot_config(const struct snapshot *s, size_t *len);

/*
 * Whether the state has these devices and no others: kind[] are device types of
 * virtio, in the order in which the machine will have them.
 */
int snapshot_check_devices(const struct snapshot *s, const uint32_t *kind,
			   unsigned int n, struct err *e);

/*
 * What the state says of the file of drive number i, if it does: 1; 0 if not;
 * or an error.
 */
int snapshot_drive(const struct snapshot *s, unsigned int i,
		   struct origin_file *f, struct err *e);

/* Say in the log if the snapshot was made on a newer kernel; or an error. */
int snapshot_check_host(const struct snapshot *s, struct err *e);

/* Registers for vm_config.saved; saved_free() them. */
int snapshot_saved(const struct snapshot *s, unsigned int n_vcpus,
		   struct saved **out, struct err *e);

/*
 * After vm_build(), on the loop: the devices, which are those of the vm. A
 * driver is told of what it finds changed in the configuration of its device.
 */
int snapshot_devices(const struct snapshot *s, struct vm *vm, struct err *e);

#endif
