/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version.h: the version numbers that the monitor and its API report.
 */
#ifndef API_VERSION_H
#define API_VERSION_H

#include "base/version.h"

#define SNAPSHOT_VERSION "1.0.0" /* the state file's format, ours */

#endif
