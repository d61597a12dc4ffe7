/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c: from the configuration to a running guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/console.h"
#include "api/limits.h"
#include "api/observe.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/num.h"
#include "virtio/device.h"
#include "virtio/net.h"
#include "virtio/vsock.h"
#include "vmm/pager.h"

#define FLUSH_NS (60 * NS_PER_S)

/* "root=/dev/vda rw" for the root drive, NULL if there is none. */
static int make_root_arg(struct api *a, struct err *e)
{
	const struct body_drive *b = &a->config.drive[0].body;
	const char *mode = b->is_read_only ? "ro" : "rw";
	int n;

	free(a->root_arg);
	a->root_arg = NULL;
	if (a->config.n_drives == 0 || !b->is_root_device)
		return 0;
	if (b->partuuid.s)
		n = asprintf(&a->root_arg, "root=PARTUUID=%s %s", b->partuuid.s,
			     mode);
	else
		n = asprintf(&a->root_arg, "root=/dev/vda %s", mode);
	if (n >= 0)
		return 0;
	a->root_arg = NULL;
	return err_code(e, -ENOMEM, "Root drive");
}

static struct vm_config make_vm_config(struct api *a)
{
	const struct config *c = &a->config;
	struct vm_config v = {
		.backing = c->machine.huge_2m ? GMEM_HUGE_2M : GMEM_ANON,
		.track_dirty = c->machine.track_dirty_pages,
		.cpu = {.n_vcpus = c->machine.vcpu_count,
			.smt = c->machine.smt,
			.name = c->machine.cpu_template,
			.custom = c->has_custom ? &c->custom : NULL},
		.kernel_fd = c->boot.kernel_fd,
		.initrd_fd = c->boot.initrd_fd,
		.boot_args = c->boot.body.boot_args.s,
		.root_arg = a->root_arg,
		.probe = a->probe.started ? &a->probe : NULL,
		.boot_timer = a->args->boot_timer,
		.filter = a->filters ? &a->filters[FILTER_VCPU] : NULL,
		.start_us = a->start_us,
		.start_cpu_us = a->start_cpu_us,
		.saved = a->load ? a->load->saved : NULL,
		.mem_fd = a->load ? a->load->mem_fd : -1,
		.pager = a->load ? a->load->pager : NULL,
	};

	if (a->load) /* its CPU is what it was */
		v.cpu.custom = NULL;
	/* What does not fit 64 bits is refused with everything too large. */
	if (!num_mul(c->machine.mem_size_mib, MIB, &v.mem_bytes))
		v.mem_bytes = UINT64_MAX;
	return v;
}

/* The configuration keeps its descriptor until the start has worked. */
static int add_drive(struct api *a, unsigned int i, struct err *e)
{
	struct drive *d = &a->config.drive[i];
	const struct blk_config cfg = {
		.slot = i,
		.read_only = d->body.is_read_only,
		.writeback = d->body.cache_type == BODY_CACHE_WRITEBACK,
	};
	struct blk_file file = d->file.blk;
	int ret;

	file.fd = fcntl(d->file.blk.fd, F_DUPFD_CLOEXEC, 0);
	if (file.fd < 0)
		return err_sys(e, "Drive '%s'", d->body.drive_id.s);
	ret = blk_new(&d->blk, a->vm_starting, &cfg, &file, e);
	if (ret < 0)
		(void)close(file.fd);
	else
		limiter_apply(blk_limiter(d->blk), &d->body.rate_limiter);
	return ret;
}

/*
 * A descriptor at a fixed place, for a device. As with drives, the
 * configuration keeps its own until the start has worked.
 */
static int copy_to(int fd, int to, struct err *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return err_sys(e, "Failed to copy descriptor %d", fd);
	return fds_move(copy, to, e);
}

