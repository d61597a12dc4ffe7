/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager.h: guest RAM that another process fills, page by page, as the guest
 * comes to them: a page server, in Firecracker's protocol.
 *
 * RAM is registered with a userfaultfd, which goes to the server in one
 * message, with a JSON array of the regions:
 *
 *	[{"base_host_virt_addr":N,"size":N,"offset":N,"page_size":N,
 *	  "page_size_kib":N}]
 *
 * where offset is that in the memory file and page_size_kib is in bytes, too.
 * From then on the server answers faults by UFFDIO_COPY. What it may send on
 * the connection is not read.
 *
 * The server is gone when its connection is. Whoever touches a page that it
 * has not brought then waits for ever, as the monitor holds the userfaultfd,
 * too: without that the kernel would put zeros there. Any thread may be the one
 * that waits, the loop too, so a thread of its own, "fc_pager", watches the
 * connection. Until pager_arm() the end of the server fails the load; after it,
 * vm_owner.lost is called, which ends the process.
 */
#ifndef VMM_PAGER_H
#define VMM_PAGER_H

#include <stddef.h>

struct err;
struct filter;
struct gmem;
struct pager;
struct vm_owner;

/* What goes before the texts of the first three. */
#define PAGER_FAULT                                                 \
	"Failed to load guest memory: Error creating guest memory " \
	"from uffd: "

/*
 * Connect to the server's socket at path, of len bytes. Helper thread: waits
 * while the server's queue of connections is full.
 */
int pager_open(struct pager **out, const char *path, size_t len, struct err *e);

/*
 * Let the server fill *m, which is backed and was not touched yet, and watch
 * it. Helper thread.
 */
int pager_serve(struct pager *p, struct gmem *m, struct err *e);

/*
 * From here on the guest may run, and the end of the server is that of o's
 * process. The watching thread adds f (NULL: none) to its filters. An error
 * says that the server has gone, and that pages may have been read as zeros:
 * the machine must not run. Loop thread; once.
 */
int pager_arm(struct pager *p, struct vm_owner *o, const struct filter *f,
	      struct err *e);

/* End the thread, close everything; accepts NULL and half-built. */
void pager_free(struct pager *p);

#endif
