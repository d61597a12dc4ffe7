/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/nano/virtio.h"

#define MMIO_MAGIC	      0x000
#define MMIO_VERSION	      0x004
#define MMIO_DEVICE_ID	      0x008
#define MMIO_FEATURES	      0x010
#define MMIO_FEATURES_SEL     0x014
#define MMIO_DRV_FEATURES     0x020
#define MMIO_DRV_FEATURES_SEL 0x024
#define MMIO_QUEUE_SEL	      0x030
#define MMIO_QUEUE_NUM_MAX    0x034
#define MMIO_QUEUE_NUM	      0x038
#define MMIO_QUEUE_READY      0x044
#define MMIO_ISR	      0x060
#define MMIO_ACK	      0x064
#define MMIO_QUEUE_DESC	      0x080
#define MMIO_QUEUE_AVAIL      0x090
#define MMIO_QUEUE_USED	      0x0a0
#define MMIO_GENERATION	      0x0fc

#define MAGIC	       0x74726976
#define ISR_CONFIG     2
#define NO_NOTIFY      1 /* in used flags */
#define NO_INTERRUPT   1 /* in avail flags */
#define GSI_IOAPIC_END 24
#define RESET_NS       (5 * NS_PER_S)

static struct vdev devs[VIRTIO_MAX];
static unsigned int n_devs;

static uint32_t get(const struct vdev *d, uint32_t reg)
{
	return *mmio32(d->gpa + reg);
}

static void set(const struct vdev *d, uint32_t reg, uint32_t v)
{
	*mmio32(d->gpa + reg) = v;
}

static void set64(const struct vdev *d, uint32_t reg, uint64_t v)
{
	set(d, reg, (uint32_t)v);
	set(d, reg + 4, (uint32_t)(v >> 32));
}

static void add_window(uint64_t gpa, uint32_t gsi)
{
	struct vdev d = {.gpa = gpa, .gsi = gsi};
	if (n_devs == VIRTIO_MAX || gsi >= GSI_IOAPIC_END ||
	    get(&d, MMIO_MAGIC) != MAGIC || get(&d, MMIO_VERSION) != 2)
		return;
	d.id = get(&d, MMIO_DEVICE_ID);
	if (d.id == 0)
		return;
	d.poll = cmdline_value("nano.poll", 0).s != NULL;
	if (!d.poll)
		irq_enable(gsi);
	devs[n_devs++] = d;
}

/* virtio_mmio.device=<size>@<base>:<irq>[:<id>] */
static void add_words(void)
{
	for (unsigned int n = 0;; n++) {
		struct piece p = cmdline_value("virtio_mmio.device=", n);
		if (p.len == 0)
			return;
		(void)piece_cut(&p, '@');
		uint64_t gpa = piece_next(&p, 0);
		uint64_t gsi = piece_next(&p, GSI_IOAPIC_END);
		if (gpa)
			add_window(gpa, (uint32_t)gsi);
	}
}

void virtio_setup(void)
{
	if (cmdline_value("acpi", 0).s)
		acpi_list_virtio(add_window);
	else
		add_words();
}

struct vdev *virtio_find(uint32_t id, unsigned int n)
{
	for (unsigned int i = 0; i < n_devs; i++) {
		if ((id == 0 || devs[i].id == id) && n-- == 0)
			return &devs[i];
	}
	return NULL;
}

const char *order_devices(struct piece args)
{
	for (unsigned int i = 0; i < n_devs; i++)
		print("nano: device n=%u id=%u gpa=0x%lx gsi=%u\n", i,
		      devs[i].id, devs[i].gpa, devs[i].gsi);
	print("nano: devices n=%u\n", n_devs);
	return "";
}

uint32_t vdev_status(const struct vdev *d)
{
	return get(d, VIRTIO_MMIO_STATUS);
}

void vdev_set_status(const struct vdev *d, uint32_t bits)
{
	set(d, VIRTIO_MMIO_STATUS, bits);
}

