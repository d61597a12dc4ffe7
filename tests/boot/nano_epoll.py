#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nano.py where io_uring is forbidden: the monitor's epoll loop. TAP output.

usage: nano_epoll.py [NAME...]

Without MAYFLY_SOAK only what the loop has a part in: not the machine's set-up,
and of snapshots none but those under load. The launcher is $NO_URING
(build/tests/no_uring); the rest is as in nano.py.
"""
import os
import sys

import monitor
import nano
from nano_machine import (boots_by_requests, ends_by_reset_and_power_off,
                          uses_io_uring_where_it_may)
from nano_snapshot import (goes_on_in_its_own_process,
                           moves_while_drives_are_busy,
                           stopped_in_the_middle_of_output)

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def main():
    """See above."""
    monitor.MAYFLY.insert(0, os.environ.get(
        "NO_URING", os.path.join(TOP, "build/tests/no_uring")))
    if monitor.SOAK:
        return nano.main()
    return monitor.main([
        uses_io_uring_where_it_may, boots_by_requests,
        ends_by_reset_and_power_off, *nano.nano_drive.TESTS,
        *nano.nano_limit.TESTS, *nano.nano_console.TESTS,
        *nano.nano_control.TESTS, *nano.nano_stuck.TESTS,
        goes_on_in_its_own_process, stopped_in_the_middle_of_output,
        moves_while_drives_are_busy])


if __name__ == "__main__":
    sys.exit(main())
