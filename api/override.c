/* SPDX-License-Identifier: Apache-2.0 */
#include "api/override.h"

#include <errno.h>
#include <string.h>

#include "api/body_snapshot.h"
#include "api/config.h"
#include "base/err.h"

static void take_text(struct text *to, struct text *from)
{
	text_exit(to);
	*to = *from;
	*from = (struct text){0};
}

static int override_net(struct body_config *b, struct net_override *o,
			struct err *e)
{
	struct body_net *n = NULL;

	for (unsigned int i = 0; !n && i < b->n_nets; i++) {
		if (text_equal(&b->nets[i].iface_id, &o->iface_id))
			n = &b->nets[i];
	}
	if (!n)
		return err_set(e, -ENODEV, "Unknown Network Device.");
	take_text(&n->host_dev_name, &o->host_dev_name);
	if (o->has_guest_mac) {
		memcpy(n->guest_mac, o->guest_mac, sizeof(n->guest_mac));
		n->has_guest_mac = true;
	}
	limiter_merge(&n->rx_rate_limiter, &o->rx_rate_limiter);
	limiter_merge(&n->tx_rate_limiter, &o->tx_rate_limiter);
	return 0;
}

static int override_drive(struct body_config *b, struct drive_override *o,
			  struct err *e)
{
	struct body_drive *d = NULL;

	for (unsigned int i = 0; !d && i < b->n_drives; i++) {
		if (text_equal(&b->drives[i].drive_id, &o->drive_id))
			d = &b->drives[i];
	}
	if (!d)
		return err_set(e, -ENODEV, "Unknown Block Device: '%s'.",
			       o->drive_id.s);
	if (o->path_on_host.s)
		take_text(&d->path_on_host, &o->path_on_host);
	if (o->has_rate_limiter) {
		limiter_merge(&d->rate_limiter, &o->rate_limiter);
		d->has_rate_limiter = true;
	}
	return 0;
}

static int override_vsock(struct body_config *b, struct body_load *l,
			  struct err *e)
{
	if (!l->vsock_override.uds_path.s)
		return 0;
	if (!b->has_vsock)
		return err_set(e, -ENODEV, "Unknown Vsock Device.");
	take_text(&b->vsock.uds_path, &l->vsock_override.uds_path);
	if (l->vsock_override.has_guest_cid)
		b->vsock.guest_cid = l->vsock_override.guest_cid;
	return 0;
}

int override_devices(struct body_config *b, struct body_load *l, struct err *e)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < l->n_network_overrides; i++)
		ret = override_net(b, &l->network_overrides[i], e);
	for (unsigned int i = 0; ret == 0 && i < l->n_drive_overrides; i++)
		ret = override_drive(b, &l->drive_overrides[i], e);
	if (ret == 0)
		ret = override_vsock(b, l, e);
	if (ret == 0 && l->mmds.s && !b->has_mmds)
		ret = err_set(e, -ENODEV,
			      "Unknown MMDS: the snapshot has no "
			      "interface that may use it.");
	return ret < 0 ? err_wrap(e, "Failed to get snapshot state from "
				     "file: ")
		       : 0;
}

bool override_has_file(const struct body_load *l, const struct text *drive_id)
{
	for (unsigned int i = 0; i < l->n_drive_overrides; i++) {
		const struct drive_override *o = &l->drive_overrides[i];

		if (o->has_path_on_host && text_equal(&o->drive_id, drive_id))
			return true;
	}
	return false;
}