uint64_t vdev_config64(const struct vdev *d, uint32_t offset)
{
	uint32_t low, high, before;
	do {
		before = get(d, MMIO_GENERATION);
		low = get(d, VIRTIO_MMIO_CONFIG + offset);
		high = get(d, VIRTIO_MMIO_CONFIG + offset + 4);
	} while (get(d, MMIO_GENERATION) != before);
	return (uint64_t)high << 32 | low;
}

bool vdev_has(const struct vdev *d, unsigned int feature)
{
	return d->features >> feature & 1;
}

void vdev_reset(struct vdev *d)
{
	vdev_set_status(d, 0);
	uint64_t start = clock_ns();
	while (vdev_status(d) && clock_ns() - start < RESET_NS)
		pause();
	d->config_irq = false;
}

const char *vdev_open(struct vdev *d, uint64_t want)
{
	vdev_reset(d);
	if (vdev_status(d))
		return "the device does not reset";
	uint32_t bits = VIRTIO_ACKNOWLEDGE;
	vdev_set_status(d, bits);
	vdev_set_status(d, bits |= VIRTIO_DRIVER);
	d->offered = 0;
	d->irqs = 0;
	for (uint32_t i = 0; i < 2; i++) {
		set(d, MMIO_FEATURES_SEL, i);
		d->offered |= (uint64_t)get(d, MMIO_FEATURES) << 32 * i;
	}
	want |= 1ULL << VIRTIO_F_VERSION_1;
	if (!cmdline_value("nano.noeventidx", 0).s)
		want |= 1ULL << VIRTIO_F_EVENT_IDX;
	if (!cmdline_value("nano.noindirect", 0).s)
		want |= 1ULL << VIRTIO_F_INDIRECT;
	want &= ~piece_number(cmdline_value("nano.decline=", 0), 0);
	d->features = d->offered & want;
	for (uint32_t i = 0; i < 2; i++) {
		set(d, MMIO_DRV_FEATURES_SEL, i);
		set(d, MMIO_DRV_FEATURES, (uint32_t)(d->features >> 32 * i));
	}
	if (!vdev_has(d, VIRTIO_F_VERSION_1))
		return "VERSION_1 is not offered";
	vdev_set_status(d, bits |= VIRTIO_FEATURES_OK);
	return vdev_status(d) == bits ? "" : "the features are refused";
}

void vdev_ack(struct vdev *d)
{
	uint32_t seen = irq_seen(d->gsi);
	if (seen == d->seen)
		return;
	d->seen = seen;
	uint32_t why = get(d, MMIO_ISR);
	set(d, MMIO_ACK, why);
	d->irqs++;
	if (why & ISR_CONFIG)
		d->config_irq = true;
}

void vq_place(const struct vq *q, uint64_t desc, uint64_t avail, uint64_t used)
{
	const struct vdev *d = q->dev;
	set(d, MMIO_QUEUE_SEL, q->index);
	set(d, MMIO_QUEUE_NUM, q->size);
	set64(d, MMIO_QUEUE_DESC, desc);
	set64(d, MMIO_QUEUE_AVAIL, avail);
	set64(d, MMIO_QUEUE_USED, used);
	set(d, MMIO_QUEUE_READY, 1);
}

