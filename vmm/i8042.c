/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/i8042.h"

#include <errno.h>
#include <string.h>

#include "base/archive.h"
#include "base/count.h"
#include "base/num.h"
#include "vmm/irq.h"
#include "vmm/vm.h"

#define OFS_DATA   0 /* port 0x60 */
#define OFS_STATUS 4 /* port 0x64: status when read, command when written */

#define ST_OUT_FULL    0x01 /* a byte waits at OFS_DATA */
#define ST_CMD	       0x08 /* last write went to OFS_STATUS */
#define ST_KBD_ENABLED 0x10

#define CTR_KBD_INT 0x01
#define CTR_POST_OK 0x04

#define CMD_READ_CTR   0x20
#define CMD_WRITE_CTR  0x60
#define CMD_SELF_TEST  0xaa
#define CMD_KBD_TEST   0xab
#define CMD_READ_OUTP  0xd0
#define CMD_WRITE_OUTP 0xd1
#define CMD_RESET_CPU  0xfe
#define SELF_TEST_OK   0x55
#define KBD_ACK	       0xfa

/* Scan codes of set 2. */
#define KEY_CTRL 0x14
#define KEY_ALT	 0x11
#define KEY_EXT	 0xe0
#define KEY_DEL	 0x71

static uint32_t room(const struct i8042 *d)
{
	return I8042_BUF_BYTES - (d->tail - d->head);
}

static void put(struct i8042 *d, uint8_t byte)
{
	if (room(d) == 0) {
		count_add(&d->counts.errors, 1);
		return;
	}
	d->buf[d->tail++ % I8042_BUF_BYTES] = byte;
	d->status |= ST_OUT_FULL;
}

static uint8_t take(struct i8042 *d)
{
	uint8_t byte = 0;

	if (d->head != d->tail)
		byte = d->buf[d->head++ % I8042_BUF_BYTES];
	if (d->head == d->tail)
		d->status &= (uint8_t)~ST_OUT_FULL;
	return byte;
}

static bool wants_irq(const struct i8042 *d)
{
	return (d->control & CTR_KBD_INT) && d->head != d->tail;
}

/* Returns whether the guest asked for a reset. */
static bool command(struct i8042 *d, uint8_t cmd)
{
	d->status |= ST_CMD;
	d->command = 0;
	switch (cmd) {
	case CMD_READ_CTR:
		put(d, d->control);
		break;
	case CMD_READ_OUTP:
		put(d, d->outp);
		break;
	case CMD_SELF_TEST:
		put(d, SELF_TEST_OK);
		break;
	case CMD_KBD_TEST:
		put(d, 0);
		break;
	case CMD_WRITE_CTR:
	case CMD_WRITE_OUTP:
		d->command = cmd; /* the byte follows at OFS_DATA */
		break;
	case CMD_RESET_CPU:
		count_add(&d->counts.resets, 1);
		return true;
	default:
		break;
	}
	return false;
}

static void data(struct i8042 *d, uint8_t byte)
{
	d->status &= (uint8_t)~ST_CMD;
	if (d->command == CMD_WRITE_CTR)
		d->control = byte;
	else if (d->command == CMD_WRITE_OUTP)
		d->outp = byte;
	else
		put(d, KBD_ACK); /* a command to the keyboard */
	d->command = 0;
}

static void i8042_read(struct bus_dev *bus, struct vcpu *vcpu, uint64_t offset,
		       void *out, uint32_t len)
{
	struct i8042 *d = container_of(bus, struct i8042, bus);
	uint8_t byte = 0;
	bool irq = false;

	(void)vcpu;
	memset(out, 0, len);
	(void)pthread_mutex_lock(&d->lock);
	if (len == 1 && offset == OFS_STATUS) {
		byte = d->status;
		count_add(&d->counts.reads, 1);
	} else if (len == 1 && offset == OFS_DATA) {
		byte = take(d);
		irq = wants_irq(d);
		count_add(&d->counts.reads, 1);
	} else {
		count_add(&d->counts.missed_reads, 1);
	}
	(void)pthread_mutex_unlock(&d->lock);
	memcpy(out, &byte, 1);
	if (irq)
		irq_raise(d->irq);
}

static void i8042_write(struct bus_dev *bus, struct vcpu *vcpu, uint64_t offset,
			const void *in, uint32_t len)
{
	struct i8042 *d = container_of(bus, struct i8042, bus);
	bool irq, reset = false;
	uint8_t byte;

	(void)vcpu;
	memcpy(&byte, in, 1);
	(void)pthread_mutex_lock(&d->lock);
	if (len == 1 && offset == OFS_STATUS) {
		reset = command(d, byte);
		count_add(&d->counts.writes, 1);
	} else if (len == 1 && offset == OFS_DATA) {
		data(d, byte);
		count_add(&d->counts.writes, 1);
	} else {
		count_add(&d->counts.missed_writes, 1);
	}
	irq = wants_irq(d);
	(void)pthread_mutex_unlock(&d->lock);
	if (irq)
		irq_raise(d->irq);
	if (reset)
		vm_end(d->vm, VM_END_RESET);
}

static const struct bus_ops i8042_ops = {
	.read = i8042_read,
	.write = i8042_write,
};

void i8042_init(struct i8042 *d, struct vm *vm, const struct irq *irq)
{
	*d = (struct i8042){
		.bus.ops = &i8042_ops,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.irq = irq,
		.vm = vm,
		.status = ST_KBD_ENABLED,
		.control = CTR_POST_OK | CTR_KBD_INT,
	};
}

int i8042_ctrl_alt_del(struct i8042 *d)
{
	static const uint8_t keys[] = {KEY_CTRL, KEY_ALT, KEY_EXT, KEY_DEL};
	int ret = 0;
	bool irq;

	(void)pthread_mutex_lock(&d->lock);
	if (room(d) < sizeof(keys))
		ret = -ENOBUFS;
	for (size_t i = 0; ret == 0 && i < sizeof(keys); i++)
		put(d, keys[i]);
	irq = ret == 0 && wants_irq(d);
	(void)pthread_mutex_unlock(&d->lock);
	if (irq)
		irq_raise(d->irq);
	return ret;
}

void i8042_describe(struct i8042 *d, struct archive *a)
{
	uint32_t head = d->head, tail = d->tail;

	archive_u8(a, &d->status);
	archive_u8(a, &d->control);
	archive_u8(a, &d->outp);
	archive_u8(a, &d->command);
	archive_bytes(a, d->buf, sizeof(d->buf));
	archive_u32(a, &head);
	archive_u32(a, &tail);
	if (tail - head > I8042_BUF_BYTES) {
		a->failed = true;
		return;
	}
	d->head = head;
	d->tail = tail;
	/* The edge may not have reached the saved chips; see virtio/state.c. */
	if (archive_loading(a) && wants_irq(d))
		irq_raise(d->irq);
}
