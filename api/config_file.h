/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file.h: a machine from one JSON file, as if its sections had been sent
 * to the API one after another. Opens files: before the loop runs.
 */
#ifndef API_CONFIG_FILE_H
#define API_CONFIG_FILE_H

#include <stddef.h>

struct api;
struct err;

/* More than any configuration needs. */
#define CONFIG_FILE_MAX_BYTES ((size_t)16 << 20)

/*
 * Read a file whole: *text is NUL-terminated and the caller's. -EFBIG over the
 * limit; the text of the error is that of the system.
 */
int config_file_read(const char *path, char **text, size_t *len, struct err *e);

/* Apply the text to a->config, log and metrics. Texts lack the prefix. */
int config_file_apply(struct api *a, const char *text, size_t len,
		      struct err *e);

#endif
