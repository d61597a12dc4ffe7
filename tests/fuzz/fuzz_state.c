/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file: parsed as it is, and again with its checksums repaired, so
 * that what stands behind them is reached; and a good file that the input says
 * the changes of. Then every section is loaded into
 * what it describes, as snapshot/load.c does, and the registers into a stand-in
 * for KVM.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/log.h"
#include "snapshot/origin.h"
#include "snapshot/partial.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "tests/fuzz/driver_input.h"
#include "tests/fuzz/fake_loop.h"
#include "tests/snapshot/fake_kvm.h"
#include "virtio/limiter.h"
#include "virtio/state.h"
#include "vmm/saved.h"

#define HEADER_BYTES 64
#define ENTRY_BYTES  24
#define N_AT	     12
#define LEN_AT	     16
#define CRC_AT	     48
#define ARCH_AT	     52
#define N_QUEUES     1
#define FEATURES     (VIRTIO_FEATURE(40) - 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static int on_activate(struct virtio_dev *d)
{
	check(d->status == VIRTIO_STATUS_RUNNING ||
	      d->status == (VIRTIO_STATUS_RUNNING | VIRTIO_STATUS_FAILED));
	check((d->acked & ~d->features) == 0);
	return 0;
}

/* What is taken from a queue is inside of RAM: the queue's own checks. */
static void on_notify(struct virtio_dev *d, unsigned int q)
{
	struct iovec iov[4];
	struct virtq_chain c = {.iov = iov, .max_iov = 4};

	for (int i = 0; i < 4 && virtq_pop(&d->queue[q], d->mem, &c) > 0; i++)
		virtq_push(&d->queue[q], c.head, 0);
	virtio_signal_used(d, &d->queue[q]);
}

static void on_drain(struct virtio_dev *d)
{
	virtio_drained(d);
}

static const struct cpu_config no_template = {.n_vcpus = 2};

#define TOKENS 1000
#define BURST  10

static struct limiter limiter;

static struct limiter *limiter_of(struct virtio_dev *d, unsigned int i)
{
	(void)d;
	return i == 0 ? &limiter : NULL;
}

static void init_limiter(struct loop *l)
{
	limiter_init(&limiter, l, NULL);
	limiter_set_bandwidth(&limiter, TOKENS, BURST, 1000);
	limiter_set_ops(&limiter, TOKENS, BURST, 1000);
}

/* A state gives nobody more than is configured. */
static void check_limiter(void)
{
	check(limiter.bandwidth.tokens <= TOKENS);
	check(limiter.bandwidth.burst <= BURST);
	check(limiter.ops.tokens <= TOKENS);
	check(limiter.ops.burst <= BURST);
}

static const struct virtio_dev_ops ops = {
	.id = 2,
	.n_queues = N_QUEUES,
	.activate = on_activate,
	.notify = on_notify,
	.drain = on_drain,
	.limiter = limiter_of,
};

/* A section as a guest in good order leaves it. */
static void describe_natural(uint32_t tag, struct archive *a)
{
	static struct saved zero = {.cpuid.n = 1};
	static struct vcpu_state vcpu = {
		.tsc_khz = FAKE_TSC_KHZ,
		.n_msrs = 2,
		.msr = {{.index = 0x10}, {.index = 0xc0000081}},
		.xsave_bytes = 64,
	};
	static struct serial serial;
	static struct i8042 i8042;
	struct virtio_dev d = {
		.ops = &ops,
		.status = VIRTIO_STATUS_RUNNING,
		.acked = VIRTIO_FEATURE(VIRTIO_F_VERSION_1),
		.queue[0].cfg = {.size = 16,
				 .ready = true,
				 .desc_gpa = 0x1000,
				 .avail_gpa = 0x2000,
				 .used_gpa = 0x3000},
	};
	struct origin_host host = {.release = "6.1.0"};

	if (tag == TAG_CPUID)
		cpuid_describe(&zero.cpuid, a);
	else if (tag == TAG_VCPU)
		vcpu_state_describe(&vcpu, a);
	else if (tag == TAG_CHIPS)
		chip_state_describe(&zero.chips, a);
	else if (tag == TAG_COM1)
		serial_describe(&serial, a);
	else if (tag == TAG_I8042)
		i8042_describe(&i8042, a);
	else if (tag == TAG_VIRTIO)
		virtio_describe(&d, a);
	else if (tag == TAG_LIMIT)
		virtio_describe_limits(&d, a);
	else if (tag == TAG_SPACE)
		virtio_describe_space(&d, a);
	else if (tag == TAG_CAPS)
		kvm_caps_describe(&zero.caps, a);
	else if (tag == TAG_FORCE)
		cpuid_describe(&zero.forced, a);
	else if (tag == TAG_HOST)
		origin_host_describe(&host, a);
	else if (tag == TAG_DRIVE)
		origin_file_describe(&(struct origin_file){0}, a);
	else if (tag == TAG_DIFF)
		archive_u64(a, &(uint64_t){1}); /* pages that follow: none */
}