static int add_net(struct api *a, unsigned int i, struct err *e)
{
	struct iface *n = &a->config.iface[i];
	const struct body_net *b = &n->body;
	struct net_config cfg = {
		.has_mac = b->has_guest_mac,
		.has_mtu = b->has_mtu,
		.mtu = b->mtu,
		.mmds = n->mmds ? &a->config.mmds : NULL,
	};
	int ret;

	memcpy(cfg.mac, b->guest_mac, sizeof(cfg.mac));
	/* Beyond the fixed places there is none for a device either. */
	if (FD_TAP0 + (int)i >= FD_TAP_END)
		cfg.tap = n->tap;
	else
		cfg.tap = copy_to(n->tap, FD_TAP0 + (int)i, e);
	if (cfg.tap < 0)
		return err_wrap(e, "Interface '%s': ", b->iface_id.s);
	ret = net_new(&n->net, a->vm_starting, &cfg, e);
	if (ret < 0) {
		if (cfg.tap != n->tap)
			fds_release(cfg.tap);
		return ret;
	}
	limiter_apply(net_rx_limiter(n->net), &b->rx_rate_limiter);
	limiter_apply(net_tx_limiter(n->net), &b->tx_rate_limiter);
	return 0;
}

static int add_vsock(struct api *a, struct err *e)
{
	struct vsock_backend *v = &a->config.vsock;
	struct vsock_config cfg = {
		.guest_cid = v->body.guest_cid,
		.uds_path = v->body.uds_path.s,
		.max_connections = v->max_connections,
		.pool_bytes = VSOCK_POOL_BYTES,
		.credit_bytes = VSOCK_CREDIT_BYTES,
		.worker = a->worker,
	};
	int ret;

	if (!v->body.uds_path.s)
		return 0;
	cfg.listener = copy_to(v->listener, FD_VSOCK, e);
	if (cfg.listener < 0)
		return err_wrap(e, "Vsock: ");
	ret = vsock_new(&v->vsock, a->vm_starting, &cfg, e);
	if (ret < 0)
		fds_release(cfg.listener);
	return ret;
}

int start_prepare(struct api *a, struct err *e)
{
	struct vm_config cfg;
	int ret;

	if (!a->load && a->config.boot.kernel_fd < 0)
		return err_set(e, -ENOENT,
			       "Cannot start microvm without kernel "
			       "configuration.");
	ret = make_root_arg(a, e);
	if (ret < 0)
		return ret;
	cfg = make_vm_config(a);
	if (a->load)
		a->load->pager = NULL; /* vm_new() takes it */
	ret = vm_new(&a->vm_starting, a->loop, &cfg, e);
	for (unsigned int i = 0; ret == 0 && i < a->config.n_drives; i++)
		ret = add_drive(a, i, e);
	for (unsigned int i = 0; ret == 0 && i < a->config.n_ifaces; i++)
		ret = add_net(a, i, e);
	return ret < 0 ? ret : add_vsock(a, e);
}

static int bind_devs(struct vm *vm, struct err *e)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < vm->n_devs; i++)
		ret = virtio_bind(vm->dev[i], vm, e);
	return ret;
}

static int open_serial(struct api *a, struct err *e)
{
	const struct text *path = &a->config.serial.serial_out_path;
	int fd;

	if (!path->s)
		return 0;
	fd = observe_open(path, e);
	if (fd >= 0)
		fd = fds_move(fd, FD_SERIAL, e);
	if (fd < 0)
		return err_wrap(e, "Failed to create device manager: Error "
				   "with EventFd: ");
	return 0;
}

int start_build(struct api *a, struct err *e)
{
	int ret = open_serial(a, e);

	if (ret < 0)
		return ret;
	a->vm_starting->bind_devs = bind_devs;
	return vm_build(a->vm_starting, e);
}

int start_watch(struct api *a, struct err *e)
{
	struct pager *p = a->vm_starting->cfg.pager;
	int ret = 0;

	if (p)
		ret = pager_arm(p, &a->owner,
				a->filters ? &a->filters[FILTER_PAGER] : NULL,
				e);
	return ret < 0 ? err_wrap(e, PAGER_FAULT) : 0;
}

static void on_minute(struct loop_timer *t)
{
	struct api *a = container_of(t, struct api, flush_timer);

	(void)metrics_flush(a->metrics);
	loop_timer_set(a->loop, t, clock_now_ns() + FLUSH_NS);
}

