/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h: what clients say about rates, applied to a device. Loop thread.
 */
#ifndef API_LIMITS_H
#define API_LIMITS_H

struct limiter;
struct limiter_cfg;

/*
 * A bucket that is given replaces the limiter's by a full one, or lifts the
 * limit if its size or period is 0; the other stays.
 */
void limiter_apply(struct limiter *l, const struct limiter_cfg *cfg);

#endif