const char *vq_open(struct vq *q, struct vdev *d, uint16_t index)
{
	set(d, MMIO_QUEUE_SEL, index);
	uint64_t size = get(d, MMIO_QUEUE_NUM_MAX);
	if (size == 0 || get(d, MMIO_QUEUE_READY))
		return "the queue is not there or in use";
	uint64_t most =
		piece_number(cmdline_value("nano.queue=", 0), VQ_SIZE_MAX);
	if (size > most)
		size = most;
	if (size > VQ_SIZE_MAX)
		size = VQ_SIZE_MAX;
	*q = (struct vq){.dev = d, .index = index, .size = (uint16_t)size};
	uint8_t *ring = mem_alloc(2 * PAGE_BYTES + PAGE_BYTES);
	memset(ring, 0, 3 * PAGE_BYTES);
	q->desc = (void *)ring;
	q->avail = (void *)(ring + PAGE_BYTES);
	q->used = (void *)(ring + 2 * PAGE_BYTES);
	q->n_free = q->size;
	for (uint16_t i = 0; i < q->size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	if (d->poll)
		q->avail[0] = NO_INTERRUPT;
	vq_place(q, (uint64_t)q->desc, (uint64_t)q->avail, (uint64_t)q->used);
	return get(d, MMIO_QUEUE_READY) ? "" : "the queue does not get ready";
}

int vq_add(struct vq *q, const struct vq_buf *buf, uint16_t n,
	   struct vq_desc *table)
{
	uint16_t head = q->free_head;
	uint16_t need = table ? 1 : n;
	if (q->n_free < need)
		return -1;
	volatile struct vq_desc *d = table ? table : q->desc;
	uint16_t at = table ? 0 : head;
	for (uint16_t i = 0; i < n; i++) {
		uint16_t next = table ? (uint16_t)(i + 1) : d[at].next;
		d[at].gpa = (uint64_t)buf[i].p;
		d[at].len = buf[i].len;
		d[at].flags = (uint16_t)((buf[i].write ? DESC_WRITE : 0) |
					 (i + 1 < n ? DESC_NEXT : 0));
		d[at].next = next;
		at = next;
	}
	if (table) {
		at = q->desc[head].next;
		q->desc[head] = (struct vq_desc){(uint64_t)table,
						 (uint32_t)(n * sizeof(*table)),
						 DESC_INDIRECT, at};
	}
	q->free_head = at;
	q->n_free = (uint16_t)(q->n_free - need);
	vq_offer(q, head);
	return head;
}

void vq_offer(struct vq *q, uint16_t head)
{
	q->avail[2 + q->next_avail % q->size] = head;
	q->next_avail++;
	__atomic_store_n(&q->avail[1], q->next_avail, __ATOMIC_RELEASE);
}

void vq_kick(struct vq *q)
{
	uint16_t added = (uint16_t)(q->next_avail - q->kicked);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	bool wanted = !(q->used[0] & NO_NOTIFY);
	if (vdev_has(q->dev, VIRTIO_F_EVENT_IDX)) {
		uint16_t event = q->used[2 + 4 * q->size];
		wanted = (uint16_t)(q->next_avail - event - 1) < added;
	}
	q->kicked = q->next_avail;
	if (added == 0 || !wanted)
		return;
	q->kicks++;
	set(q->dev, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
}

static uint16_t n_used(const struct vq *q)
{
	uint16_t idx = __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
	return (uint16_t)(idx - q->next_used);
}

bool vq_pop(struct vq *q, struct vq_used *u)
{
	if (n_used(q) == 0)
		return false;
	const volatile uint32_t *e = (const volatile uint32_t *)(q->used + 2) +
				     2 * (q->next_used % q->size);
	*u = (struct vq_used){e[0], e[1]};
	q->next_used++;
	uint16_t last = (uint16_t)(u->head % q->size);
	q->n_free++;
	for (; q->desc[last].flags & DESC_NEXT; last = q->desc[last].next)
		q->n_free++;
	q->desc[last].next = q->free_head;
	q->free_head = (uint16_t)(u->head % q->size);
	return true;
}

/* Ask for an interrupt when the wait may end; true if it may now. */
static bool arm(struct vq *q)
{
	/* As far off as it gets where no interrupt is wanted. */
	uint16_t after = q->dev->poll ? 0x8000 : q->lazy;
	q->avail[2 + q->size] = (uint16_t)(q->next_used + after);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return n_used(q) > q->lazy;
}

bool vq_wait_any(struct vq *const *q, unsigned int n, uint64_t ns)
{
	struct vdev *d = q[0]->dev;
	uint64_t start = clock_ns();
	do {
		uint32_t seen = irq_seen(d->gsi);
		vdev_ack(d);
		bool ready = false;
		for (unsigned int i = 0; i < n; i++)
			ready |= arm(q[i]);
		if (ready)
			return true;
		if (d->poll)
			pause();
		else
			irq_wait(d->gsi, seen);
	} while (clock_ns() - start < ns);
	return false;
}

bool vq_wait(struct vq *q, uint64_t ns)
{
	return vq_wait_any(&q, 1, ns);
}
