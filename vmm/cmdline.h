/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmdline.h: the kernel command line, as Firecracker composes it.
 *
 * What the monitor adds goes before a " -- " in the user's part (one outside
 * double quotes), since words after it belong to init. White space around
 * either part is dropped.
 */
#ifndef VMM_CMDLINE_H
#define VMM_CMDLINE_H

#include <stddef.h>
#include "vmm/x86/layout.h"

struct err;

#define CMDLINE_DEFAULT                                                      \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux " \
	"i8042.dumbkbd swiotlb=noforce"

struct cmdline {
	char text[CMDLINE_MAX]; /* always NUL-terminated */
	size_t len;
	size_t boot_len; /* of the part before any " -- " */
};

/*
 * Start with the user's words (CMDLINE_DEFAULT for NULL). -E2BIG with the
 * text "Invalid cmdline capacity provided." when they do not fit.
 */
int cmdline_init(struct cmdline *c, const char *user, struct err *e);

/*
 * Add words, a space in front, before any " -- ". -E2BIG with the text
 * "Inserting string would make command line too long.", -EINVAL for words that
 * are not printable ASCII; then nothing was added.
 */
__attribute__((format(printf, 3, 4))) int cmdline_add(struct cmdline *c,
						      struct err *e,
						      const char *fmt, ...);

#endif
