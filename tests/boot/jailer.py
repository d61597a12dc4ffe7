#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make jails, look at them from outside and inside, take them away. TAP.

usage: jailer.py [NAME...]     tests whose names hold one of the NAMEs

See monitor.py and jail_host.py for the environment. Needs root. Everything
happens in a mount namespace of its own, in a temporary folder and in cgroups
called mayfly-test. Exit code 77: cannot run here.
"""
import os
import sys

import jailer_ends
import jailer_escapes
import jailer_flags
import jailer_inherited
import jailer_layout
import jailer_races
import jailer_refusals
import jailer_work
import monitor
from jail_host import (CLONE_NEWNS, LIBC, MAYFLY, MS_PRIVATE, MS_REC,
                       PR_SET_CHILD_SUBREAPER, mount, syscall)


def main():
    """All of them."""
    if os.geteuid() != 0:
        print("root: needs root")
        return 77
    with open(MAYFLY, "rb") as f:
        if b"/ld-linux" in f.read(4096):
            print("static: %s is linked dynamically" % MAYFLY)
            return 77
    os.chdir("/")
    syscall(LIBC.unshare(CLONE_NEWNS), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    syscall(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
    try:
        return monitor.main(
            jailer_layout.TESTS + jailer_inherited.TESTS +
            jailer_flags.TESTS + jailer_escapes.TESTS + jailer_work.TESTS +
            jailer_refusals.TESTS + jailer_races.TESTS + jailer_ends.TESTS,
            jails=False)
    finally:
        jailer_flags.sweep_cgroups()


if __name__ == "__main__":
    sys.exit(main())
