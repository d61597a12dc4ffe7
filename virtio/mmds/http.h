/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h: requests to the metadata service and the replies to them.
 *
 * Statuses, texts and headers are Firecracker's. Threads: the loop thread.
 */
#ifndef VIRTIO_MMDS_HTTP_H
#define VIRTIO_MMDS_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct mmds;

#define MMDS_REQUEST_MAX 2500
#define MMDS_HEADERS_MAX 512 /* of a reply */

/*
 * How many bytes at buf are a request with the end of its headers; 0 if that
 * has not come yet.
 */
size_t mmds_http_whole(const char *buf, size_t len);

/*
 * Answer the request of len bytes, at most MMDS_REQUEST_MAX. Returns the length
 * of the reply; if that is over cap, nothing has happened and buf is of no use.
 * A reply is never longer than MMDS_HEADERS_MAX and the limit of the store or
 * twice MMDS_REQUEST_MAX, whichever is greater. *close: it is the last one,
 * because nobody knows where the next request begins.
 */
size_t mmds_http_reply(struct mmds *m, const char *req, size_t len, char *buf,
		       size_t cap, bool *close);

#endif
