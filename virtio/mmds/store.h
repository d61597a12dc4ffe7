/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h: the document of the metadata service: one JSON value that the API
 * writes and the guest reads.
 *
 * It is kept as the text that the API prints, with the places of its values:
 * what a guest reads is a piece of that text, so reading allocates nothing, and
 * nothing that JSON can say gets lost on the way (NUL, 64-bit integers).
 * Threads: the loop thread.
 */
#ifndef VIRTIO_MMDS_STORE_H
#define VIRTIO_MMDS_STORE_H

#include <stddef.h>

#include "base/json.h"

struct err;

struct mmds_store {
	struct json doc; /* of text */
	char *text;	 /* NULL: nothing was put yet */
	char *scratch;	 /* as long: where a string of doc is decoded */
	size_t limit;	 /* of text, bytes */
};

void mmds_store_init(struct mmds_store *s, size_t limit);
void mmds_store_exit(struct mmds_store *s); /* forgets the document */

/*
 * Replace the document, or merge into it (RFC 7396). 0; -EINVAL with serde's
 * text for what is no JSON; -E2BIG if the result would be over the limit,
 * -ENOENT for a merge into nothing, -ENOMEM: the document stays as it was then.
 * Keys are sorted by bytes, the last of equal keys wins, numbers are printed as
 * serde prints them.
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
 * a slash; anything else has no text there. A part of the path is a key, with
 * ~0 for ~ and ~1 for a slash, or an index. Writes at most cap bytes to buf;
 * *len is the length of the whole.
 */
enum mmds_found mmds_store_get(const struct mmds_store *s, const char *path,
			       size_t path_len, enum mmds_format format,
			       char *buf, size_t cap, size_t *len);

#endif
