/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h: the executable: what was given, its copy in the jail, its start.
 */
#ifndef JAILER_PROGRAM_H
#define JAILER_PROGRAM_H

struct err;
struct jail;

/*
 * Open the file given. It must be an x86-64 program that needs no other file:
 * a jail holds neither a dynamic linker nor libraries. Returns 0, or a negative
 * errno.
 */
int program_open(struct jail *j, struct err *e);

/* Copy it into the root; j->copy stays open for writing. */
int program_copy(struct jail *j, struct err *e);

/*
 * Seen from inside: open the copy to execute it, see that it is the file which
 * was written, and close the writer: an open writer forbids execution. The
 * descriptor belongs to the jail's mount, so that the program holds no mount of
 * the host.
 */
int program_seal(struct jail *j, struct err *e);

/* Execute it; returns only a negative errno. */
int program_exec(const struct jail *j, struct err *e);

#endif
