/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h: resources that free themselves when a function returns.
 *
 * Initialise at the declaration, hand over with the matching steal:
 *
 *	cleanup_fd int fd = open(...);
 *	...
 *	return fd_steal(&fd);
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close_(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

#define cleanup_fd   __attribute__((cleanup(cleanup_close_)))
#define cleanup_free __attribute__((cleanup(cleanup_free_)))

/* Take a descriptor out of a cleanup_fd variable. */
static inline int fd_steal(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

/* Take a pointer out of a cleanup_free variable. */
static inline void *ptr_steal_(void **p)
{
	void *ret = *p;

	*p = NULL;
	return ret;
}

#define ptr_steal(p) ((__typeof__(*(p)))ptr_steal_((void **)(p)))

/* Close *fd if it is open and mark it closed: for the fields of an object. */
static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

#endif
