/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c: what the configuration spaces of the devices say, as a driver sees
 * it that reads them at first and then when it is told of a change.
 */
#include "guest/nano/nano.h"
#include "guest/nano/virtio.h"

static void show(const struct vdev *d, unsigned int n, const char *told)
{
	print("nano: config n=%u id=%u value=0x%lx told=%s\n", n, d->id,
	      vdev_config64(d, 0), told);
}

const char *order_config(struct piece args)
{
	uint64_t changes = piece_number(args, 0);
	struct vdev *d;
	for (unsigned int n = 0; (d = virtio_find(0, n)); n++) {
		const char *wrong = vdev_open(d, 0);
		if (*wrong)
			return wrong;
		vdev_set_status(d, VIRTIO_LIVE);
		show(d, n, "no");
	}
	print("nano: config waits\n");
	while (changes) {
		cpu_idle();
		for (unsigned int n = 0; (d = virtio_find(0, n)); n++) {
			vdev_ack(d);
			if (!d->config_irq)
				continue;
			d->config_irq = false;
			show(d, n, "yes");
			changes--;
		}
	}
	return "";
}