static void attach_nets(struct api *a)
{
	for (unsigned int i = 0; i < a->config.n_ifaces; i++) {
		const struct iface *n = &a->config.iface[i];

		(void)metrics_attach_net(
			a->metrics, n->body.iface_id.s, net_counts(n->net),
			net_rx_limiter(n->net), net_tx_limiter(n->net));
	}
}

static void attach_metrics(struct api *a)
{
	struct metrics *m = a->metrics;
	const struct vm *vm = a->vm;

	metrics_hold(m);
	metrics_attach_uart(m, &vm->serial.counts);
	metrics_attach_i8042(m, &vm->i8042.counts);
	for (unsigned int i = 0; i < vm->cfg.cpu.n_vcpus; i++)
		(void)metrics_attach_vcpu(m, &vm->vcpu[i].counts);
	for (unsigned int i = 0; i < a->config.n_drives; i++)
		(void)metrics_attach_drive(m,
					   a->config.drive[i].body.drive_id.s,
					   blk_counts(a->config.drive[i].blk));
	attach_nets(a);
	if (a->config.vsock.vsock)
		metrics_attach_vsock(m, vsock_counts(a->config.vsock.vsock));
	metrics_release(m);
	(void)metrics_flush(m);
	a->flush_timer.fn = on_minute;
	loop_timer_set(a->loop, &a->flush_timer, clock_now_ns() + FLUSH_NS);
}

static void limit_serial(const struct api *a)
{
	const struct body_serial *b = &a->config.serial;
	struct bucket limit;

	if (!b->has_rate_limiter)
		return;
	bucket_init(&limit, b->rate_limiter.size,
		    b->rate_limiter.one_time_burst, b->rate_limiter.refill_time,
		    clock_now_ns());
	serial_limit(&a->vm->serial, &limit);
}

void start_seal(struct api *a)
{
	if (a->filters)
		worker_seal(a->worker, &a->filters[FILTER_HELPER]);
}

/* Of this thread; the helper and the vCPU threads add theirs. */
static int add_filters(struct api *a, struct err *e)
{
	int ret;

	if (!a->filters)
		return 0;
	ret = filter_add(&a->filters[FILTER_MAIN]);
	if (ret == 0)
		ret = worker_sealed(a->worker);
	return ret < 0 ? err_code(e, ret, "Failed to add filters") : 0;
}

int start_finish(struct api *a, struct err *e)
{
	struct vm *vm = a->vm_starting;
	bool to_file = a->config.serial.serial_out_path.s != NULL;
	int ret;

	start_seal(a);
	a->vm = vm;
	a->vm_starting = NULL;
	vm->owner = &a->owner;
	for (unsigned int i = 0; i < vm->n_devs; i++)
		virtio_listen(vm->dev[i]);
	for (unsigned int i = 0; i < a->config.n_drives; i++)
		fd_close(&a->config.drive[i].file.blk.fd);
	for (unsigned int i = 0; i < a->config.n_ifaces; i++)
		fd_close(&a->config.iface[i].tap);
	fd_close(&a->config.vsock.listener);
	if (!config_has_mmds(&a->config))
		mmds_store_exit(&a->config.mmds.store);
	limit_serial(a);
	console_open_input();
	serial_connect(&vm->serial, STDIN_FILENO,
		       to_file ? FD_SERIAL : STDOUT_FILENO);
	ret = add_filters(a, e);
	if (ret < 0) {
		a->exit_code = 1;
		loop_stop(a->loop);
		return ret;
	}
	if (a->load) {
		vm->state = VM_PAUSED;
		if (a->config.vsock.vsock)
			vsock_reset_transport(a->config.vsock.vsock);
	} else {
		log_info("Artificially kick devices");
		vm_run(vm);
	}
	attach_metrics(a);
	return 0;
}

void start_failed(struct api *a)
{
	for (unsigned int i = 0; i < a->config.n_drives; i++) {
		blk_free(a->config.drive[i].blk);
		a->config.drive[i].blk = NULL;
	}
	for (unsigned int i = 0; i < a->config.n_ifaces; i++) {
		net_free(a->config.iface[i].net);
		a->config.iface[i].net = NULL;
	}
	vsock_free(a->config.vsock.vsock);
	a->config.vsock.vsock = NULL;
	vm_free(a->vm_starting);
	a->vm_starting = NULL;
}
