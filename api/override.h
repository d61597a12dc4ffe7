/* SPDX-License-Identifier: Apache-2.0 */
/*
 * override.h: what the request of a load says instead of the snapshot.
 *
 * The guest is told of devices that it finds changed by an interrupt for their
 * configuration (see snapshot_devices()); what it makes of that is its driver's
 * business: Linux takes a drive's new size and a vsock's new CID, but reads a
 * MAC only when it finds the device.
 */
#ifndef API_OVERRIDE_H
#define API_OVERRIDE_H

#include <stdbool.h>

struct body_config;
struct body_load;
struct err;
struct text;

/*
 * Change the devices of *b. Takes texts out of *l. An id that the snapshot does
 * not have is an error; of two items with one id the later one wins.
 */
int override_devices(struct body_config *b, struct body_load *l, struct err *e);

/* Whether the request names a file for a drive, before *l is taken apart. */
bool override_has_file(const struct body_load *l, const struct text *drive_id);

#endif
