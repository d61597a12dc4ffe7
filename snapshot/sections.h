/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sections.h: what the sections of a state file are called.
 */
#ifndef SNAPSHOT_SECTIONS_H
#define SNAPSHOT_SECTIONS_H

#include "snapshot/file.h"

#define TAG_CONFIG STATE_TAG('C', 'O', 'N', 'F') /* JSON, as configured */
#define TAG_CPUID  STATE_TAG('C', 'P', 'I', 'D')
#define TAG_VCPU   STATE_TAG('V', 'C', 'P', 'U') /* one a vCPU */
#define TAG_CHIPS  STATE_TAG('C', 'H', 'I', 'P')
#define TAG_COM1   STATE_TAG('C', 'O', 'M', '1')
#define TAG_I8042  STATE_TAG('8', '0', '4', '2')
#define TAG_VIRTIO STATE_TAG('V', 'D', 'E', 'V') /* one a device */
/*
 * One CRC32C a chunk of RAM as it was at the pause. A whole memory file holds
 * just that; a Diff does when it has been merged over the files before it.
 */
#define TAG_DIGEST STATE_TAG('M', 'C', 'R', 'C')
/*
 * There if the memory file was written as a Diff that is not whole: a hole in
 * it stands for what the file before it holds. Merged, the snapshot has no such
 * section; load tells by it what was not merged (see partial.h).
 */
#define TAG_DIFF STATE_TAG('D', 'I', 'F', 'F')
/* Not required: who does not know them loads with fewer checks. */
#define TAG_CAPS  STATE_TAG('C', 'A', 'P', 'S') /* of KVM, that it needs */
#define TAG_FORCE STATE_TAG('F', 'O', 'R', 'C') /* CPUID of its template's */
#define TAG_HOST  STATE_TAG('H', 'O', 'S', 'T') /* see origin.h */
#define TAG_DRIVE STATE_TAG('D', 'R', 'I', 'V') /* one a drive, the same */
#define TAG_LIMIT STATE_TAG('R', 'A', 'T', 'E') /* a device: tokens left */
#define TAG_SPACE STATE_TAG('V', 'C', 'F', 'G') /* one a device: its space */

#endif