/* Its bytes; their number. */
static size_t natural(uint32_t tag, uint8_t *buf, size_t size)
{
	struct archive a = archive_saver(buf, size);

	describe_natural(tag, &a);
	return a.at;
}

static const uint32_t tags[] = {
	TAG_CONFIG, TAG_CPUID,	TAG_VCPU,   TAG_CHIPS, TAG_COM1,
	TAG_I8042,  TAG_VIRTIO, TAG_SPACE,  TAG_CAPS,  TAG_HOST,
	TAG_DRIVE,  TAG_DIFF,	TAG_DIGEST, TAG_LIMIT, TAG_FORCE,
};

/*
 * A section of a known tag: what came is the difference to its natural form.
 * Returns its length.
 */
static size_t repair_section(uint8_t *entry, uint8_t *p, size_t left)
{
	uint8_t form[4096];
	uint32_t tag = tags[entry[0] % ARRAY_LEN(tags)];
	size_t n = natural(tag, form, sizeof(form));
	size_t bytes = MIN(n + entry[20], left);

	set_le32(entry, tag);
	set_le32(entry + 4, entry[4] & 1);
	for (size_t i = 0; i < n && i < bytes; i++)
		p[i] ^= form[i];
	return bytes;
}

/* Length, places and checksums as they should be. */
static void repair(uint8_t *p, size_t size)
{
	uint32_t n = get_le32(p + N_AT) % 16;
	size_t at = HEADER_BYTES + n * (size_t)ENTRY_BYTES;
	size_t end = at;

	if (size < end)
		return;
	memcpy(p, "mayflySN\1\0\0\0", 12);
	p[ARCH_AT] = STATE_ARCH;
	p[ARCH_AT + 1] = 0;
	set_le32(p + N_AT, n);
	memset(p + LEN_AT, 0, 8);
	set_le32(p + LEN_AT, (uint32_t)size);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *entry = p + HEADER_BYTES + i * (size_t)ENTRY_BYTES;
		size_t bytes = repair_section(entry, p + at, size - at);

		if (i == n - 1)
			bytes = size - at;
		set_le32(entry + 16, (uint32_t)at);
		set_le32(entry + 20, (uint32_t)bytes);
		set_le32(entry + 12, crc32c(0, p + at, bytes));
		at += bytes;
	}
	set_le32(p + CRC_AT, 0);
	set_le32(p + CRC_AT, crc32c(0, p, end));
}

struct machine {
	struct vm vm; /* as far as a load needs it */
	struct loop loop;
	struct virtio_dev dev;
};

static void load_devices(const struct snapshot *s)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct err e;

	if (!m)
		abort();
	fake_loop_init(&m->loop);
	m->vm.loop = &m->loop;
	m->vm.irq_serial.fd = -1;
	m->vm.irq_i8042.fd = -1;
	m->vm.serial.irq = &m->vm.irq_serial;
	m->vm.i8042.irq = &m->vm.irq_i8042;
	ram_init(&m->vm.mem, 0x10000);
	if (virtio_init(&m->dev, &ops, &m->vm, &e) < 0)
		abort();
	m->dev.features = FEATURES;
	init_limiter(&m->loop);
	if (snapshot_devices(s, &m->vm, &e) == 0)
		virtio_resume(&m->dev);
	check_limiter();
	virtio_exit(&m->dev);
	irq_exit(&m->vm.slot[0].irq);
	ram_exit(&m->vm.mem);
	free(m);
}

/* The stand-in's descriptors, made once. */
static struct fake_fds {
	int kvm, vm, vcpu[2];
} fds;

static void open_kvm(void)
{
	if (fds.kvm)
		return;
	fds.kvm = open("/dev/kvm", O_RDWR);
	fds.vm = ioctl(fds.kvm, KVM_CREATE_VM, 0);
	for (int i = 0; i < 2; i++)
		fds.vcpu[i] = ioctl(fds.vm, KVM_CREATE_VCPU, i);
}

