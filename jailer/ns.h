/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ns.h: namespaces and the change of root.
 */
#ifndef JAILER_NS_H
#define JAILER_NS_H

struct err;
struct jail;

/*
 * Join or make the namespaces and make the jail's root this process's root and
 * working folder. Nothing of the host's tree is left but what the descriptors
 * of the jail hold, by which it can still be undone.
 */
int ns_enter(struct jail *j, struct err *e);

#endif
