/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offload.h: what a network interface leaves to its device: checksums and
 * segmentation. What ethtool -k and -K do, which busybox has not.
 */
#ifndef GUEST_INIT_OFFLOAD_H
#define GUEST_INIT_OFFLOAD_H

/*
 * Set the features named (rx, tx, sg, tso, gso, gro) to "on" or "off" in turn,
 * then report all of them. 0, -EINVAL for a word that is none of these, or
 * negative errno of the kernel; -EIO if the kernel did not obey.
 */
int offload_set(const char *iface, int n_words, char **words);

/* As a program: offload IFACE [FEATURE on|off]... */
int offload_main(int argc, char **argv);

#endif
