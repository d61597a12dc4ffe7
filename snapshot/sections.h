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
#define TAG_DIGEST STATE_TAG('M', 'C', 'R', 'C') /* one CRC32C a chunk */

#endif
