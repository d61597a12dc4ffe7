/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h: the document of the metadata service: one JSON value that the API
 * writes and the guest reads. Threads: the loop thread.
 */
#ifndef VIRTIO_MMDS_STORE_H
#define VIRTIO_MMDS_STORE_H

#include <stdbool.h>
#include <stddef.h>

struct cJSON;
struct err;

struct mmds_store {
	struct cJSON *root; /* NULL: nothing was put yet */
	size_t limit;	    /* of the printed document, bytes */
};

void mmds_store_init(struct mmds_store *s, size_t limit);
void mmds_store_exit(struct mmds_store *s); /* forgets the document */

/*
 * Replace the document, or merge into it (RFC 7396). 0; -EINVAL with serde's
 * text for what is no JSON; -E2BIG if the result would be over the limit, and
 * -ENOENT for a merge into nothing: the document stays as it was then. Keys are
 * sorted by bytes, the last of equal keys wins, numbers are printed as serde
 * prints them.
 */
int mmds_store_put(struct mmds_store *s, const char *text, size_t len,
		   struct err *e);
int mmds_store_patch(struct mmds_store *s, const char *text, size_t len,
		     struct err *e);

/* The document as JSON ("{}" for none or null); free() it. NULL: no memory. */
char *mmds_store_print(const struct mmds_store *s);

enum mmds_format { MMDS_JSON, MMDS_IMDS };

enum mmds_found { MMDS_FOUND, MMDS_NOT_FOUND, MMDS_NOT_TEXT };

/*
 * What a guest gets for a path ("/latest/meta-data/"): its JSON, or for IMDS a
 * string as it is and the keys of an object, one a line, those of objects with
 * a slash; anything else has no text there. Written to buf, at most cap bytes;
 * *len is the length it needs.
 */
enum mmds_found mmds_store_get(const struct mmds_store *s, const char *path,
			       size_t path_len, enum mmds_format format,
			       char *buf, size_t cap, size_t *len);

#endif
