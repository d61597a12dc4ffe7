#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nano.py where io_uring is forbidden: the monitor's epoll loop. TAP output.

usage: nano_epoll.py [NAME...]

The launcher is $NO_URING (build/tests/no_uring); the rest is as in nano.py.
"""
import os
import sys

import nano

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

if __name__ == "__main__":
    nano.monitor.MAYFLY.insert(0, os.environ.get(
        "NO_URING", os.path.join(TOP, "build/tests/no_uring")))
    sys.exit(nano.main())
