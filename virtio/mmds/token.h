/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h: session tokens of the metadata service.
 *
 * A token says when it expires and proves that this process said so; nothing is
 * stored. Another process, such as a clone of the machine, has another key.
 * Threads: the loop thread.
 */
#ifndef VIRTIO_MMDS_TOKEN_H
#define VIRTIO_MMDS_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct mmds;

#define MMDS_TOKEN_BYTES     64 /* of its text, without an end */
#define MMDS_TOKEN_TTL_S_MAX 21600

/* Make the key, unless there is one. */
int mmds_token_key(struct mmds *m, struct err *e);

void mmds_token_new(struct mmds *m, uint32_t ttl_s,
		    char text[MMDS_TOKEN_BYTES + 1]);
bool mmds_token_valid(const struct mmds *m, const char *text, size_t len);

/* A number that nobody can guess, also not from tokens. */
uint32_t mmds_token_random(struct mmds *m);

#endif
