/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h: the one place through which time enters.
 *
 * Deadlines and intervals are CLOCK_MONOTONIC nanoseconds. Any thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US ((uint64_t)1000)
#define NS_PER_MS ((uint64_t)1000000)
#define NS_PER_S  ((uint64_t)1000000000)

/* Nanoseconds of CLOCK_MONOTONIC, which never go back. */
uint64_t clock_now_ns(void);

/* Wall-clock time, for log lines and metrics only. */
struct timespec clock_wall(void);

/* CPU time that this process has used, in microseconds. */
uint64_t clock_process_cpu_us(void);

#endif
