/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file: parsed as it is, and again with its checksums repaired, so
 * that what stands behind them is reached. Then every section is loaded into
 * what it describes, as snapshot/load.c does, without KVM.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/log.h"
#include "snapshot/sections.h"
#include "snapshot/snapshot.h"
#include "tests/fuzz/driver_input.h"
#include "tests/fuzz/fake_loop.h"
#include "virtio/state.h"
#include "vmm/saved.h"

#define HEADER_BYTES 64
#define ENTRY_BYTES  24
#define N_AT	     12
#define LEN_AT	     16
#define CRC_AT	     48
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

static const struct virtio_dev_ops ops = {
	.id = 2,
	.n_queues = N_QUEUES,
	.activate = on_activate,
	.notify = on_notify,
	.drain = on_drain,
};

/* The bytes of a section as a guest in good order leaves them; their number. */
static size_t natural(uint32_t tag, uint8_t *buf, size_t size)
{
	static struct saved zero;
	static struct vcpu_state vcpu;
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
	struct archive a = archive_saver(buf, size);

	if (tag == TAG_CPUID)
		cpuid_describe(&zero.cpuid, &a);
	else if (tag == TAG_VCPU)
		vcpu_state_describe(&vcpu, &a);
	else if (tag == TAG_CHIPS)
		chip_state_describe(&zero.chips, &a);
	else if (tag == TAG_COM1)
		serial_describe(&serial, &a);
	else if (tag == TAG_I8042)
		i8042_describe(&i8042, &a);
	else if (tag == TAG_VIRTIO)
		virtio_describe(&d, &a);
	return a.at;
}

static const uint32_t tags[] = {
	TAG_CONFIG, TAG_CPUID, TAG_VCPU,   TAG_CHIPS,
	TAG_COM1,   TAG_I8042, TAG_VIRTIO, TAG_DIGEST,
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
	if (snapshot_devices(s, &m->vm, &e) == 0)
		virtio_resume(&m->dev);
	virtio_exit(&m->dev);
	irq_exit(&m->vm.slot[0].irq);
	ram_exit(&m->vm.mem);
	free(m);
}

static void load(const uint8_t *data, size_t size)
{
	struct snapshot s = {0};
	struct saved *saved;
	struct err e;
	size_t len;

	if (state_parse(&s.file, data, size, &e) < 0)
		return;
	(void)state_check_known(&s.file, tags, ARRAY_LEN(tags), &e);
	(void)snapshot_config(&s, &len);
	check(len <= size);
	if (snapshot_saved(&s, 1 + (unsigned int)(size & 1), &saved, &e) == 0)
		saved_free(saved);
	load_devices(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	log_set_level(LOG_OFF);
	load(data, size);
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
