#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boot nano and look at what it and the host see. TAP output.

usage: nano.py [NAME...]     tests whose names hold one of the NAMEs

See monitor.py for the environment. Exit code 77: cannot run here.
"""
import sys

import monitor
import nano_console
import nano_control
import nano_drive
import nano_limit
import nano_machine
import nano_moves
import nano_snapshot
import nano_stuck
import nano_sweep
import nano_synced


ALL = (nano_machine, nano_drive, nano_limit, nano_console, nano_control,
       nano_stuck, nano_snapshot, nano_moves, nano_sweep, nano_synced)


def main(modules=ALL):
    """All of their tests."""
    return monitor.main([t for m in modules for t in m.TESTS])


if __name__ == "__main__":
    sys.exit(main())