/* As saved_apply() and mayflyctl do; what fails changes nothing of the rest. */
static void load_registers(struct saved *saved)
{
	static struct cpu_host kvm;
	static struct cpuid host;
	struct err e;

	if (host.n == 0 && (cpu_host_read(&kvm, fds.kvm, &e) < 0 ||
			    cpuid_build(&host, &kvm, &no_template, &e) < 0))
		abort();
	(void)kvm_caps_check(&saved->caps, fds.kvm, &e);
	(void)cpuid_check_subset(&saved->cpuid, &saved->forced, &host, &e);
	for (unsigned int i = 0; i < saved->n_vcpus; i++) {
		(void)cpuid_set(&saved->cpuid, fds.vcpu[i], i, &no_template,
				&e);
		if (vcpu_state_check(&saved->vcpu[i], 7, &e) == 0)
			(void)vcpu_state_set(&saved->vcpu[i], fds.vcpu[i],
					     i == 0, &e);
	}
	(void)chip_state_set(&saved->chips, fds.vm, saved->n_vcpus > 1, &e);
}

static void load(const uint8_t *data, size_t size)
{
	struct snapshot s = {0};
	struct origin_file drive;
	struct saved *saved;
	struct err e;
	size_t len;

	if (state_parse(&s.file, data, size, &e) < 0)
		return;
	(void)state_check_known(&s.file, tags, ARRAY_LEN(tags), &e);
	(void)snapshot_config(&s, &len);
	check(len <= size);
	open_kvm();
	(void)partial_check(&s.file, fds.vm, &e); /* any file does */
	(void)snapshot_check_host(&s, &e);
	(void)snapshot_drive(&s, 0, &drive, &e);
	(void)snapshot_check_devices(&s, &ops.id, 1, &e);
	for (unsigned int n = 1; n <= 2; n++) {
		if (snapshot_saved(&s, n, &saved, &e) == 0) {
			load_registers(saved);
			saved_free(saved);
		}
	}
	load_devices(&s);
}

/* ---- a good file, changed ---- */

/* One section of each kind, two of vCPUs. */
static uint8_t *good_file(size_t *len)
{
	struct state_file f;
	uint8_t *packed;
	struct err e;

	if (state_new(&f, &e) < 0)
		abort();
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		for (uint32_t n = 0; n < (tags[i] == TAG_VCPU ? 2 : 1); n++) {
			struct archive a = state_begin(&f, tags[i], n, 0);

			describe_natural(tags[i], &a);
			state_end(&f, &a);
		}
	}
	packed = state_pack(&f, len, &e);
	state_exit(&f);
	if (!packed)
		abort();
	return packed;
}

/* Checksums of what still is a table. */
static void repair_sums(uint8_t *p, size_t len)
{
	uint32_t n = get_le32(p + N_AT);

	if (n > ARRAY_LEN(tags) + 1)
		return;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *entry = p + HEADER_BYTES + i * (size_t)ENTRY_BYTES;
		uint32_t at = get_le32(entry + 16);
		uint32_t bytes = get_le32(entry + 20);

		if (num_inside(at, bytes, len))
			set_le32(entry + 12, crc32c(0, p + at, bytes));
	}
	set_le32(p + CRC_AT, 0);
	set_le32(p + CRC_AT,
		 crc32c(0, p, HEADER_BYTES + n * (size_t)ENTRY_BYTES));
}

/* The input is a list of changes: place, number of bytes, value. */
static void load_changed(const uint8_t *data, size_t size)
{
	static uint8_t *good, *work;
	static size_t len;

	if (!good) {
		good = good_file(&len);
		work = malloc(len);
	}
	if (!work)
		abort();
	memcpy(work, good, len);
	for (; size >= 4; size -= 4, data += 4) {
		size_t at = (data[0] | (size_t)data[1] << 8) % len;
		size_t n = MIN((size_t)data[2] % 8 + 1, len - at);

		memset(work + at, data[3], n);
	}
	repair_sums(work, len);
	load(work, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	log_set_level(LOG_OFF);
	load(data, size);
	load_changed(data, size);
	if (size < HEADER_BYTES)
		return 0;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	repair(copy, size);
	load(copy, size);
	free(copy);
	return 0;
}
