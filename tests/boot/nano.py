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
import nano_snapshot
import nano_stuck
import nano_sweep


def main():
    """All of them."""
    return monitor.main(nano_machine.TESTS + nano_drive.TESTS +
                        nano_limit.TESTS + nano_console.TESTS +
                        nano_control.TESTS + nano_stuck.TESTS +
                        nano_snapshot.TESTS + nano_sweep.TESTS)


if __name__ == "__main__":
    sys.exit(main())
