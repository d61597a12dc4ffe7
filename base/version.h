/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version.h: the version numbers that every program reports.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define MAYFLY_VERSION	    "0.1.0"
#define FIRECRACKER_VERSION "1.16.1" /* the API level that is spoken */

#endif
