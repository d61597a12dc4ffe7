/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

static uint64_t to_ns(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * NS_PER_S + (uint64_t)ts->tv_nsec;
}

uint64_t clock_now_ns(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return to_ns(&ts);
}

struct timespec clock_wall(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

uint64_t clock_process_cpu_us(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return to_ns(&ts) / NS_PER_US;
}
