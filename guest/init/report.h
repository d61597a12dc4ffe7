/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h: what the guest tells the console.
 *
 * A line begins with "init: " and leaves by one write, so that whoever reads
 * the console can tell it from the kernel's lines.
 */
#ifndef GUEST_INIT_REPORT_H
#define GUEST_INIT_REPORT_H

/* Without the newline; cut at about 500 bytes. */
void report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
