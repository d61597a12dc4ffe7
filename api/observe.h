/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observe.h: where logs, metrics and the guest's console go.
 *
 * These open files: on the helper thread, or before the loop runs.
 */
#ifndef API_OBSERVE_H
#define API_OBSERVE_H

struct body_logger;
struct err;
struct metrics;
struct text;

/*
 * Open a file or FIFO for appending without ever waiting for it. Returns the
 * descriptor, or a negative errno and the text of the system alone.
 */
int observe_open(const struct text *path, struct err *e);

/* Apply PUT /logger; a level that is not given becomes Info. */
int observe_logger(const struct body_logger *b, struct err *e);

/* Apply PUT /metrics: once. */
int observe_metrics(struct metrics *m, const struct text *path, struct err *e);

#endif
