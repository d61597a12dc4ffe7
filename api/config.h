/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h: what the guest will be made of, as the client has said so far.
 *
 * Each operation takes a parsed body, checks it and either changes the
 * configuration or leaves it as it was, with the error that clients know
 * (without the prefix of the endpoint). Files are opened here, so that a wrong
 * path is refused when it is named: those operations run where opening is
 * allowed, on the helper thread or before the loop runs.
 *
 * Threads: any, one at a time (see api.h).
 */
#ifndef API_CONFIG_H
#define API_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/body.h"
#include "virtio/blk.h"
#include "virtio/mmds/mmds.h"
#include "vmm/x86/cpu.h"

struct err;

/* Descriptors opened before the start stay below FDS_FIRST. */
#define CONFIG_MAX_DRIVES 48
#define CONFIG_MAX_IFACES 32

struct machine_config {
	uint64_t mem_size_mib;
	unsigned int vcpu_count;
	bool smt;
	bool track_dirty_pages;
	bool huge_2m; /* huge_pages */
	enum cpu_template_name cpu_template;
};

struct boot_source {
	struct body_boot_source body;
	int kernel_fd; /* -1: not set */
	int initrd_fd;
};

/* A drive's file and what tells whether two are the same. */
struct drive_file {
	struct blk_file blk;
	dev_t dev;
	ino_t ino;
	bool locked; /* through this descriptor, see drive_lock() */
};

struct drive {
	struct body_drive body;
	struct drive_file file;
	struct blk *blk; /* once the guest was started */
};

/* A network interface. */
struct iface {
	struct body_net body;
	int tap;	 /* -1 once the guest was started */
	bool mmds;	 /* the guest may use the metadata service on it */
	struct net *net; /* once the guest was started */
};

struct vsock_backend {
	struct body_vsock body; /* uds_path.s NULL: there is no such device */
	uint32_t max_connections;
	int listener; /* -1 once the guest was started */
	dev_t dev;    /* of the socket file; 0: it has none */
	ino_t ino;
	struct vsock *vsock; /* once the guest was started */
};

struct config {
	struct machine_config machine;
	struct cpu_template custom; /* of PUT /cpu-config */
	bool has_custom;
	struct boot_source boot;
	struct drive drive[CONFIG_MAX_DRIVES]; /* the root drive first */
	unsigned int n_drives;
	struct iface iface[CONFIG_MAX_IFACES];
	unsigned int n_ifaces;
	struct vsock_backend vsock;
	struct mmds mmds; /* see mmds_init() */
	struct body_serial serial;
	bool configured; /* something that a snapshot would bring along */
};

void config_init(struct config *c);
void config_exit(struct config *c);

/* Back to where a snapshot can be loaded: the devices and the machine go. */
void config_clear(struct config *c);

/* PUT and PATCH alike: what the body does not give keeps its value. */
int config_machine(struct config *c, const struct body_machine *b,
		   struct err *e);

/* The defaults that a PUT starts from, for what it does not give. */
void body_machine_defaults(struct body_machine *b);

/* These take what the body owns, in every case, and zero it. */
void config_put_cpu(struct config *c, struct cpu_template *t);
void config_put_serial(struct config *c, struct body_serial *b);
int config_put_boot_source(struct config *c, struct body_boot_source *b,
			   struct err *e);
int config_put_drive(struct config *c, struct body_drive *b, struct err *e);
int config_put_net(struct config *c, struct body_net *b, struct err *e);
int config_put_vsock(struct config *c, struct body_vsock *b, struct err *e);

/* Take away the socket file, if it is the one that was made. */
void config_unlink_vsock(const struct config *c);

/* Who may use the metadata service, and how. */
int config_put_mmds(struct config *c, const struct body_mmds *b, struct err *e);
bool config_has_mmds(const struct config *c);

/* The drive of that id, or NULL. */
struct drive *config_find_drive(struct config *c, const struct text *id);
struct iface *config_find_net(struct config *c, const struct text *id);

/* Frees what they hold, and closes it. */
void iface_exit(struct iface *n);
void vsock_backend_exit(struct vsock_backend *v);

/*
 * Open and measure a drive's file. The text is Firecracker's, path at its end.
 * Another process that holds the file is a warning in the log, or an error if
 * the drive is to be exclusive.
 */
int drive_open(const struct config *c, const struct text *path, bool read_only,
	       bool exclusive, struct drive_file *f, struct err *e);

/*
 * Lock the file as a writer or a reader; false if another one has it. The
 * second waits for up to 100 ms for a descriptor of ours that is being closed.
 */
bool drive_lock(struct drive_file *f, bool read_only);
bool drive_lock_soon(struct drive_file *f, bool read_only);

/* Merge a patch: buckets that are given replace, others stay. */
void limiter_merge(struct limiter_cfg *to, const struct limiter_cfg *patch);

#endif
